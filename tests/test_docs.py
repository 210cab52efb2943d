"""What the documents quote is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_lines_that_the_page_on_the_blog_post_quotes_are_in_their_files() -> None:
    text = (ROOT / "docs/blog.md").read_text()
    passages = re.findall(r"^\*tensorq\*, (.*?):\n\n((?:```.*?```\n+)+)", text, re.DOTALL | re.MULTILINE)
    assert len(passages) == text.count("*tensorq*, `")
    for names, blocks in passages:
        sources = [(ROOT / name).read_text().splitlines() for name in re.findall("`(.*?)`", names)]
        for line in re.sub("```.*", "...", blocks).splitlines():
            assert line in ("", "...") or any(line in source for source in sources), (names, line)
