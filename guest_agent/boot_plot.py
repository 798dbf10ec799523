"""A boot as a picture: one bar for each stage and step, SVG without any library."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guest_agent.boot_records import BootRecord, StageRecord

WIDTH, ROW, MARGIN, LABELS = 900, 20, 12, 340
COLOURS = {"SUCCESS": "#2e7d32", "WARN": "#f9a825", "FAIL": "#c62828", "": "#90a4ae"}
STAGE_COLOUR = "#455a64"
NAMESPACE = "http://www.w3.org/2000/svg"
FONT = 'font-family="sans-serif" font-size="12"'
NO_BOOT = "no boot was found in the log"


def svg(records: Sequence[BootRecord]) -> str:
    """The last boot of a log as an SVG document."""
    rows = list(_rows(records[-1])) if records else []
    height = 2 * MARGIN + ROW * (len(rows) + 2)
    lines = [
        f'<svg xmlns="{NAMESPACE}" width="{WIDTH}" height="{height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    if not rows:
        return "\n".join([*lines, f'<text x="{MARGIN}" y="{ROW}">{NO_BOOT}</text>', "</svg>", ""])
    start_s = min(row[1] for row in rows)
    total_s = max(max(row[2] for row in rows) - start_s, 0.001)
    scale = (WIDTH - LABELS - 2 * MARGIN) / total_s
    for number, (label, begin_s, end_s, colour) in enumerate(rows):
        y = MARGIN + ROW * number
        x = LABELS + (begin_s - start_s) * scale
        width = max((end_s - begin_s) * scale, 1.5)
        lines.append(f'<text x="{MARGIN}" y="{y + 14}">{_escaped(label)}</text>')
        lines.append(
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}">'
            f"<title>{_escaped(label)}: {end_s - begin_s:.3f} s</title></rect>"
        )
    y = MARGIN + ROW * (len(rows) + 1)
    lines.append(f'<text x="{LABELS}" y="{y}">0 s</text>')
    lines.append(f'<text x="{WIDTH - MARGIN}" y="{y}" text-anchor="end">{total_s:.2f} s</text>')
    return "\n".join([*lines, "</svg>", ""])


def _rows(record: BootRecord) -> Iterator[tuple[str, float, float, str]]:
    """Label, start, end, colour: each stage, then its steps."""
    for stage in record.stages:
        yield f"{stage.name}  {stage.took_s:.3f} s", stage.start_s, stage.end_s, STAGE_COLOUR
        yield from _steps(stage)


def _steps(stage: StageRecord) -> Iterator[tuple[str, float, float, str]]:
    for step in stage.steps:
        name = step.name.partition("/")[2]
        yield f"    {name}  {step.took_s:.3f} s", step.start_s, step.end_s, COLOURS[step.result]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
