"""The instances a server knows, found by what proves who is asking.

An idle instance costs a few hundred bytes: its value is kept packed, and unpacked with its pages only while
guests ask for it.
"""

from __future__ import annotations

import pickle
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.instance import Instance
from metadata_server.caller import Claim
from metadata_server.pages import Options, Tree

HOT_INSTANCES = 4096


def claims_of(instance: Instance) -> tuple[Claim, ...]:
    """Every key under which the instance is found; each belongs to one instance only."""
    identity = instance.identity
    claims: list[Claim] = [("path", identity.path or instance.uuid)]
    claims += [("ip", identity.network, address) for address in identity.source_ips]
    claims += [("mac", identity.network, mac) for mac in identity.macs]
    claims += [("port", str(port)) for port in identity.ports]
    if identity.socket is not None:
        claims.append(("socket", identity.socket))
    return tuple(claims)


class Catalogue:
    """Instances by uuid and by claim. `put` and `remove` take effect with the next request."""

    def __init__(self, options: Options | None = None, *, hot: int = HOT_INSTANCES) -> None:
        self.options = options or Options()
        self._packed: dict[str, bytes] = {}
        self._by_claim: dict[Claim, str] = {}
        self._hot: OrderedDict[str, Tree] = OrderedDict()
        self._hot_size = hot
        self.on_change: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._packed))

    def put(self, instance: Instance, source: str = "instance") -> None:
        """Add or replace an instance. Raises InvalidInstance when another one has a claim of it."""
        faults = self._conflicts(instance, source)
        if faults:
            raise InvalidInstance(faults)
        if instance.uuid in self._packed:
            self._forget_claims(instance.uuid)
        # Our own value, packed and unpacked in this process only.
        self._packed[instance.uuid] = zlib.compress(pickle.dumps(instance, pickle.HIGHEST_PROTOCOL), 1)
        for claim in claims_of(instance):
            self._by_claim[claim] = instance.uuid
        self._hot.pop(instance.uuid, None)
        self._tell(instance.uuid)

    def remove(self, uuid: str) -> bool:
        """Forget an instance; False when it was not known."""
        if uuid not in self._packed:
            return False
        self._forget_claims(uuid)
        del self._packed[uuid]
        self._hot.pop(uuid, None)
        self._tell(uuid)
        return True

    def find(self, claim: Claim) -> Tree | None:
        """The instance that a claim belongs to."""
        uuid = claim[1] if claim[0] == "id" else self._by_claim.get(claim)
        return None if uuid is None else self.tree(uuid)

    def tree(self, uuid: str) -> Tree | None:
        """The pages of an instance, kept while it is one of those asked for last."""
        tree = self._hot.get(uuid)
        if tree is not None:
            self._hot.move_to_end(uuid)
            return tree
        packed = self._packed.get(uuid)
        if packed is None:
            return None
        tree = self._hot[uuid] = Tree(self._unpack(packed), self.options)
        if len(self._hot) > self._hot_size:
            self._hot.popitem(last=False)
        return tree

    def get(self, uuid: str) -> Instance | None:
        """The instance's value."""
        packed = self._packed.get(uuid)
        return None if packed is None else self._unpack(packed)

    def use(self, options: Options) -> None:
        """Change what holds for all instances, such as the static vendor data."""
        self.options = options
        self._hot.clear()
        for uuid in self:
            self._tell(uuid)

    @staticmethod
    def _unpack(packed: bytes) -> Instance:
        instance: Instance = pickle.loads(zlib.decompress(packed))  # noqa: S301  # packed by `put` above
        return instance

    def _conflicts(self, instance: Instance, source: str) -> list[Fault]:
        return [
            Fault(
                source, None, "identity", f"the {claim[0]} belongs to another instance", "Give each its own"
            )
            for claim in claims_of(instance)
            if self._by_claim.get(claim, instance.uuid) != instance.uuid
        ]

    def _forget_claims(self, uuid: str) -> None:
        for claim in claims_of(self._unpack(self._packed[uuid])):
            if self._by_claim.get(claim) == uuid:
                del self._by_claim[claim]

    def _tell(self, uuid: str) -> None:
        for listener in self.on_change:
            listener(uuid)
