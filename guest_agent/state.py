"""What the agent remembers: the paths of /run/cloud-init and /var/lib/cloud, and what ran for which instance.

`PLACES` lists each file once, with its mode. A module is marked as begun (durable) before its first effect
and as done after its last one, so that a power cut between the two is seen by the next boot.
Source: guest-agent.md 1.6, 1.9, 3.1; faults-and-threats GA-S02, S05, S06, S07.
"""

from __future__ import annotations

import os
import time

from boot_stages.facts import instance_directory_name
from boot_stages.log import logger
from boot_stages.module import ALWAYS, ONCE
from boot_stages.plain_json import read_json
from boot_stages.value import Value
from guest_agent.plain import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guest_agent.machine import Machine

LOG = logger("state")

RUN = "/run/cloud-init"
CLOUD = "/var/lib/cloud"
INSTANCE_LINK = f"{CLOUD}/instance"


class Place(Value):
    """A file or directory of the agent: its path (below the instance directory when relative) and mode."""

    path: str
    mode: int = 0o644


RUN_INSTANCE_ID = Place(f"{RUN}/.instance-id")
RUN_INSTANCE_DATA = Place(f"{RUN}/instance-data.json")
RUN_SENSITIVE_DATA = Place(f"{RUN}/instance-data-sensitive.json", 0o600)
RUN_COMBINED_CONFIG = Place(f"{RUN}/combined-cloud-config.json", 0o600)
RUN_NETWORK_CONFIG = Place(f"{RUN}/network-config.json")
RUN_CLOUD_ID = Place(f"{RUN}/cloud-id")
RUN_STATUS = Place(f"{RUN}/status.json")
RUN_RESULT = Place(f"{RUN}/result.json")
RUN_SKIP_NETWORK = Place(f"{RUN}/.skip-network")
RUN_SEMAPHORES = Place(f"{RUN}/sem", 0o755)
RUN_SHARE = Place(f"{RUN}/share", 0o700)
RUN_TEMPORARY = Place(f"{RUN}/tmp", 0o1777)  # noqa: S108 - below a directory of root's own

USER_DATA = Place("user-data.txt", 0o600)
VENDOR_DATA = Place("vendor-data.txt", 0o600)
VENDOR_DATA2 = Place("vendor-data2.txt", 0o600)
CLOUD_CONFIG = Place("cloud-config.txt", 0o600)
VENDOR_CLOUD_CONFIG = Place("vendor-cloud-config.txt", 0o600)
VENDOR2_CLOUD_CONFIG = Place("vendor2-cloud-config.txt", 0o600)
DATASOURCE = Place("datasource")
CACHE = Place("obj.pkl", 0o400)
NETWORK_CONFIG = Place("network-config.json", 0o600)
BOOT_FINISHED = Place("boot-finished")
MANUAL_CLEAN = Place("manual-clean")
CHANGES = Place("changes.jsonl", 0o600)
APPENDS = Place("appends.json", 0o600)
KNOWN_DOCUMENTS = Place("known-documents.json", 0o600)
# scripts/vendor, boothooks and warnings come into being with their first file.
INSTANCE_DIRECTORIES = ("handlers", "scripts", "sem")

DATA = f"{CLOUD}/data"
DATA_INSTANCE_ID = Place(f"{DATA}/instance-id")
DATA_PREVIOUS_INSTANCE_ID = Place(f"{DATA}/previous-instance-id")
DATA_PREVIOUS_DATASOURCE = Place(f"{DATA}/previous-datasource")
DATA_STATUS = Place(f"{DATA}/status.json")
DATA_RESULT = Place(f"{DATA}/result.json")
DATA_UPGRADED_NETWORK = Place(f"{DATA}/upgraded-network")
ONCE_SEMAPHORES = Place(f"{CLOUD}/sem", 0o755)
CLOUD_DIRECTORIES = (
    "handlers",
    "instances",
    "scripts",
    "scripts/per-boot",
    "scripts/per-instance",
    "scripts/per-once",
    "scripts/vendor",
    "seed",
    "sem",
    "data",
)

PLACES = tuple(place for place in globals().copy().values() if isinstance(place, Place))

NO_PREVIOUS = "NO_PREVIOUS_INSTANCE_ID"
MISSING_ID = "iid-datasource"
CACHE_SCHEMA = 1
# What user data runs once and must never run twice, whatever happened in between (GA-S02).
AT_MOST_ONCE = (
    "ansible",
    "phone_home",
    "power_state_change",
    "scripts_per_instance",
    "scripts_per_once",
    "scripts_user",
    "scripts_vendor",
)
# What leaves a mark when it begins: those, and what has programs that change several files in turn. A cut may
# leave that half done, and the next run has to know.
MARKED = (*AT_MOST_ONCE, "users_groups")
LOCK_WAIT_S = 30.0


class AnotherAgent(Exception):
    """Another agent process has held the lock for too long."""

    def __init__(self) -> None:
        super().__init__(
            f"another cloud-init is running and did not end within {LOCK_WAIT_S:.0f} s (error=locked)."
            " Wait for it with: cloud-init status --wait"
        )


