"""A timeline as an SVG document: one row a span, one axis for all; light or dark as its reader's screen is.

Everything that a guest named is escaped here, and nowhere else. The colours are those of
`cloud-init analyze plot`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from image_harness.timeline.spans import Span, State, Timeline, Track, in_order

WIDTH, LABELS, RIGHT, ROW, HEAD, AXIS = 1000, 292, 66, 18, 26, 30
"""Pixels: the whole, the column of names, room for a figure at the right, a row, a heading, an axis."""
LABEL_CHARACTERS = 38
UNITS_SHOWN = 25
MODULES_SHOWN = 120
REQUESTS_SHOWN = 40
TICKS = 10

_HEADINGS = {
    Track.MACHINE: "Machine",
    Track.UNIT: "Units of systemd",
    Track.STAGE: "Agent: stages and modules",
    Track.REQUEST: "Metadata requests",
}
_STYLE = Path(__file__).with_name("picture.css").read_text(encoding="utf-8")


# Seconds to pixels from the left.
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Row:
    """A line of the picture: a heading, a remark, or a name with its bars."""

    label: str
    spans: tuple[Span, ...] = ()
    heading: bool = False
    inset: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return HEAD if self.heading else ROW


def svg(timeline: Timeline, title: str) -> str:
    """The picture. `title` names the boot, for who cannot see it and for the tab of a browser."""
    rows = list(_rows(timeline))
    first_s = min([0.0, *(span.start_s for row in rows for span in row.spans)])
    step_s = tick_s(timeline.end_s - first_s)
    last_s = max(math.ceil(timeline.end_s / step_s - 1e-9), 1) * step_s
    scale = (WIDTH - LABELS - RIGHT) / (last_s - first_s)

    def x(at_s: float) -> float:
        return LABELS + (at_s - first_s) * scale

    ticks = [first_s + number * step_s for number in range(round((last_s - first_s) / step_s) + 1)]
    bottom = AXIS + sum(row.height for row in rows)
    height = bottom + AXIS + HEAD
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gt" viewBox="0 0 {WIDTH} {height}"',
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{escape(_plain(title))}">',
        f"<title>{escape(_plain(title))}</title><style>{_STYLE}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{height}"/>',
        *_axis(ticks, x, bottom, step_s),
        *_up(timeline, x, bottom),
    ]
    y = AXIS
    for row in rows:
        lines += _row(row, y, x)
        y += row.height
    return "\n".join([*lines, *_legend(rows, height - 10), "</svg>", ""])


def tick_s(whole_s: float) -> float:
    """A round step of the axis with which there are about ten: 1, 2 or 5 times a power of ten."""
    if whole_s <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(whole_s / TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= whole_s * 0.999)


def _rows(timeline: Timeline) -> Iterator[Row]:
    by_track = {
        track: list(spans) for track, spans in groupby(in_order(timeline.spans), lambda span: span.track)
    }
    for track, heading in _HEADINGS.items():
        rows = list(_ROWS[track](by_track, timeline))
        if rows:
            yield Row(heading, heading=True)
            yield from rows


def _machine(by_track: dict[Track, list[Span]], _: Timeline) -> Iterator[Row]:
    yield from (Row(span.name, (span,)) for span in by_track.get(Track.MACHINE, ()))


def _units(by_track: dict[Track, list[Span]], timeline: Timeline) -> Iterator[Row]:
    """The ones that took longest, in order of time; the others are counted."""
    units = by_track.get(Track.UNIT, [])
    least_s = timeline.end_s * 0.004
    longest = sorted(
        (unit for unit in units if unit.took_s >= least_s or unit.state is not State.OK), key=_by_weight
    )
    shown = sorted(longest[:UNITS_SHOWN], key=lambda span: (span.start_s, span.end_s))
    yield from (Row(span.name, (span,)) for span in shown)
    if left := len(units) - len(shown):
        yield Row(f"and {left} that took less")


def _by_weight(span: Span) -> tuple[bool, float]:
    return (span.state is State.OK, -span.took_s)


def _agent(by_track: dict[Track, list[Span]], _: Timeline) -> Iterator[Row]:
    """Each stage, then its modules."""
    modules = by_track.get(Track.MODULE, [])
    for stage in by_track.get(Track.STAGE, ()):
        yield Row(stage.name, (stage,))
        own = [module for module in modules if module.within == stage.name]
        yield from (Row(module.name, (module,), inset=True) for module in own[:MODULES_SHOWN])
        modules = [module for module in modules if module.within != stage.name]
    yield from (Row(module.name, (module,), inset=True) for module in modules[:MODULES_SHOWN])


def _requests(by_track: dict[Track, list[Span]], _: Timeline) -> Iterator[Row]:
    """One row for each path, with every request for it."""
    paths: dict[str, list[Span]] = {}
    for span in by_track.get(Track.REQUEST, ()):
        paths.setdefault(span.name, []).append(span)
    for name, spans in list(paths.items())[:REQUESTS_SHOWN]:
        yield Row(name, tuple(spans))
    if len(paths) > REQUESTS_SHOWN:
        yield Row(f"and {len(paths) - REQUESTS_SHOWN} more paths")


_ROWS = {Track.MACHINE: _machine, Track.UNIT: _units, Track.STAGE: _agent, Track.REQUEST: _requests}


def _row(row: Row, y: int, x: Scale) -> Iterator[str]:
    middle = y + row.height - 5
    if row.heading:
        yield f'<text class="head" x="10" y="{middle}">{escape(row.label)}</text>'
        return
    remark = "" if row.spans else ' class="dim"'
    indent = 34 if row.inset else 22
    yield f'<text{remark} x="{indent}" y="{middle}">{escape(_shortened(row.label))}</text>'
    for span in row.spans:
        yield _bar(span, x(span.start_s), x(span.end_s), y)
    if row.spans:
        behind = max(x(span.end_s) for span in row.spans) + 6
        yield f'<text class="dim figure" x="{behind:.1f}" y="{middle}">{_figure(row.spans)}</text>'


def _bar(span: Span, start_x: float, end_x: float, y: int) -> str:
    kind = span.track.value if span.state is State.OK else span.state.value
    note = f"; {span.note}" if span.note else ""
    told = f"{span.name}: {span.took_s:.3f} s, from {span.start_s:.2f} s{note}"
    width = max(end_x - start_x, 2)
    return (
        f'<rect class="{kind}" x="{start_x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 7}" rx="1">'
        f"<title>{escape(_plain(told)[:500])}</title></rect>"
    )


def _figure(spans: Sequence[Span]) -> str:
    took_s = sum(span.took_s for span in spans)
    digits = 1 if took_s < 0.00995 else 0
    shown = f"{took_s:.2f} s" if took_s >= 0.1 else f"{took_s * 1000:.{digits}f} ms"
    bad = sorted({span.note for span in spans if span.track is Track.REQUEST and span.state is not State.OK})
    count = f"{len(spans)} times, " if len(spans) > 1 else ""
    return escape(f"{count}{shown}" + (f"  {', '.join(bad)}" if bad else ""))


def _shortened(label: str) -> str:
    """Both ends of a long name: the end of a path and the suffix of a unit say most."""
    plain = _plain(label)
    if len(plain) <= LABEL_CHARACTERS:
        return plain
    return f"{plain[: LABEL_CHARACTERS // 2 - 1]}\u2026{plain[-LABEL_CHARACTERS // 2 :]}"


def _plain(text: str) -> str:
    """Text that XML can hold, whatever a guest called its things."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _axis(ticks: Sequence[float], x: Scale, bottom: int, step_s: float) -> Iterator[str]:
    digits = max(-math.floor(math.log10(step_s)), 0)
    for at_s in ticks:
        at = f"{x(at_s):.1f}"
        yield f'<line class="grid" x1="{at}" x2="{at}" y1="{AXIS - 6}" y2="{bottom + 4}"/>'
        for y in (AXIS - 12, bottom + 18):
            yield f'<text class="dim" x="{at}" y="{y}" text-anchor="middle">{at_s:.{digits}f} s</text>'


