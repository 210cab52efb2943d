"""What the documents quote is there."""

from __future__ import annotations

import re
from pathlib import Path

from tensorq.training import EPISODES, METRICS

ROOT = Path(__file__).parent.parent


def test_the_lines_that_the_page_on_the_blog_post_quotes_are_in_their_files() -> None:
    text = (ROOT / "docs/blog.md").read_text()
    passages = re.findall(r"^\*tensorq\*, (.*?):\n\n((?:```.*?```\n+)+)", text, re.DOTALL | re.MULTILINE)
    assert len(passages) == text.count("*tensorq*, `")
    for names, blocks in passages:
        sources = [(ROOT / name).read_text().splitlines() for name in re.findall("`(.*?)`", names)]
        for line in re.sub("```.*", "...", blocks).splitlines():
            assert line in ("", "...") or any(line in source for source in sources), (names, line)


def test_every_column_of_a_runs_tables_is_explained() -> None:
    text = (ROOT / "docs/methods/dqn.md").read_text()
    for name in (*METRICS, *EPISODES):
        assert f"`{name}`" in text, name
