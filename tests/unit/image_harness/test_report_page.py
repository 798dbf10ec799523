"""The page about a test run: it stands alone, and what guests and tests wrote is text on it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from image_harness.report_page import Case, page, write
from image_harness.timeline import picture
from image_harness.timeline.spans import Span, Timeline, Track


class _Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\x00&"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    where = tmp_path / "web-1"
    where.mkdir()
    timeline = Timeline((Span(Track.STAGE, HOSTILE, 0.0, 1.0),), 1.0, 1.0)
    (where / "timeline.svg").write_text(picture.svg(timeline, HOSTILE))
    (where / "boot.json").write_text(json.dumps({"image": {"value": f"tiny{HOSTILE}"}, "took_s": 5.25}))
    (where / "result.json").write_text(json.dumps({"status": HOSTILE, "errors": [HOSTILE]}))
    (where / "requests.jsonl").write_text(json.dumps({"method": "GET", "path": HOSTILE}) + "\nno json\n[]\n")
    (where / "console.log").write_text(f"hello\r\n{HOSTILE}\n")
    (where / f"x{HOSTILE[:8]}").write_text("")
    return where


def _tests(report: Path) -> list[Case]:
    return [
        Case("test_a", "passed", 0.5, report),
        Case(f"test_b[{HOSTILE}]", "failed", 1.25, report, f"assert {HOSTILE}"),
        Case("test_c", "failed", 0.1, report.parent / "never-1", "BootFailed"),
    ]


def test_what_guests_and_tests_wrote_is_text(report: Path) -> None:
    text = page(report.parent, _tests(report))
    seen = _Seen()
    seen.feed(text)
    assert seen.tags & {"script", "img", "iframe", "object", "link"} == set()
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "\x00" not in text
    assert text.count("&lt;script&gt;alert(1)") > 8


def test_it_loads_nothing(report: Path) -> None:
    text = page(report.parent, _tests(report))
    assert "default-src 'none'" in text
    assert set(re.findall(r"(?:https?:)?//[\w.]+", text)) <= {"http://www.w3.org"}
    assert set(re.findall(r'(?:src|href)="([^"#][^"]*)"', text)) >= {"web-1/boot.json", "web-1/console.log"}
    assert "url(" not in text


def test_tests_guests_and_failures_are_there(report: Path) -> None:
    text = page(report.parent, _tests(report))
    assert "3 tests, 2 not passed, 2 guests" in text
    assert text.count('<a href="#guest-0">web-1</a>') == 2
    assert "it ran for 5.2 s" in text or "it ran for 5.3 s" in text
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="gt"' in text
    assert "There is no timeline" in text
    assert "BootFailed" in text


@pytest.mark.parametrize(
    "changed",
    [
        "<svg><script/></svg>",
        '<svg onload="x"/>',
        '<svg><a href="http://x"/></svg>',
        "<svg><foreignObject/></svg>",
    ],
)
def test_a_picture_that_somebody_changed_is_not_shown(report: Path, changed: str) -> None:
    (report / "timeline.svg").write_text(changed)
    text = page(report.parent, _tests(report))
    assert "The timeline was changed and is not shown." in text
    assert changed not in text


def test_only_its_owner_can_read_it(report: Path) -> None:
    path = write(report.parent, _tests(report))
    assert path == report.parent / "index.html"
    assert path.stat().st_mode & 0o777 == 0o600
