"""Instances of a store: read when a guest first asks, and kept in memory, bounded, until they change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.fields import Json
from instance_metadata.instance import parse
from metadata_server.caller import Claim
from metadata_server.catalogue import Catalogue
from metadata_server.errors import StoreUnavailable
from metadata_server.store import Store

LOG = logging.getLogger("metadata_server")
LOOK_S = 0.5
# A claim that belongs to nobody is not asked for again within this time, however often it is made.
UNKNOWN_S = 1.0
KEPT_INSTANCES = 100_000


@dataclass(slots=True)
class StoredInstances:
    """Fills a catalogue from a store, and keeps what is in it equal to the store."""

    store: Store
    catalogue: Catalogue
    max_user_data: int
    kept: int = KEPT_INSTANCES
    now: Callable[[], float] = time.monotonic
    faults: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    _loaded: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _unknown: dict[Claim, float] = field(default_factory=dict)
    _number: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Note where the changes stand. Raises StoreUnavailable."""
        await self.store.open()
        self._number = await self.store.last_change()

    async def fetch(self, claim: Claim) -> None:
        """Bring the instance of a claim into the catalogue, if there is one. Raises StoreUnavailable."""
        now = self.now()
        if self._unknown.get(claim, -UNKNOWN_S) + UNKNOWN_S > now:
            return
        uuid = await self.store.find(claim)
        if uuid is not None:
            await self._reload(uuid)
            return
        if len(self._unknown) > 10_000:
            self._unknown.clear()
        self._unknown[claim] = now

    async def follow(self) -> None:
        """Take changes until cancelled; while the store is away, what is in memory is served."""
        away = False
        while True:
            try:
                async with self.store.notices(self._wake.set):
                    while True:
                        await self._catch_up()
                        if away:
                            LOG.info("the store is back")
                            away = False
                        await self._pause()
            except StoreUnavailable as trouble:
                if not away:
                    LOG.warning("%s Known instances are served meanwhile.", trouble)
                away = True
                await self._pause()

    def look_now(self) -> None:
        self._wake.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _catch_up(self) -> None:
        changed, self._number, incomplete = await self.store.changes_since(self._number)
        if changed:
            self._unknown.clear()
        for uuid in tuple(self.catalogue) if incomplete else changed:
            if uuid in self.catalogue:
                await self._reload(uuid)

    async def _reload(self, uuid: str) -> None:
        document = await self.store.read(uuid)
        if document is None:
            self._loaded.pop(uuid, None)
            self.catalogue.remove(uuid)
            return
        try:
            self._put(uuid, document)
        except InvalidInstance as refused:
            self.faults[uuid] = refused.faults
            LOG.error("%s", refused)  # noqa: TRY400  # says it all

    def _put(self, uuid: str, document: Json) -> None:
        instance = parse(document, uuid, max_user_data=self.max_user_data)
        self._make_way(instance.uuid)
        self.catalogue.put(instance, uuid)
        self.faults.pop(uuid, None)

    def _make_way(self, uuid: str) -> None:
        self._loaded[uuid] = None
        self._loaded.move_to_end(uuid)
        if len(self._loaded) > self.kept:
            oldest, _ = self._loaded.popitem(last=False)
            self.catalogue.remove(oldest)

    # The admin interface's view.

    def all_faults(self) -> tuple[Fault, ...]:
        return tuple(fault for faults in self.faults.values() for fault in faults)

    async def read(self, uuid: str) -> Json:
        return await self.store.read(uuid)

    async def write(self, uuid: str, document: Json) -> None:
        """Into the store; this server takes it at once, the others when they are told."""
        await self.store.write(uuid, document)
        await self._reload(uuid)

    async def delete(self, uuid: str) -> bool:
        known = await self.store.delete(uuid)
        self._loaded.pop(uuid, None)
        self.catalogue.remove(uuid)
        return known
