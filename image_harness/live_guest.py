"""A guest of a test run: started within the budget, asked, ended, and what is kept of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from image_harness import added, boot, explain, guest_template, images, instances, store
from image_harness.errors import GuestBroken, HarnessError, UnknownImage
from image_harness.guest import Guest
from image_harness.guest_budget import Ledger
from image_harness.guest_mark import Wanted
from image_harness.guest_shell import overlay
from image_harness.guest_shell.protocol import Answer
from image_harness.layers import Say
from image_harness.progress import Choice, Chosen, Happening, Preparing, Tell, nobody
from image_harness.report import Report, put
from image_harness.session import Loop, Session
from image_harness.timeline import evidence, spans, stock
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Result
from spawner.compute.qemu.template import Template
from spawner.errors import SpawnerError

# Ended with the test run at the latest; this is for a run that hangs.
LIFETIME_S = 4 * 3600.0
ASK_S = 30.0
DISK = "disk.qcow2"
AGENT_LOGS = ("cloud-init.log", "cloud-init-output.log")
_EXPLAIN = "cloud-init explain --format json"
_CHANGES = "cat /var/lib/cloud/instance/changes.jsonl"

Watch = Callable[[Happening, float | None], object]


def unwatched(_: Happening, __: float | None) -> None:
    """For who does not want to be told."""


class Workshop:
    """What all guests of a test run share: the thread, the prepared images, how guests run here."""

    def __init__(self, scratch: Path, reports: Path, budget: Ledger | None = None) -> None:
        self.reports = reports
        self.budget = budget
        self._scratch = scratch
        self._images: dict[str, overlay.Prepared] = {}
        self._host: boot.Host | None = None
        self._templates: dict[str, Template] = {}
        self._count = 0

    @cached_property
    def loop(self) -> Loop:
        """The thread, started with the first guest."""
        return Loop()

    def image(self, name: str, tell: Tell = nobody) -> overlay.Prepared:
        """The image of that name, for commands where it takes them. Raises HarnessError, SpawnerError."""
        if name not in self._images:

            def say(step: str) -> None:
                tell(Preparing(step))

            self._images[name] = overlay.with_shell(self._found(name, say), self._scratch, say)
        return self._images[name]

    def _found(self, name: str, say: Say) -> store.Image:
        """The image of that name, else the file of that name. Raises HarnessError."""
        try:
            return images.get(name, say).image
        except UnknownImage:
            if not Path(name).is_file():
                raise
        return added.in_place(Path(name), self._scratch / f"file-{len(self._images)}")

    def host(self, image: store.Image) -> boot.Host:
        """Accelerator and network, found out once. Raises SpawnerError."""
        if self._host is None:
            self._host = boot.probe_host(image)
        return self._host

    def template(self, order: boot.Order, host: boot.Host) -> Template:
        """The saved guest of an image, made when it is first asked for. Raises BootFailed, SpawnerError."""
        name = order.image.manifest.digest
        if name not in self._templates:
            made = guest_template.make(order, host, self._scratch / f"{name}.state")
            self._templates[name] = self.loop.run(made)
        return self._templates[name]

    def report_directory(self, name: str) -> Path:
        """A new name for a report; the directory is made only when something is put into it."""
        self._count += 1
        return self.reports / f"{name}-{self._count}"

    def close(self) -> None:
        """Stop the thread, give back the budget; all guests have ended."""
        if "loop" in self.__dict__:
            self.loop.close()
        if self.budget is not None:
            self.budget.close()


def _facts(image: store.Image) -> str:
    return f"kernel {image.manifest.kernel}" if image.kernel else f"{image.disk_format}, it boots by itself"


class LiveGuest:
    """A guest of the pool, as a channel for `Guest`, and what becomes of its report.

    `watch` is told all that happens, with the seconds since the guest was started.
    """

    def __init__(self, wanted: Wanted, workshop: Workshop, where: Path, watch: Watch = unwatched) -> None:
        self.report = where
        self._workshop = workshop
        self._loop = workshop.loop
        self._watch = watch
        self._wanted = wanted
        self._told = Report()
        self._kept_disk = False
        self._kept = self._closed = False
        self._result: Result | None = None
        self._evidence = evidence.NONE
        prepared = workshop.image(wanted.image, self._tell)
        image = prepared.image
        host = workshop.host(image)
        self._tell(Chosen(Choice.IMAGE, image.name, _facts(image)))
        why_not = guest_template.why_not(wanted, image) if wanted.template else "nobody asked for it"
        uuid_ = uuid.uuid4() if why_not else guest_template.INSTANCE
        order = boot.Order(
            image=image,
            instance=instances.describe(wanted.name, uuid_, wanted.user_data, wanted.keys),
            source=wanted.source,
            deadline_s=LIFETIME_S,
            list_changes=image.disk is None,
            faults=wanted.faults,
        )
        self._has_disk = image.disk is not None
        self._memory_mib = image.manifest.memory_mib
        self._holds = False
        self._session = Session(order, host, self._tell, no_commands=prepared.why_not)
        self._saved = None if why_not else partial(workshop.template, order, host)

    def _tell(self, happening: Happening) -> None:
        self._watch(happening, self._told.tell(happening))

    def start(self) -> Guest:
        """Boot it, when the budget allows. Raises HarnessError, SpawnerError; the report is kept then."""
        budget = self._workshop.budget
        if budget is not None:
            budget.begin(self._memory_mib)
            self._holds = True
        try:
            # Made within the budget: it costs a boot the first time.
            template = self._saved() if self._saved else None
            self._loop.run(self._session.start(self._wanted.timeout_s, template))
        except (HarnessError, SpawnerError) as error:
            self.keep(disk=True)
            error.add_note(self.kept_in_words())
            raise
        finally:
            if budget is not None:
                budget.booted()
        return Guest(self)

    def run(self, command: str, timeout_s: float) -> Answer:
        """Carry out a command. Raises GuestBroken."""
        return self._loop.run(self._session.run(command, timeout_s))

    def result(self) -> Result | None:
        """What the agent reported; where it has no channel, what stock cloud-init left in its files."""
        if self._session.result is None and self._result is None and self._session.is_up:
            self._result = stock.result(self.run(stock.COMMAND, ASK_S).stdout)
        return self._session.result or self._result

    def console(self) -> bytes:
        """What the console showed."""
        return self._session.console()

    def requests(self) -> tuple[AccessRecord, ...]:
        """What it asked the metadata service."""
        return self._session.requests()

    def timeline(self) -> spans.Timeline:
        """When what happened, with what the guest itself says as long as it can be asked."""
        if (text := self._asked(evidence.COMMAND)) is not None:
            self._evidence = evidence.read(text.decode(errors="replace"))
        return self._told.timeline(self._evidence)

    def wait(self) -> None:
        """Returns when the guest has ended by itself."""
        self._loop.run(self._session.ended())

    def keep(self, *, disk: bool) -> None:
        """Have the report outlive the guest; what only the guest can tell is fetched while it is there.

        `disk`: keep what it wrote to its disk too.
        """
        self._kept_disk = self._kept_disk or (disk and self._has_disk)
        if self._kept:
            return
        self._kept = True
        self.report.mkdir(mode=0o700, parents=True, exist_ok=True)
        put(self.report / "console.log", self.console())
        for name in AGENT_LOGS:
            if (log := self._asked(f"tail -c 200000 /var/log/{name}")) is not None:
                put(self.report / name, log)
        self._keep_origins()
        self._told.write_timeline(self.report, self.timeline())

    def kept_in_words(self) -> str:
        """Where what is, for who looks into a failure: one line each."""
        kept = [
            ("console", "console.log"),
            ("metadata requests", "requests.jsonl"),
            ("agent's log", "cloud-init.log"),
            ("timeline", "timeline.svg"),
        ]
        kept += [("disk, a layer over the image's", DISK)] if self._kept_disk else []
        rows = [f"  {what}: {self.report / name}" for what, name in kept]
        return "\n".join([f"The guest's report, whole when the guest has ended: {self.report}", *rows])

    def close(self) -> boot.Outcome | None:
        """End it; where it is kept, write the report. None where it never ran, or has been closed before."""
        if self._closed:
            return None
        self._closed = True
        try:
            if self._kept:
                # Stock cloud-init's result is in its files, which are gone in a moment.
                self._asked("sync")
                self._ask_result()
            disk = self.report / DISK if self._kept_disk else None
            outcome = self._loop.run(self._session.close(disk))
            if outcome is not None:
                outcome = replace(outcome, result=outcome.result or self._result)
                if self._kept:
                    self._told.write(self.report, outcome, self._evidence)
            return outcome
        finally:
            if self._holds and self._workshop.budget is not None:
                self._workshop.budget.ended(self._memory_mib)

    def summary(self, outcome: boot.Outcome) -> dict[str, object]:
        """As boot.json has it."""
        return self._told.summary(outcome)

    def _ask_result(self) -> None:
        try:
            self.result()
        except GuestBroken:
            return

    def _asked(self, command: str) -> bytes | None:
        """What a command wrote; None where it did not end well, or was cut."""
        try:
            answer = self.run(command, ASK_S)
        except GuestBroken:
            return None
        return answer.stdout_bytes if answer.ok and not answer.cut else None

    def _keep_origins(self) -> None:
        """What `guestling explain` answers from; our agent's alone."""
        keys, changes = self._asked(_EXPLAIN), self._asked(_CHANGES)
        if keys is not None and changes is not None:
            put(self.report / explain.FILE, explain.document(keys, changes))
