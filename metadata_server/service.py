"""The server as a service: settings to listeners, files followed, signals obeyed, root given up.

`run()` is what `guestling serve` calls; programs that only need a listener use `app.MetadataServer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from instance_metadata.errors import Fault
from instance_metadata.fields import Json, as_json, is_json
from instance_metadata.instance import MAX_USER_DATA
from metadata_server import faults, privileges
from metadata_server.access import AccessRecord
from metadata_server.admin import Admin, Documents
from metadata_server.app import MetadataServer, Settings
from metadata_server.errors import BadListener
from metadata_server.instance_files import InstanceFiles
from metadata_server.listener import Listener
from metadata_server.passwords import DirectoryPasswords, MemoryPasswords, Passwords
from metadata_server.signing import Signer
from metadata_server.tokens import since_boot_s
from metadata_server.vendor_data import Rules, Target, VendorData

if TYPE_CHECKING:
    from metadata_server.store import Store
    from metadata_server.stored_instances import StoredInstances

LOG = logging.getLogger("metadata_server")
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `guestling serve` was told. `instances` is a file, a directory, or a store's URL."""

    instances: str
    listeners: tuple[Listener, ...]
    settings: Settings = field(default_factory=Settings)
    state: Path | None = None
    token_keys: tuple[bytes, ...] = ()
    token_time: Callable[[], float] = since_boot_s
    admin: str | None = None
    access_log: Path | None = None
    vendor_data: Path | None = None
    targets: tuple[Target, ...] = ()
    vendor_rules: Rules = field(default_factory=Rules)
    max_user_data: int = MAX_USER_DATA
    faults: Path | None = None
    sign_identity: Path | None = None
    user: str | None = None
    stay_root: bool = False


def read_vendor_data(path: Path) -> Json:
    """The static vendor data of all instances (OS-13: refused now, not at each request).

    Raises BadListener.
    """
    try:
        value = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise BadListener(f"{path}: not JSON: {error}. Correct it.") from error
    if not is_json(value):
        raise BadListener(f"{path}: not strict JSON. Leave NaN and Infinity out.")
    return as_json(value)


def is_url(instances: str) -> bool:
    """Whether the instances are in a store, and not in files."""
    return "://" in instances


def _store(instances: str) -> Store | None:
    """The store; SQLAlchemy is imported only where there is one: that takes as long as all the rest."""
    if not is_url(instances):
        return None
    from metadata_server.store import Store

    return Store(instances)


