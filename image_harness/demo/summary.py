"""What a newcomer reads at the end of the demo: what was asked for, what was found, how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from image_harness.boot import Outcome
from image_harness.demo.instance import CLAIMS, USER_DATA
from image_harness.narrator import Line, Tone, outcome_lines

NEXT = (
    "",
    "Next: the same from a config drive    guestling demo --source config-drive",
    "      your own user data              guestling boot tiny --user-data FILE",
    "      what it all means               docs/tutorial/first-guest.md",
)


@dataclass(frozen=True)
class Verdict:
    """The summary in lines, and as data: claim -> whether it holds."""

    lines: tuple[Line, ...]
    claims: dict[str, bool]
    succeeded: bool


def opening() -> tuple[Line, ...]:
    """What is about to happen."""
    here = Path.cwd()
    shown = USER_DATA.relative_to(here) if USER_DATA.is_relative_to(here) else USER_DATA
    return (
        Line("One server, from the request to a configured guest.", Tone.HEADING),
        Line(f"Asked for: {shown}"),
        Line(""),
    )


def summary(outcome: Outcome, report: Path) -> Verdict:
    """The verdict: the guest reported success, and each claim is proved by a file that the guest has."""
    files = outcome.changed
    claims = {claim.text: claim.holds(files or {}) for claim in CLAIMS}
    succeeded = outcome.succeeded and all(claims.values())
    lines = [
        Line(""),
        Line(
            "What was asked for, and whether the guest has it (its files, by checksum, mode and owner):",
            Tone.HEADING,
        ),
        *(_claim(claim.text, claim.path, claims[claim.text]) for claim in CLAIMS),
    ]
    if files is None and outcome.result is not None:
        lines.append(Line("  the guest did not list its files: see console.log in the report", Tone.BAD))
    lines += outcome_lines(outcome, report, succeeded=succeeded)
    lines += [Line(text, Tone.QUIET) for text in NEXT] if succeeded else []
    return Verdict(tuple(lines), claims, succeeded)


def _claim(text: str, path: str, holds: bool) -> Line:
    return Line(f"  {'yes' if holds else 'NO ':<4} {text:<34} {path}", Tone.GOOD if holds else Tone.BAD)
