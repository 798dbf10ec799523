"""What every service works on: store, conductor, tokens, image files, and where time and ids come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from spawner.conductor import Conductor
from spawner.identity import Tokens
from spawner.images import ImageFiles
from spawner.ports import Ports
from spawner.sign_ins import SignIns
from spawner.store.engine import Store
from spawner.volumes import Volumes


@dataclass(frozen=True)
class Cloud:
    """One cloud. `url` is the address that clients use, without a final slash."""

    store: Store
    conductor: Conductor
    tokens: Tokens
    images: ImageFiles
    url: str
    clock: Callable[[], float]
    new_id: Callable[[], str]
    random: Callable[[int], bytes]
    volumes: Volumes
    ports: Ports
    region: str = "RegionOne"
    sign_ins: SignIns = field(default_factory=SignIns)
