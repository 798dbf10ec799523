"""The timeline of a boot: from what was told and asked to spans on one axis, and to a picture of them."""

from __future__ import annotations

import json
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from image_harness.progress import Happening, Printed, Requested, Restored, Said, Starting
from image_harness.timeline import console, evidence, picture, spans, stock
from image_harness.timeline.console import FirstOutput, KernelLine, StatusLine, StockStage
from image_harness.timeline.spans import Span, State, Timeline, Track
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Finished, Ready, Result, Started

HOSTILE = "</title><script>alert(1)</script>\x00\x1b[2J&\"'"


def _request(path: str, status: int = 200, took_ms: float = 10.0) -> Requested:
    return Requested(AccessRecord(0.0, "i", "socket", "GET", path, status, 1, took_ms, "agent"))


# The guest's clock is 2 s behind ours; the second word was 0.3 s on its way.
TOLD: list[tuple[float, Happening]] = [
    (0.0, Starting()),
    (3.5, Said(Started("init-local", 1.5))),
    (4.3, Said(Finished("init-local", "SUCCESS", 0.6, 2.0, "found"))),
    (4.2, _request("/openstack")),
    (5.0, Said(Started("modules-final", 3.0))),
    (5.2, Said(Finished("modules-final/config-scripts_user", "FAIL", 0.1234, 3.2, "1 of 2 failed"))),
    (5.3, Said(Finished("modules-final", "WARN", 0.3, 3.3))),
    (5.4, Said(Result("degraded"))),
    (5.9, Said(Ready(3.9))),
]


def _named(timeline: Timeline) -> dict[str, tuple[float, float]]:
    return {span.name: (round(span.start_s, 4), round(span.end_s, 4)) for span in timeline.spans}


def test_what_the_guest_said_is_put_on_the_hosts_clock() -> None:
    timeline = spans.build(TOLD)
    assert _named(timeline) == {
        "firmware": (0.0, 2.0),
        "kernel": (2.0, 3.5),
        "userspace": (3.5, 3.5),
        "init-local": (3.5, 4.0),
        "scripts_user": (5.0766, 5.2),
        "modules-final": (5.0, 5.3),
        "GET /openstack": (4.19, 4.2),
    }
    assert timeline.up_s == 5.4
    states = {span.name: span.state for span in timeline.spans}
    assert (states["scripts_user"], states["modules-final"]) == (State.FAILED, State.WARNING)
    assert next(span.within for span in timeline.spans if span.track is Track.MODULE) == "modules-final"


def test_a_guest_that_was_restored_has_neither_firmware_nor_kernel() -> None:
    restored: list[tuple[float, Happening]] = [
        (0.0, Starting()),
        (0.4, Restored()),
        (0.9, Said(Started("x", 9.0))),
    ]
    timeline = spans.build(restored)
    assert _named(timeline) == {"restore": (0.0, 0.4)}


def test_without_a_word_of_the_agent_the_console_says_when_it_began() -> None:
    told: list[tuple[float, Happening]] = [
        (0.0, Starting()),
        (1.0, Printed(FirstOutput())),
        (4.0, Printed(StatusLine("OpenSSH", starts=True, failed=False))),
        (6.0, Printed(StatusLine("OpenSSH", starts=False, failed=True))),
    ]
    timeline = spans.build(told)
    assert _named(timeline) == {"firmware": (0.0, 1.0), "OpenSSH": (4.0, 6.0)}
    assert timeline.spans[1].state is State.FAILED
    assert timeline.up_s is None
    kernel = (1.5, Printed(KernelLine(1.0, is_init=True)))
    assert _named(spans.build([*told, kernel]))["kernel"] == (0.5, 1.5)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("firmware", 2.0), ("final", 0.3), ("modules-final", 0.3), ("scripts-user", 0.1234), ("boot", 5.4)],
)
def test_a_budget_is_held_against_names(name: str, seconds: float) -> None:
    timeline = spans.build(TOLD)
    assert timeline.seconds(name) == pytest.approx(seconds)
    assert timeline.over({name: seconds + 0.001}) == ()
    (over,) = timeline.over({name: seconds - 0.1})
    assert over == f"budget: {name} took {seconds:.2f} s, {seconds - 0.1:g} s are allowed"


