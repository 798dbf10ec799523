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
    from image_harness.guest_pool import Pool, Workshop

MARK = (
    "guest(image='tiny', user_data=None, source='metadata', name='guest', keys=(), timeout_s=300, "
    "scope='module'): the guest that the fixture `guest` boots"
)
_POOL: pytest.StashKey[tuple[Pool, Guest]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where reports go."""
    group = parser.getgroup("guestling")
    group.addoption(
        "--guest-reports",
        type=Path,
        metavar="DIR",
        help="where reports on guests of failed tests are put (default: guest-reports in the root directory)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", MARK)


@pytest.fixture(scope="session")
def _guest_workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    from image_harness import cache
    from image_harness.guest_pool import Workshop

    chosen = request.config.getoption("--guest-reports")
    reports: Path = (chosen or request.config.rootpath / "guest-reports").absolute()
    # Workers of pytest-xdist count on their own.
    reports /= os.environ.get("PYTEST_XDIST_WORKER", "")
    with cache.scratch() as scratch:
        workshop = Workshop(scratch, reports)
        yield workshop
        workshop.close()


def _pool(workshop: Workshop) -> Iterator[Pool]:
    from image_harness.guest_pool import LiveGuest, Pool

    pool = Pool(lambda wanted, label: LiveGuest(wanted, workshop, label))
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def _guests_of_session(_guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(_guest_workshop)


@pytest.fixture(scope="module")
def _guests_of_module(_guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(_guest_workshop)


@pytest.fixture
def _guests_of_function(_guest_workshop: Workshop) -> Iterator[Pool]:
    yield from _pool(_guest_workshop)


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Guest:
    """The guest that the mark `guest` describes, up, its agent done; see image_harness.guest.Guest."""
    wanted = wanted_by(request.node)
    pool: Pool = request.getfixturevalue(f"_guests_of_{wanted.scope.value}")
    found = pool.get(wanted, request.path.stem)
    request.node.stash[_POOL] = (pool, found)
    return found


def wanted_by(item: pytest.Item) -> Wanted:
    """What the marks of a test, its class and its module say together. Raises InvalidMark."""
    from image_harness.guest_mark import parse

    arguments: dict[str, object] = {}
    for mark in reversed(list(item.iter_markers("guest"))):
        arguments.update(mark.kwargs)
    return parse(arguments, item.path.parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 -- pytest's interface
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the report of a failed test's guest, and name it: in the output, and as a property for JUnit."""
    report = yield
    if report.failed and report.when != "teardown" and _POOL in item.stash:
        pool, found = item.stash[_POOL]
        pool.keep(found)
        report.sections.append(("guest", f"Its report, whole when the guest has ended: {found.report}"))
        item.user_properties.append(("guest_report", str(found.report)))
    return report
