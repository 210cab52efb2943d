"""The README for a package index, which shows neither the pictures nor the pages that lie beside it here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    """Gives the package its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme`."""
        text = for_an_index(Path(self.root, "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def for_an_index(readme: str) -> str:
    """The text without its pictures, and of links to files of the repository the words alone."""
    readme = re.sub(r"<p align=\"center\">\n.*?</p>\n\n", "", readme, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]+\)", r"\1", readme)