def test_a_budget_for_what_is_not_there_is_not_kept() -> None:
    timeline = spans.build(TOLD)
    with pytest.raises(AssertionError) as caught:
        timeline.budget({"kernel": 0.1, "nope": 9, "GET /openstack": 9})
    first, second, third = str(caught.value).splitlines()
    assert first == "budget: kernel took 1.50 s, 0.1 s are allowed"
    assert second.startswith("budget: nope: not in the timeline. There are boot, firmware, kernel,")
    assert third.startswith("budget: GET /openstack: not in the timeline.")
    assert spans.build([(0.0, Starting())]).over({"boot": 1}) == ("budget: boot: the guest was never up",)


@pytest.mark.parametrize("clock", [1e300, -1e300, 1e6, float("nan"), float("inf")])
def test_a_guest_may_say_what_it_likes_about_its_clock(clock: float) -> None:
    told: list[tuple[float, Happening]] = [
        *TOLD,
        (5.5, Said(Finished("odd", "SUCCESS", clock, clock))),
        (5.6, Said(Finished("odd/x", "SUCCESS", clock, 3.0))),
        (5.7, Printed(KernelLine(abs(clock), is_init=True))),
    ]
    timeline = spans.build(told)
    ElementTree.fromstring(picture.svg(timeline, "x"))
    json.loads(json.dumps(timeline.as_json(), allow_nan=False))


UNITS = """guestling-part clock
1700000100.5 100.0 90
guestling-part kernel
[    1.250000] Run /sbin/init as init process
guestling-part manager
UserspaceTimestampMonotonic=1300000
FinishTimestampMonotonic=9000000
guestling-part units
Id=ssh.service
InactiveExitTimestampMonotonic=4000000
ActiveEnterTimestampMonotonic=5500000
InactiveEnterTimestampMonotonic=0
Result=success

Id=once.service
InactiveExitTimestampMonotonic=2000000
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=2500000
Result=exit-code

Id=never.service
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=0

Id=odd.service
InactiveExitTimestampMonotonic=99999999999999999999
ActiveEnterTimestampMonotonic=x
guestling-part steps
"""


def test_units_of_systemd_are_read_without_trust() -> None:
    found = evidence.read(UNITS)
    assert found.units == (
        evidence.Unit("ssh.service", 4.0, 5.5, failed=False),
        evidence.Unit("once.service", 2.0, 2.5, failed=True),
    )
    assert (found.init_s, found.userspace_s, found.finished_s) == (1.25, 1.3, 9.0)
    assert found.boot_time_s == 1700000000.5
    timeline = spans.build(TOLD, found)
    assert _named(timeline)["ssh.service"] == (6.0, 7.5)
    assert _named(timeline)["userspace"] == (3.3, 11.0)
    assert evidence.read("anything\n=\nguestling-part clock\nx y") == evidence.NONE


LOG = """\
2026-11-28 20:00:00,000 - util.py[DEBUG]: Cloud-init v. 25.1.4 running 'init-local'
2026-11-28 20:00:00,250 - handlers.py[DEBUG]: start: init-local/search-NoCloud: searching
2026-11-28 20:00:00,500 - handlers.py[DEBUG]: finish: init-local/search-NoCloud: SUCCESS: no local data
2026-11-28 20:00:00,750 - handlers.py[DEBUG]: finish: init-local: SUCCESS: searching for local datasources
2026-11-28 20:00:02,000 - handlers.py[DEBUG]: start: modules-config: running modules for config
2026-11-28 20:00:02,000 - handlers.py[DEBUG]: start: modules-config/config-runcmd: running config-runcmd
2026-11-28 20:00:02,125 - handlers.py[DEBUG]: finish: modules-config/config-runcmd: FAIL: it failed
2026-11-28 20:00:02,250 - handlers.py[DEBUG]: finish: modules-config: SUCCESS: running modules for config
"""