class Lock:
    """At most one agent changes the guest at a time: flock on the root-only directory of the sockets.

    The kernel frees it when its holder dies, so it cannot be stale. Raises AnotherAgent.
    """

    def __init__(self, machine: Machine, wait_s: float = LOCK_WAIT_S) -> None:
        import fcntl

        machine.make_directory(RUN_SHARE.path, RUN_SHARE.mode)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._descriptor = os.open(machine.path(RUN_SHARE.path), flags)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._descriptor)
                    raise AnotherAgent from None
                time.sleep(0.05)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)


class State:
    """The memory of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def make_directories(self) -> None:
        """The directories that administrators and images expect, whether or not anything is in them."""
        for name in CLOUD_DIRECTORIES:
            self._machine.make_directory(f"{CLOUD}/{name}")
        self._machine.make_directory(RUN_SEMAPHORES.path)
        self._machine.make_directory(RUN_TEMPORARY.path, RUN_TEMPORARY.mode)

    def previous_instance_id(self) -> str:
        """The id of the last instance this disk was, or NO_PREVIOUS."""
        return (self._machine.read_text(DATA_INSTANCE_ID.path) or "").strip() or NO_PREVIOUS

    def directory(self, instance_id: str) -> str:
        """Where an instance's own files are."""
        return f"{CLOUD}/instances/{instance_directory_name(instance_id)}"

    def is_new(self, instance_id: str) -> bool:
        """Whether this instance is not the one this disk was at its last boot."""
        return self.previous_instance_id() != instance_id

    def adopt(self, instance_id: str, datasource: str) -> bool:
        """Become this instance: link, directories, what it was read from. True when it is a new one.

        It counts as known only after `settle`: what a new instance needs once is done before that.
        `datasource` is its class and text form, `DataSourceNoCloud: DataSourceNoCloud [seed=/dev/vdb]`.
        """
        machine = self._machine
        previous = self.previous_instance_id()
        directory = self.directory(instance_id)
        for name in ("", *INSTANCE_DIRECTORIES):
            machine.make_directory(f"{directory}/{name}".rstrip("/"))
        machine.link(INSTANCE_LINK, directory)
        before = (machine.read_text(f"{directory}/{DATASOURCE.path}") or "").strip() or datasource
        self._keep(f"{directory}/{DATASOURCE.path}", f"{datasource}\n")
        self._keep(DATA_PREVIOUS_DATASOURCE.path, f"{before}\n")
        self._keep(RUN_INSTANCE_ID.path, f"{instance_id}\n")
        return previous != instance_id

    def settle(self, instance_id: str) -> None:
        """From now on this disk is this instance: a power cut before left it as new as it was."""
        previous = self.previous_instance_id()
        if previous != instance_id or not self._machine.exists(DATA_PREVIOUS_INSTANCE_ID.path):
            self._keep(DATA_PREVIOUS_INSTANCE_ID.path, f"{previous}\n")
        self._keep(DATA_INSTANCE_ID.path, f"{instance_id}\n")

    def _keep(self, path: str, text: str) -> None:
        """Write only what changed: a second boot writes nothing."""
        if self._machine.read_text(path) != text:
            self._machine.write(path, text)

    def keep(self, place: Place, content: bytes | str, instance_id: str = "") -> None:
        """Write a file of the table with its mode, when its content is not there yet."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        path = f"{self.directory(instance_id)}/{place.path}" if instance_id else place.path
        if self._machine.read_bytes(path) != data:
            self._machine.write(path, data, place.mode)

    # The private cache of what the datasource said.

    def load_cache(self) -> dict[str, Any] | None:
        """What was cached for the instance the link leads to; None when there is none.

        A cache that cannot be read is set aside with a warning. Raises NewerState for one of a later agent.
        """
        path = f"{INSTANCE_LINK}/{CACHE.path}"
        content = self._machine.read_bytes(path)
        if content is None:
            return None
        try:
            document = read_json(content)
            schema = int(document["schema"])
        except (ValueError, KeyError, TypeError, RecursionError):
            aside = self.set_aside(path)
            LOG.warning(
                "the cache %s cannot be read; it was kept as %s and the source is read anew", path, aside
            )
            return None
        if schema > CACHE_SCHEMA:
            raise NewerState(path)
        return dict(document)

    def save_cache(self, instance_id: str, document: dict[str, Any]) -> None:
        """Keep what the datasource said, readable by root alone."""
        self.keep(CACHE, to_json({**document, "schema": CACHE_SCHEMA}), instance_id)

    def set_aside(self, path: str) -> str:
        """Rename a broken file to `.bad-N`, the first N that is free; the new path."""
        real = self._machine.path(path)
        number = 1
        while os.path.lexists(f"{real}.bad-{number}"):
            number += 1
        os.rename(real, f"{real}.bad-{number}")
        return f"{path}.bad-{number}"

    def journal(self, instance_id: str, *, rerun_interrupted: bool = False) -> Journal:
        """What ran for this instance."""
        return Journal(self._machine, self.directory(instance_id), rerun_interrupted=rerun_interrupted)


class NewerState(Exception):
    """The state was written by a later version: modules must not run on it (GA-S06)."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was written by a newer agent (error=state-newer)."
            " Install that version again, or run: cloud-init clean"
        )


