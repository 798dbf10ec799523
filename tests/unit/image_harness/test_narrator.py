"""What a boot looks like on the screen, line by line; nothing of a guest's may drive the terminal."""

from pathlib import Path

import pytest

from image_harness.boot import Outcome
from image_harness.demo.instance import CLAIMS, instance
from image_harness.demo.summary import summary
from image_harness.narrator import Tone, lines, outcome_lines, printable
from image_harness.progress import (
    Choice,
    Chosen,
    Ended,
    Happening,
    Preparing,
    Printed,
    Requested,
    Said,
    Starting,
    Staying,
)
from image_harness.timeline.console import FirstOutput, StockStage
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Finished, Malformed, Ready, Result, StageTimes, Started
from spawner.compute.driver import Ending, Reason

OFF = Ending(Reason.POWERED_OFF, 0, b"", 4.0)
RECORD = AccessRecord(1.0, "uuid", "socket", "GET", "/openstack", 200, 12, 1.26, "guestling")
RESULT = Result("done", stages={"init-local": StageTimes(10.0, 10.25), "modules-final": StageTimes(11.0)})


@pytest.mark.parametrize(
    ("happening", "shown"),
    [
        (Chosen(Choice.ACCELERATOR, "tcg", "no KVM"), ["accelerator  tcg, emulation  (no KVM)"]),
        (Preparing("fetching"), ["             fetching ..."]),
        (
            Starting(),
            [
                "",
                "Seconds since the guest was started, and who does what:",
                "  0.00  QEMU starts, the kernel boots",
            ],
        ),
        (
            Requested(RECORD),
            ["  2.50  guest asks      GET /openstack" + 39 * " " + "200  1.3 ms"],
        ),
        (Said(Started("init-local", 2.0)), ["  2.50  stage init-local"]),
        (Said(Started("init-local/config-bootcmd", 2.0)), []),
        (
            Said(Finished("init-network/config-bootcmd", "FAIL", 0.0123, 2.1, "1 of 2 failed")),
            ["  2.50    bootcmd                   12 ms  FAILED  1 of 2 failed"],
        ),
        (Said(Finished("x", "SUCCESS", 0.2, 2.1)), ["  2.50  stage x: ok"]),
        (Said(Ready(2.0)), []),
        (Printed(StockStage("init-local")), ["  2.50  stock cloud-init: stage init-local"]),
        (Printed(StockStage("")), ["  2.50  stock cloud-init has finished"]),
        (Printed(FirstOutput()), []),
        (Said(Result("degraded")), ["  2.50  the agent reports: degraded"]),
        (Said(Malformed("line is not JSON")), ["  2.50  the agent's channel: line is not JSON"]),
        (Staying(42), ["  2.50  the guest stays up (process 42); Ctrl-C ends it"]),
        (Ended(OFF), ["  2.50  guest has powered off"]),
        (Ended(Ending(Reason.TIMEOUT, -9, b"", 300.0)), ["  2.50  guest timeout"]),
    ],
)  # fmt: skip
def test_each_happening_in_words(happening: Happening, shown: list[str]) -> None:
    assert [line.text for line in lines(happening, 2.5)] == shown


def test_sp_16_what_a_guest_says_cannot_drive_the_terminal() -> None:
    event = Finished("x/config-\x1b[2Jy", "SUCCESS", 0.1, 1.0, "a\nb\x07\u202e")
    (line,) = lines(Said(event), 1.0)
    assert line.text.isprintable()
    assert printable("a\nb\x1b[31m\u202eü") == "a\\nb\\x1b[31m\\u202eü"


def _outcome(result: Result | None, console: bytes = b"") -> Outcome:
    return Outcome(result, OFF, (), console, 4.2)


def test_the_end_of_a_good_boot() -> None:
    assert [line.text for line in outcome_lines(_outcome(RESULT), Path("/r"), succeeded=True)] == [
        "",
        "The agent's stages took 0.25 s:",
        "  init-local         0.25 s  find the source, set up the network",
        "",
        "The guest is configured; it ran for 4.2 s.",
        "Report: /r",
    ]


def test_a_guest_that_never_answered_is_shown_by_its_console() -> None:
    console = b"".join(b"line %d\r\n" % i for i in range(20)) + b"GUESTLING-CHANGES 0\r\n"
    texts = [line.text for line in outcome_lines(_outcome(None, console), Path("/r"), succeeded=False)]
    assert texts[1] == "The guest never said how it went (powered off)."
    assert texts[2:14] == [f"  console: line {i}" for i in range(8, 20)]
    assert "NOT configured" in texts[14]


def test_degraded_is_not_done() -> None:
    assert not _outcome(Result("degraded")).succeeded
    assert not _outcome(Result("error", errors=("no source",))).succeeded
    result = Result("error", errors=("no source",), recoverable_errors={"WARNING": ("a", "b\n")})
    shown = [(line.text, line.tone) for line in outcome_lines(_outcome(result), Path("/r"), succeeded=False)]
    assert shown[1:4] == [
        ("error: no source", Tone.BAD),
        ("warning: a", Tone.WARNING),
        ("warning: b\\n", Tone.WARNING),
    ]


def _files() -> bytes:
    import hashlib
    import json

    found = [
        {
            "path": claim.path, "type": "regular file", "mode": claim.mode, "owner": claim.owner,
            "content": hashlib.sha256(claim.content or b"").hexdigest(),
        }
        for claim in CLAIMS
    ]  # fmt: skip
    listed = "".join(f"GUESTLING-CHANGED {json.dumps(file)}\n" for file in found)
    return f"{listed}GUESTLING-CHANGES {len(found)}\n".encode()


def test_the_demo_succeeds_only_when_guest_and_files_agree() -> None:
    assert summary(_outcome(RESULT, _files()), Path("/r")).succeeded
    assert not summary(_outcome(Result("error"), _files()), Path("/r")).succeeded
    assert not summary(_outcome(RESULT), Path("/r")).succeeded
    for claim in CLAIMS:
        verdict = summary(
            _outcome(RESULT, _files().replace(claim.path.encode(), b"/elsewhere", 1)), Path("/r")
        )
        assert not verdict.succeeded
        assert not verdict.claims[claim.text]
        assert any("NOT configured as asked" in line.text for line in verdict.lines)


def test_a_claim_wants_content_mode_and_owner() -> None:
    files = _files()
    assert not summary(
        _outcome(RESULT, files.replace(b'"mode": "644"', b'"mode": "666"', 1)), Path("/r")
    ).succeeded
    assert not summary(
        _outcome(RESULT, files.replace(b'"owner": "0:0"', b'"owner": "1:1"', 1)), Path("/r")
    ).succeeded
    assert not summary(
        _outcome(RESULT, files.replace(b'"content": "', b'"content": "0', 1)), Path("/r")
    ).succeeded


def test_the_demos_instance_carries_its_user_data() -> None:
    from uuid import UUID

    made = instance(UUID(int=7))
    assert made.user_data is not None
    assert made.user_data.startswith(b"#cloud-config\n")
    assert made.macs == (made.macs[0],)
    assert made.macs[0].startswith("52:54:00:")
