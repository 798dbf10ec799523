"""The pytest plugin: the mark `guest` and the fixture `guest`, a booted guest that tests look into.

    @pytest.mark.guest(image="tiny", user_data="web.yaml", source="config-drive")
    def test_web(guest: Guest) -> None:
        assert guest.file("/etc/hostname").content == "web\\n"

How-to: docs/how-to/test-an-image.md. The rest is imported when a test asks for a guest: as an entry point
this file is loaded by every pytest of its environment.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from image_harness.guest import Guest
    from image_harness.guest_mark import Wanted
    from image_harness.guest_pool import Pool
    from image_harness.live_guest import Workshop

MARKS = (
    (
        "guest(image='tiny', user_data=None, source='metadata', name='guest', keys=(), timeout_s=300, "
        "scope='module', faults=None, budget=None, template=False): the guest that the fixture `guest` boots"
    ),
    "guest_matrix(**arguments): the test once for each combination of values of `guest`'s arguments",
)
PROPERTY = "guest_report"
_POOL: pytest.StashKey[tuple[Pool, Guest]] = pytest.StashKey()
_VARIANT = "_guest_variant"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where reports go, and how much guests may take."""
    group = parser.getgroup("guestling")
    group.addoption(
        "--guest-report",
        type=Path,
        metavar="DIR",
        help="write a page with every guest's timeline, and its logs, into DIR "
        "(default: guest-reports in the root directory, with guests of failed tests alone)",
    )
    group.addoption(
        "--guest-memory",
        type=int,
        metavar="MIB",
        help="memory of all guests at a time, over all workers (default: half of this machine's)",
    )
    group.addoption(
        "--guest-boots",
        type=int,
        metavar="N",
        help="how many guests may boot at a time, over all workers (default: one for each processor)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    # A worker of pytest-xdist hands its reports to the process that started it.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(config), "guestling-recorder")


class _Recorder:
    """Remembers the tests that had guests, and writes the page about them in the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each test once: how it was called, or why it could not be."""
        if report.when == "call" or (report.when == "setup" and report.failed):
            self._reports.append(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the page, and say where it is."""
        named = [(report, dict(report.user_properties).get(PROPERTY)) for report in self._reports]
        if not any(isinstance(where, str) for _, where in named):
            return
        from image_harness.report_page import Case, write

        tests = [
            Case(each.nodeid, each.outcome, each.duration, Path(where), each.longreprtext)
            for each, where in named
            if isinstance(where, str)
        ]
        page = write(reports_directory(self._config), tests)
        terminalreporter.write_line(f"guests: {page}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Multiply tests by their matrix; by module, so that tests of one variant follow each other."""
    marks = list(metafunc.definition.iter_markers("guest_matrix"))
    if not marks or _VARIANT not in metafunc.fixturenames:
        return
    from image_harness.guest_mark import variants

    found = variants([mark.kwargs for mark in reversed(marks)])
    metafunc.parametrize(
        _VARIANT, [each for _, each in found], ids=[name for name, _ in found], scope="module"
    )


def reports_directory(config: pytest.Config) -> Path:
    """Where the reports of this run are."""
    chosen: Path | None = config.getoption("--guest-report")
    return (chosen or config.rootpath / "guest-reports").absolute()


@pytest.fixture(scope="session")
def _guest_workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    from dataclasses import replace

    from image_harness import cache
    from image_harness.guest_budget import Ledger, this_machine
    from image_harness.live_guest import Workshop

    # Workers of pytest-xdist count their guests on their own.
    reports = reports_directory(request.config) / os.environ.get("PYTEST_XDIST_WORKER", "")
    limits = this_machine()
    memory_mib, boots = (request.config.getoption(name) for name in ("--guest-memory", "--guest-boots"))
    limits = replace(limits, memory_mib=memory_mib or limits.memory_mib, boots=boots or limits.boots)
    with cache.scratch() as scratch:
        workshop = Workshop(scratch, reports, Ledger(cache.home() / "budget", limits))
        yield workshop
        workshop.close()


def _pool(request: pytest.FixtureRequest, workshop: Workshop) -> Iterator[Pool]:
    from image_harness.guest_pool import Pool
    from image_harness.live_guest import LiveGuest

    pool = Pool(lambda wanted, label: LiveGuest(wanted, workshop, workshop.report_directory(label)))
    yield pool
    pool.close(keep=request.config.getoption("--guest-report") is not None)


@pytest.fixture(scope="session")
def _guests_of_session(request: pytest.FixtureRequest, _guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(request, _guest_workshop)


@pytest.fixture(scope="module")
def _guests_of_module(request: pytest.FixtureRequest, _guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(request, _guest_workshop)


@pytest.fixture
def _guests_of_function(request: pytest.FixtureRequest, _guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(request, _guest_workshop)


@pytest.fixture(scope="module")
def _guest_variant() -> dict[str, object]:
    """What a test's matrix says of its guest; nothing where it has none."""
    return {}


@pytest.fixture
def guest(request: pytest.FixtureRequest, _guest_variant: dict[str, object]) -> Guest:
    """The guest that the mark `guest` describes, up, its agent done; see image_harness.guest.Guest."""
    from image_harness.errors import HarnessError
    from spawner.errors import SpawnerError

    wanted = wanted_by(request.node)
    pool: Pool = request.getfixturevalue(f"_guests_of_{wanted.scope.value}")
    try:
        found = pool.get(wanted, request.path.stem)
    except (HarnessError, SpawnerError):
        if (report := pool.report_of(wanted)) is not None:
            request.node.user_properties.append((PROPERTY, str(report)))
        raise
    request.node.stash[_POOL] = (pool, found)
    if request.config.getoption("--guest-report") is not None:
        request.node.user_properties.append((PROPERTY, str(found.report)))
    return found


def _asked_by(item: pytest.Item) -> dict[str, object]:
    """What the marks of a test, its class and its module say together, and what its matrix says."""
    arguments: dict[str, object] = {}
    for mark in reversed(list(item.iter_markers("guest"))):
        arguments.update(mark.kwargs)
    parameters: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    variant = parameters.get(_VARIANT, {})
    return {**arguments, **(variant if isinstance(variant, dict) else {})}


def wanted_by(item: pytest.Item) -> Wanted:
    """The guest that a test wants. Raises InvalidMark."""
    from image_harness.guest_mark import parse

    arguments = _asked_by(item)
    arguments.pop("budget", None)
    return parse(arguments, item.path.parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Hold the guest's boot against the mark's budget, after the test: what it asserts says more."""
    yield
    if _POOL in item.stash and (budget := _asked_by(item).get("budget")) is not None:
        from image_harness.guest_mark import parse_budget

        if over := item.stash[_POOL][1].timeline.over(parse_budget(budget)):
            pytest.fail("\n".join(over), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 -- pytest's interface
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the report of a failed test's guest, and name it: in the output, and as a property for JUnit."""
    report = yield
    if report.failed and report.when != "teardown" and _POOL in item.stash:
        pool, found = item.stash[_POOL]
        report.sections.append(("guest", pool.keep(found)))
        if (PROPERTY, str(found.report)) not in item.user_properties:
            item.user_properties.append((PROPERTY, str(found.report)))
    if report.when != "teardown":
        report.user_properties = list(item.user_properties)
    return report
