"""The guests of a test run: started when asked for, shared by who wants the same, ended with their scope."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

from image_harness import boot, cache, images, instances, store
from image_harness.errors import GuestBroken, HarnessError
from image_harness.guest import Guest
from image_harness.guest_mark import Wanted
from image_harness.guest_shell import overlay
from image_harness.guest_shell.protocol import Answer
from image_harness.progress import Choice, Chosen, Happening
from image_harness.report import Report
from image_harness.session import Loop, Session
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Result
from spawner.errors import SpawnerError

# Ended with the test run at the latest; this is for a run that hangs.
LIFETIME_S = 4 * 3600.0
AGENT_LOG = "/var/log/cloud-init.log"


class Workshop:
    """What all guests of a test run share: the thread, the prepared images, how guests run here."""

    def __init__(self, scratch: Path, reports: Path) -> None:
        self.reports = reports
        self._scratch = scratch
        self._images: dict[str, store.Image] = {}
        self._host: boot.Host | None = None
        self._count = 0

    @cached_property
    def loop(self) -> Loop:
        """The thread, started with the first guest."""
        return Loop()

    def image(self, name: str) -> store.Image:
        """The image of that name, able to take commands. Raises HarnessError."""
        if name not in self._images:
            self._images[name] = overlay.with_shell(images.get(name, lambda _: None).image, self._scratch)
        return self._images[name]

    def host(self, image: store.Image) -> boot.Host:
        """Accelerator and network, found out once. Raises SpawnerError."""
        if self._host is None:
            self._host = boot.probe_host(image)
        return self._host

    def report_directory(self, name: str) -> Path:
        """A new name for a report; the directory is made only when something is put into it."""
        self._count += 1
        return self.reports / f"{name}-{self._count}"

    def close(self) -> None:
        """Stop the thread; all guests have ended."""
        if "loop" in self.__dict__:
            self.loop.close()


class LiveGuest:
    """A guest of the pool, as a channel for `Guest`, and what becomes of its report."""

    def __init__(self, wanted: Wanted, workshop: Workshop, label: str) -> None:
        self.report = workshop.report_directory(label)
        self._loop = workshop.loop
        self._wanted = wanted
        self._told = Report()
        self._kept = False
        image = workshop.image(wanted.image)
        host = workshop.host(image)
        self._tell(Chosen(Choice.IMAGE, image.name, f"kernel {image.manifest.kernel}"))
        order = boot.Order(
            image=image,
            instance=instances.describe(wanted.name, uuid.uuid4(), wanted.user_data, wanted.keys),
            source=wanted.source,
            deadline_s=LIFETIME_S,
            list_changes=image.disk is None,
        )
        self._session = Session(order, host, self._tell)

    def _tell(self, happening: Happening) -> None:
        self._told.tell(happening)

    def start(self) -> Guest:
        """Boot it. Raises HarnessError, SpawnerError; the report is kept then."""
        try:
            self._loop.run(self._session.start(self._wanted.timeout_s))
        except (HarnessError, SpawnerError) as error:
            self.keep()
            error.add_note(f"The guest's report: {self.report}")
            raise
        return Guest(self)

    def run(self, command: str, timeout_s: float) -> Answer:
        """Carry out a command. Raises GuestBroken."""
        return self._loop.run(self._session.run(command, timeout_s))

    def result(self) -> Result | None:
        """What the agent reported."""
        return self._session.result

    def console(self) -> bytes:
        """What the console showed."""
        return self._session.console()

    def requests(self) -> tuple[AccessRecord, ...]:
        """What it asked the metadata service."""
        return self._session.requests()

    def keep(self) -> None:
        """A test failed: have the report outlive the guest; the agent's log is fetched while it is there."""
        if self._kept:
            return
        self._kept = True
        self.report.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.report / "console.log").write_bytes(self.console())
        try:
            log = self.run(f"tail -c 200000 {AGENT_LOG}", 20.0)
        except GuestBroken:
            return
        (self.report / "cloud-init.log").write_bytes(log.stdout_bytes)

    def close(self) -> None:
        """End it, and write the report if a test failed."""
        outcome = self._loop.run(self._session.close())
        if self._kept and outcome is not None:
            self._told.write(self.report, outcome)


class Pooled(Protocol):
    """What a pool does with a guest of its own."""

    def start(self) -> Guest:
        """Boot it. Raises HarnessError, SpawnerError."""
        ...

    def keep(self) -> None:
        """Have its report outlive it."""
        ...

    def close(self) -> None:
        """End it."""
        ...


Make = Callable[[Wanted, str], Pooled]


class Pool:
    """The guests of one scope."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._live: dict[Wanted, Pooled] = {}
        self._guests: dict[Wanted, Guest] = {}
        self._failed: dict[Wanted, HarnessError | SpawnerError] = {}

    def get(self, wanted: Wanted, label: str) -> Guest:
        """The guest that is wanted; booted the first time. One that did not come up is not tried again.

        Raises HarnessError, SpawnerError.
        """
        if wanted in self._failed:
            raise self._failed[wanted]
        if wanted not in self._guests:
            try:
                self._live[wanted] = self._make(wanted, label)
                self._guests[wanted] = self._live[wanted].start()
            except (HarnessError, SpawnerError) as error:
                self._failed[wanted] = error
                raise
        return self._guests[wanted]

    def keep(self, guest: Guest) -> None:
        """Have this guest's report outlive it."""
        for wanted, each in self._guests.items():
            if each is guest:
                self._live[wanted].keep()

    def close(self) -> None:
        """End all of them, the last one first."""
        while self._live:
            self._live.popitem()[1].close()


@contextmanager
def one(wanted: Wanted, reports: Path) -> Iterator[Guest]:
    """A guest outside of pytest, ended with the block; its report is below `reports` in any case.

    Raises HarnessError, SpawnerError, InvalidInstance.
    """
    with cache.scratch() as scratch:
        workshop = Workshop(scratch, reports)
        try:
            live = LiveGuest(wanted, workshop, wanted.name)
            try:
                yield live.start()
            finally:
                live.keep()
                live.close()
        finally:
            workshop.close()
