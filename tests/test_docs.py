"""What the documents quote is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from tensorq.agents.metrics import METRICS
from tensorq.envs.world import WORLDS
from tensorq.training import EPISODES, Training, columns

ROOT = Path(__file__).parent.parent
# The README's numbers, and what is enough to see that its examples run: the host loop begins to learn at step 1 000.
SMALLER = {"steps=50_000": "steps=1_200", "steps=20_000": "steps=1_100", "steps=40_000": "steps=1_300",
           "episodes=100": "episodes=3"}  # fmt: skip


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
    for name in (*columns(tuple(METRICS)), *EPISODES):
        assert f"`{name}`" in text, name


def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall("```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for number, smaller in SMALLER.items():
        assert number in block
        block = block.replace(number, smaller)
    monkeypatch.setattr(Training, "_show", lambda self: None)  # curve and video: the block draws some itself
    exec(block, {})
    assert (tmp_path / "curve.png").exists() and (tmp_path / "cartpole.gif").exists()


def test_the_python_in_the_page_on_worlds_runs() -> None:
    scope: dict[str, Any] = {}
    for block in re.findall("```python\n(.*?)```", (ROOT / "docs/worlds.md").read_text(), re.DOTALL):
        exec(block, scope)
    assert scope["picture"].shape == (280, 240, 3)
    assert scope["observations"].shape == (1024, 10, 10, 4)


def test_the_page_on_worlds_has_every_world() -> None:
    text = (ROOT / "docs/worlds.md").read_text()
    for name in WORLDS:
        base, version = name.removeprefix("tensorq/").rsplit("-", 1)
        assert f"{base}-{version}`" in text or f"{base}-v0`, `-{version}`" in text, name


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)|src=\"([^\"]+)\"", (ROOT / page).read_text())
    for link in (first or second for first, second in links):
        assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), link


def test_an_index_is_given_no_link_that_leads_nowhere() -> None:
    readme = (ROOT / "README.md").read_text()
    text = runpy.run_path(str(ROOT / "hatch_build.py"))["for_an_index"](readme)
    assert "](docs" in readme and "<img" in readme
    assert "](" not in text and "<" not in re.sub("```.*?```|`.*?`", "", text, flags=re.DOTALL)
    assert [line for line in readme.splitlines() if line.startswith("#")] == re.findall("^#.*", text, re.MULTILINE)