def _up(timeline: Timeline, x: Scale, bottom: int) -> Iterator[str]:
    """Where the guest was up."""
    if timeline.up_s is not None:
        at = f"{x(timeline.up_s):.1f}"
        yield f'<line class="up" x1="{at}" x2="{at}" y1="{AXIS - 6}" y2="{bottom + 4}"/>'
        words = f"up after {timeline.up_s:.2f} s"
        yield f'<text class="uptext" x="{at}" y="{bottom + 32}" text-anchor="middle">{words}</text>'


_LEGEND = {
    "machine": "machine", "unit": "unit", "stage": "stage", "module": "module", "request": "request",
    "warning": "with a warning, or not found", "failed": "failed",
}  # fmt: skip


def _legend(rows: Sequence[Row], y: int) -> Iterator[str]:
    """The colours that are in the picture."""
    spans = [span for row in rows for span in row.spans]
    used = {span.track.value if span.state is State.OK else span.state.value for span in spans}
    x = 10
    for kind, words in _LEGEND.items():
        if kind in used:
            yield f'<rect class="{kind}" x="{x}" y="{y - 9}" width="14" height="10" rx="1"/>'
            yield f'<text class="dim" x="{x + 19}" y="{y}">{words}</text>'
            x += 34 + 6 * len(words) + 8
