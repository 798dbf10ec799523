"""One page about the guests of a test run: which tests had them, how they went, and when what happened.

It stands alone: style and pictures are in it, nothing is loaded, no script runs. What guests and tests wrote
is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.etree import ElementTree

NAME = "index.html"
# How much of a log is on the page; all of it is in the directory.
TAIL_CHARACTERS = 20_000
REQUESTS_SHOWN = 200
_LOGS = {
    "console.log": "Console",
    "cloud-init.log": "The agent's log",
    "cloud-init-output.log": "Output of the agent's programs",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SVG = "{http://www.w3.org/2000/svg}"
_TAGS = frozenset({"svg", "title", "style", "rect", "line", "text"})
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_STYLE = Path(__file__).with_name("report_page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """A test that had a guest. `outcome` is pytest's word; `report` the directory of its guest's report."""

    name: str
    outcome: str
    took_s: float
    report: Path
    failure: str = ""


def write(directory: Path, tests: Sequence[Case]) -> Path:
    """Write the page into the directory of reports, and give its path."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / NAME
    path.write_text(page(directory, tests), encoding="utf-8")
    path.chmod(0o600)
    return path


def page(directory: Path, tests: Sequence[Case]) -> str:
    """The page. Reports are looked for where the tests say they are, and linked to from `directory`."""
    reports = list(dict.fromkeys(test.report for test in tests))
    failed = sum(test.outcome != "passed" for test in tests)
    words = f"{_counted(len(tests), 'test')}, {failed} not passed, {_counted(len(reports), 'guest')}"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Guests under test</title>',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            # No script, no request, whatever a guest wrote.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>Guests under test</h1><p>{words}</p>",
            *_tests(tests, reports),
            *(
                line
                for number, report in enumerate(reports)
                for line in _guest(number, report, directory, tests)
            ),
            "</body></html>",
            "",
        ]
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _tests(tests: Sequence[Case], reports: Sequence[Path]) -> Iterator[str]:
    yield "<section><table><tr><th>Test</th><th>Outcome</th><th>Seconds</th><th>Guest</th></tr>"
    for test in tests:
        guest = f'<a href="#guest-{reports.index(test.report)}">{_text(test.report.name)}</a>'
        yield (
            f"<tr><td>{_text(test.name)}</td><td>{_outcome(test.outcome)}</td>"
            f'<td class="n">{test.took_s:.2f}</td><td>{guest}</td></tr>'
        )
    yield "</table></section>"


def _outcome(word: str) -> str:
    return f'<span class="{escape(word)}">{escape(word)}</span>'


def _guest(number: int, report: Path, directory: Path, tests: Sequence[Case]) -> Iterator[str]:
    facts = _json(report / "boot.json")
    yield f'<section id="guest-{number}"><h2>{_text(report.name)}</h2><p>{_text(_facts(facts))}</p>'
    for test in tests:
        if test.report == report and test.outcome == "failed":
            yield f"<details open><summary>{_text(test.name)} failed</summary>"
            yield f"<pre>{_text(test.failure)}</pre></details>"
    picture = _tail(report / "timeline.svg", None)
    yield _safe_picture(picture) if picture else "<p>There is no timeline: the guest was never started.</p>"
    yield from _said(report)
    yield from _requests(report)
    for name, words in _LOGS.items():
        if text := _tail(report / name, TAIL_CHARACTERS):
            yield f"<details><summary>{words}</summary><pre>{_text(text)}</pre></details>"
    yield from _files(report, directory)
    yield "</section>"


def _safe_picture(picture: str) -> str:
    """The picture is ours, but it lay in a directory; one that could do more than be seen is not shown."""
    try:
        # Without a document type there are no entities, which is what makes XML dangerous to read.
        elements = [] if "<!" in picture else list(ElementTree.fromstring(picture).iter())  # noqa: S314
    except ElementTree.ParseError:
        elements = []
    tags = {element.tag.removeprefix(_SVG) for element in elements}
    attributes = {name for element in elements for name in element.attrib}
    harmless = tags and tags <= _TAGS and not any(name[:2] == "on" or "href" in name for name in attributes)
    return picture if harmless else "<p>The timeline was changed and is not shown.</p>"


def _facts(facts: dict[str, object]) -> str:
    named = ((name, facts.get(name)) for name in ("image", "source", "accelerator", "network"))
    words = [
        f"{name} {value['value']}" for name, value in named if isinstance(value, dict) and "value" in value
    ]
    took_s = facts.get("took_s")
    return ", ".join([*words, *([f"it ran for {took_s:.1f} s"] if isinstance(took_s, float) else [])])


def _said(report: Path) -> Iterator[str]:
    result = _json(report / "result.json")
    errors = result.get("errors")
    if result:
        said = f"The agent says: {result.get('status')}; its data is from {result.get('datasource')}"
        yield f"<p>{_text(said)}</p>"
    if isinstance(errors, list) and errors:
        yield f"<pre>{_text(chr(10).join(str(each) for each in errors))}</pre>"


def _requests(report: Path) -> Iterator[str]:
    rows = [row for row in map(_object, (_tail(report / "requests.jsonl", None) or "").splitlines()) if row]
    if not rows:
        return
    yield f"<details><summary>{len(rows)} metadata requests</summary><table>"
    yield "<tr><th>Method</th><th>Path</th><th>Status</th><th>ms</th><th>Agent</th></tr>"
    for row in rows[:REQUESTS_SHOWN]:
        cells = (row.get("method"), row.get("path"), row.get("status"), row.get("ms"), row.get("user_agent"))
        yield "<tr>" + "".join(f"<td>{_text(str(cell))}</td>" for cell in cells) + "</tr>"
    yield "</table></details>"


def _files(report: Path, directory: Path) -> Iterator[str]:
    if not report.is_dir():
        return
    names = sorted(path.name for path in report.iterdir())
    base = report.relative_to(directory) if report.is_relative_to(directory) else report
    links = (f'<a href="{escape(str(base / name))}">{_text(name)}</a>' for name in names)
    yield f"<details><summary>Files</summary><p>{', '.join(links)}</p></details>"


def _text(text: str) -> str:
    """Text of a guest: no markup, nothing that drives a terminal when it is copied there."""
    return escape(_CONTROL.sub("", text.replace("\r\n", "\n")))


def _tail(path: Path, characters: int | None) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text if characters is None else text[-characters:]


def _json(path: Path) -> dict[str, object]:
    return _object(_tail(path, None) or "{}")


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