def test_stock_cloud_inits_log_gives_steps_of_the_last_boot() -> None:
    before = LOG.replace("20:00", "19:00").replace("FAIL", "SUCCESS")
    steps = stock.steps(before + LOG)
    assert [(step.name, step.result, round(step.end_s - step.start_s, 3)) for step in steps] == [
        ("init-local/search-NoCloud", "SUCCESS", 0.25),
        ("init-local", "SUCCESS", 0.5),
        ("modules-config/config-runcmd", "FAIL", 0.125),
        ("modules-config", "SUCCESS", 0.25),
    ]
    # 19:59:50 was the kernel's 0, which was 2 s after the start.
    found = evidence.Evidence(boot_time_s=steps[0].start_s - 10, steps=steps)
    timeline = spans.build([(0.0, Starting()), (22.0, Said(Ready(20.0)))], found)
    assert _named(timeline)["init-local"] == (12.0, 12.5)
    assert _named(timeline)["runcmd"] == (13.75, 13.875)
    assert timeline.up_s == 22.0


def _stock(status: object, result: object, steps: str = LOG) -> Result | None:
    parts = {"status": json.dumps(status), "result": json.dumps(result), "instance": "i-1", "steps": steps}
    return stock.result("\n".join(f"guestling-file {name}\n{text}" for name, text in parts.items()))


def test_stock_cloud_inits_files_give_a_result() -> None:
    stage = {"errors": [], "recoverable_errors": {}, "start": 1.0, "finished": 2.5}
    warned = {**stage, "recoverable_errors": {"WARNING": ["a", "b"]}}
    result = _stock(
        {"v1": {"init-local": stage, "init": warned, "modules-final": "?"}},
        {"v1": {"datasource": "DataSourceOpenStack", "errors": []}},
    )
    assert result is not None
    assert (result.status, result.datasource, result.instance_id) == (
        "degraded",
        "DataSourceOpenStack",
        "i-1",
    )
    assert result.recoverable_errors == {"WARNING": ("a", "b")}
    assert set(result.stages) == {"init-local", "init"}
    assert [(each.stage, each.name, each.result) for each in result.modules] == [
        ("modules-config", "runcmd", "FAIL")
    ]
    broken = _stock({"v1": {}}, {"v1": {"errors": ["it broke"]}})
    assert broken is not None
    assert (broken.status, broken.errors) == ("error", ("it broke",))


@pytest.mark.parametrize("result", [None, [], {"v1": 3}, "[" * 100_000, {}])
def test_no_result_is_made_out_of_what_is_none(result: object) -> None:
    assert _stock({}, result) is None
    assert stock.result("") is None
    assert _stock(3, {"v1": {"errors": 3, "datasource": 4}}, "x") == Result("done", instance_id="i-1")


def test_the_console_says_what_concerns_time_and_no_more() -> None:
    reader = console.Console()
    assert reader.feed(b"\r\n") == ()
    assert reader.feed(b"SeaBIOS\r\n[    0.5000") == (FirstOutput(),)
    assert reader.feed(b"00] Linux version 6\r\n[    1.25] Run /init as init process\n") == (
        KernelLine(0.5, is_init=False),
        KernelLine(1.25, is_init=True),
    )
    status = b"         Starting \x1b[0;1;39mssh.service\x1b[0m - OpenSSH...\n"
    status += b"[\x1b[0;32m  OK  \x1b[0m] Started OpenSSH.\n"
    assert reader.feed(status) == (
        StatusLine("ssh.service - OpenSSH", starts=True, failed=False),
        StatusLine("OpenSSH", starts=False, failed=False),
    )
    assert reader.feed(b"[FAILED] Failed to start x.\nlogin: ") == (
        StatusLine("x", starts=False, failed=True),
    )