class Appends:
    """Where `append: true` began to write, by module and number, so that a run which is repeated after a
    power cut does not append twice (GA-W07). A memory that cannot be read counts as empty.
    """

    def __init__(self, machine: Machine, directory: str) -> None:
        self._machine = machine
        self._path = f"{directory}/{APPENDS.path}"

    def offset(self, key: str, path: str) -> int | None:
        """Where that append began in this file; None when it was never begun."""
        kept = self._kept().get(key)
        if isinstance(kept, list) and len(kept) == 2 and kept[0] == path and type(kept[1]) is int:
            return max(0, kept[1])
        return None

    def keep(self, key: str, path: str, offset: int) -> None:
        """Remember it before the first byte is written."""
        self._machine.write(self._path, to_json({**self._kept(), key: [path, offset]}), APPENDS.mode)

    def _kept(self) -> dict[str, Any]:
        try:
            found = read_json(self._machine.read_bytes(self._path) or b"{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class Journal:
    """Which modules ran: `sem/config_NAME` when done.

    What is MARKED also leaves `sem/.config_NAME.begun` between start and end, durable before its first
    effect. All others simply run again when a power cut came before their mark was on the disk.
    """

    def __init__(self, machine: Machine, directory: str, *, rerun_interrupted: bool) -> None:
        self._machine = machine
        self._directory = directory
        self._rerun_interrupted = rerun_interrupted
        self.sync: Callable[[], None] | None = None

    def _paths(self, name: str, frequency: str) -> tuple[str, str]:
        """The files that say begun and done."""
        name = name.replace("-", "_")
        if frequency == ONCE:
            return f"{ONCE_SEMAPHORES.path}/.{name}.begun", f"{ONCE_SEMAPHORES.path}/{name}.once"
        return f"{self._directory}/sem/.{name}.begun", f"{self._directory}/sem/{name}"

    def has_run(self, name: str, frequency: str) -> bool:
        """Whether it is done, or was cut short and must not be begun again."""
        if frequency == ALWAYS:
            return False
        begun, done = self._paths(f"config_{name}", frequency)
        if self._machine.exists(done):
            return True
        if not self._machine.exists(begun) or name not in AT_MOST_ONCE or self._rerun_interrupted:
            return False
        LOG.warning(
            "%s was interrupted by a power cut or kill and is not run again."
            " To run such modules again set rerun_interrupted: true, or run: cloud-init single --name %s"
            " --frequency always",
            name,
            name,
        )
        self._rename(begun, done)
        return True

    def was_cut(self, name: str, frequency: str) -> bool:
        """Whether a MARKED module was begun and did not come to its end."""
        if frequency == ALWAYS or name not in MARKED:
            return False
        begun, done = self._paths(f"config_{name}", frequency)
        return self._machine.exists(begun) and not self._machine.exists(done)

    def begin(self, name: str, frequency: str) -> None:
        """Durable before the first effect of a MARKED module; nothing for others."""
        if frequency != ALWAYS and name in MARKED:
            begun, _done = self._paths(f"config_{name}", frequency)
            self._machine.write(begun, self._mark())

    def _mark(self) -> str:
        """What a semaphore holds: the process and the time."""
        return f"{os.getpid()}: {int(self._machine.clock().epoch_s)}\n"

    def end(self, name: str, frequency: str) -> None:
        """After the module's last effect, also when it failed: it is not tried again (D18)."""
        if frequency == ALWAYS:
            return
        # No mark may reach the disk before the effects that commands had.
        if self.sync is not None:
            self.sync()
        begun, done = self._paths(f"config_{name}", frequency)
        if name in MARKED:
            self._rename(begun, done)
        else:
            self._write_mark(done)

    def end_named(self, name: str) -> None:
        """`end` for what is not a module (`consume_data`)."""
        self._write_mark(self._paths(name, "")[1])

    def _write_mark(self, path: str) -> None:
        """A semaphore that need not be durable: an empty or missing one costs a repetition at most."""
        place = self._machine.path(path)
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, self._mark().encode())
        finally:
            os.close(descriptor)
        self._machine.owners[path] = ("root", "root", "0644")

    def is_done(self, name: str) -> bool:
        """Whether something that is not a module is done for this instance."""
        return self._machine.exists(self._paths(name, "")[1])

    def _rename(self, begun: str, done: str) -> None:
        """One atomic step from begun to done, durable when it returns."""
        old, new = self._machine.path(begun), self._machine.path(done)
        os.rename(old, new)
        owner = self._machine.owners.pop(begun, None)
        if owner is not None:
            self._machine.owners[done] = owner
        descriptor = os.open(os.path.dirname(new), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
