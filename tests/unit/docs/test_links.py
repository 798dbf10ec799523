"""Every relative link in the documentation leads to a file that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("fixtures/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    missing = [
        target
        for target in LINK.findall(text)
        if "://" not in target and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert missing == []


def test_there_are_pages() -> None:
    assert len(PAGES) > 20


def test_a_decision_has_its_number_to_itself() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert sorted({number for number in numbers if numbers.count(number) > 1}) == []
    assert [page.name for page in pages if not page.read_text().startswith(f"# {page.name[:4]}: ")] == []