def test_the_stages_of_stock_cloud_init_show_on_the_console() -> None:
    line = "[   54.918029] cloud-init[361]: Cloud-init v. 25.1.4 running 'init-local' at Sun, 29 Nov"
    assert console.read(line) == StockStage("init-local")
    assert console.read(line.replace("init-local", "modules:final")) == StockStage("modules:final")
    assert console.read("Cloud-init v. 25.1.4 finished at Sun, 29 Nov 2026") == StockStage("")
    # Ours tells of its stages itself, in more words.
    assert console.read(line.replace("25.1.4", "0.1.0")) == KernelLine(54.918029, is_init=False)


def test_a_console_that_floods_is_bounded() -> None:
    reader = console.Console()
    found = reader.feed(b"[    1.000000] x\n" * (console.COUNT_LIMIT + 500))
    assert len(found) == console.COUNT_LIMIT + 1
    assert reader.feed(b"x" * 10_000_000) == ()
    assert len(reader._pending) <= console.LINE_LIMIT


def test_the_picture_is_xml_and_holds_names_as_text() -> None:
    told = [
        *TOLD,
        (5.5, _request(f"/{HOSTILE}", 404)),
        (5.6, Said(Finished(HOSTILE, "SUCCESS", 0.1, 3.4, HOSTILE))),
    ]
    drawn = picture.svg(spans.build(told), HOSTILE)
    root = ElementTree.fromstring(drawn)
    assert {element.tag.partition("}")[2] for element in root.iter()} == {
        "svg", "title", "style", "rect", "line", "text"
    }  # fmt: skip
    assert "\x1b" not in drawn
    assert all(name not in element.attrib for element in root.iter() for name in ("href", "onload"))


def _texts(drawn: str) -> list[tuple[str, float, float]]:
    found = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    return [(each.text or "", float(each.attrib["x"]), float(each.attrib["y"])) for each in found]


def test_every_row_has_a_line_of_its_own_below_the_axis() -> None:
    drawn = picture.svg(spans.build(TOLD, evidence.read(UNITS)), "x")
    labels = [(text, y) for text, x, y in _texts(drawn) if x in (10, 22, 34) and text != ""]
    assert [text for text, _ in labels] == [
        "Machine", "firmware", "kernel", "userspace",
        "Units of systemd", "once.service", "ssh.service",
        "Agent: stages and modules", "init-local", "modules-final", "scripts_user",
        "Metadata requests", "GET /openstack",
    ]  # fmt: skip
    heights = [y for _, y in labels]
    assert all(after - before >= 16 for before, after in pairwise(heights))
    assert [text for text, _, y in _texts(drawn) if y in heights[1:3] and " s" in text] == [
        "2.00 s",
        "1.30 s",
    ]


def test_many_units_and_paths_are_counted_and_not_drawn() -> None:
    units = [Span(Track.UNIT, f"u{n}.service", n / 100, n / 100 + 0.5) for n in range(100)]
    small = [Span(Track.UNIT, f"s{n}.service", 1.0, 1.0) for n in range(10)]
    failed = Span(Track.UNIT, "bad.service", 1.0, 1.0, State.FAILED)
    paths = [Span(Track.REQUEST, f"GET /{n}", 1.0, 1.1) for n in range(100)]
    drawn = picture.svg(Timeline((*units, *small, failed, *paths), None, 2.0), "x")
    texts = [text for text, _, _ in _texts(drawn)]
    assert "bad.service" in texts
    assert f"and {111 - picture.UNITS_SHOWN} that took less" in texts
    assert f"and {100 - picture.REQUESTS_SHOWN} more paths" in texts
    assert len([text for text in texts if text.endswith(".service")]) == picture.UNITS_SHOWN


@pytest.mark.parametrize(
    ("whole_s", "step_s"), [(0, 0.1), (0.9, 0.1), (1.0, 0.1), (5.4, 1), (9.9, 1), (61.75, 10), (158, 20)]
)
def test_the_axis_has_round_steps(whole_s: float, step_s: float) -> None:
    assert picture.tick_s(whole_s) == pytest.approx(step_s)


def test_an_empty_timeline_is_a_picture_too() -> None:
    ElementTree.fromstring(picture.svg(spans.build([]), "x"))