def _load(documents: InstanceFiles) -> None:
    """Read the documents for the first time. Raises BadListener where there are none to read."""
    try:
        documents.load()
    except OSError as error:
        raise BadListener(
            f"{documents.path}: cannot be read: {error.strerror}. Name a file or directory."
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadListener(f"{path}: cannot be read: {error.strerror}. Make it readable.") from error


class Service:
    """One process: a server, its documents, its admin socket."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store = _store(config.instances)
        options = config.settings.options
        if config.vendor_data is not None:
            options = replace(options, vendor_data=read_vendor_data(config.vendor_data))
        options = replace(
            options,
            dynamic_vendor_data=bool(config.targets),
            signed_identity=config.sign_identity is not None,
        )
        self.server = MetadataServer(
            replace(config.settings, options=options),
            passwords=self._passwords(),
            token_keys=config.token_keys,
            token_time=config.token_time,
            on_request=None if config.access_log is None else _access_log(config.access_log),
        )
        self.documents = self._documents()
        if config.sign_identity is not None:
            self.server.services.sign = Signer(config.sign_identity).sign
        if config.faults is not None:
            self.server.services.faults = faults.parse(_read(config.faults), str(config.faults))
        self._vendor: VendorData | None = None
        self._stop = asyncio.Event()

    def _documents(self) -> InstanceFiles | StoredInstances:
        config, instances = self._config, self.server.instances
        if self._store is None:
            return InstanceFiles(Path(config.instances), instances, config.max_user_data)
        from metadata_server.stored_instances import StoredInstances

        stored = StoredInstances(self._store, instances, config.max_user_data)
        self.server.services.fetch = stored.fetch
        return stored

    def _passwords(self) -> Passwords:
        if self._store is not None:
            from metadata_server.store import StorePasswords

            return StorePasswords(self._store)
        if self._config.state is None:
            return MemoryPasswords()
        kept = DirectoryPasswords(self._config.state / "passwords")
        kept.check()
        return kept

    async def run(self, ready: Callable[[tuple[str, ...]], None]) -> None:
        """Load, listen, drop privileges, call `ready` with the addresses, serve until told to stop.

        Raises MetadataServerError when something of that cannot be done.
        """
        if isinstance(self.documents, InstanceFiles):
            _load(self.documents)
        else:
            await self.documents.start()
        if self._config.targets:
            self._vendor = VendorData(self._config.targets, self._config.vendor_rules)
            self.server.services.vendor_data = self._vendor.replies
            self.server.instances.on_change.append(self._vendor.forget)
        # What is loaded stays: the collector need not look at a hundred thousand instances again and again.
        gc.collect()
        gc.freeze()
        self._refuse_tokens_behind_neutron()
        privileges.allow_many_files()
        addresses = [await self.server.listen(listener) for listener in self._config.listeners]
        if self._config.admin is not None:
            await self.server.listen_admin(
                Listener(self._config.admin), Admin(self.server.services, self.documents)
            )
        self._give_up_root()
        background = [asyncio.create_task(self._follow()), asyncio.create_task(self.watch_loop())]
        self._obey_signals()
        try:
            ready(tuple(addresses))
            await self._stop.wait()
        finally:
            await self._end(background)

    def _refuse_tokens_behind_neutron(self) -> None:
        """Neutron's agent drops the token's header, so the guest could never read its metadata (ID-10)."""
        if not any(listener.neutron_safe for listener in self._config.listeners):
            return
        for uuid in self.server.instances:
            instance = self.server.instances.get(uuid)
            if instance is not None and instance.imds.tokens == "required":
                raise BadListener(
                    f"{uuid}: imds.tokens cannot be required behind Neutron's agent. Turn them off."
                )

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self.server.close()
        if self._vendor is not None:
            await self._vendor.close()
        if self._store is not None:
            await self._store.close()

    def _give_up_root(self) -> None:
        """Become --user, else the owner of the documents; where that is root, keep nothing but its name."""
        if privileges.is_root() and not self._config.stay_root:
            user = self._config.user or privileges.owner_of(Path(self._config.instances))
            if user is None:
                LOG.warning("the documents belong to root: staying root without capabilities; see --user")
                privileges.drop_capabilities()
            else:
                privileges.drop(user, (self._config.state, self._config.sign_identity))
        privileges.harden()

    def _obey_signals(self) -> None:
        """TERM and INT: end, the second one at once; HUP: look at files now (MS-D12)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            sys.stderr.flush()
            raise SystemExit(1)
        self._stop.set()

    def _reload(self) -> None:
        """The last good vendor data stays when the new one is broken (OS-13)."""
        self.documents.look_now()
        if self._config.vendor_data is None:
            return
        place = str(self._config.vendor_data)
        try:
            data = read_vendor_data(self._config.vendor_data)
        except BadListener as broken:
            LOG.error("%s", broken)  # noqa: TRY400  # one line is what an operator needs
            self.server.services.events["reload_failed"] += 1
            fault = Fault(place, None, "", "cannot be used, the last good one stays", "Correct it and reload")
            self.documents.faults[place] = (fault,)
            return
        self.documents.faults.pop(place, None)
        self.server.use(replace(self.server.settings.options, vendor_data=data))

    async def _follow(self) -> None:
        await self.documents.follow()

    async def watch_loop(self) -> None:
        """Say when something blocked the event loop (MS-D16), and drop full rate buckets."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(PAUSE_S)
            late_s = loop.time() - before - PAUSE_S
            if late_s > 1.0:
                LOG.warning("the event loop was blocked for %.1f s", late_s)
            self.server.services.limiter.forget_idle(self.server.services.monotonic())


def _access_log(path: Path) -> Callable[[AccessRecord], None]:
    """Append a line for each request; `-` is standard output."""
    stream = sys.stdout if str(path) == "-" else path.open("a", buffering=1)

    def write(record: AccessRecord) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop guests from booting
            stream.write(f"{record.as_json()}\n")

    return write


def check(config: Config) -> tuple[Documents, int]:
    """Read every document without serving; returns them and the number of instances that are good."""
    if is_url(config.instances):
        raise BadListener("--check reads documents of a file or directory. Name one.")
    server = MetadataServer(config.settings)
    documents = InstanceFiles(Path(config.instances), server.instances, config.max_user_data)
    _load(documents)
    return documents, len(server.instances)
