"""Ports in and out of servers: a card that a guest gets while it runs, or at its next start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spawner import devices, networks
from spawner.compute.node import ComputeNode
from spawner.conductor import Caller, Conductor
from spawner.devices import nic_of
from spawner.errors import NotFound
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import NETWORKS, PORTS


class Ports:
    """Plugs ports into the servers of one cloud."""

    def __init__(
        self,
        store: Store,
        conductor: Conductor,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        random: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._conductor = conductor
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def attach_port(self, server: Server, port_id: str, caller: Caller, tag: str = "") -> Any:
        """Plug in a port that is there; its row. Raises NotFound, Conflict, and what the node does."""
        async with self._store.write() as connection:
            await devices.bind(connection, server.id, server.project_id, port_id, tag)
        return await self._plug(server, port_id, tag, caller)

    async def attach_network(
        self,
        server: Server,
        network_id: str,
        fixed_ips: Sequence[Mapping[str, str]],
        caller: Caller,
        tag: str = "",
    ) -> Any:
        """Plug in a new port on a network, which goes with the server; its row.

        Raises NotFound, Conflict, InvalidSpec, and what the node does.
        """
        port_id = self._new_id()
        async with self._store.write() as connection:
            network = await networks.get(connection, NETWORKS, "Network", network_id)
            if network.project_id != server.project_id and not network.shared:
                raise NotFound("Network", network_id)
            await networks.add_port(
                connection,
                port_id=port_id,
                network_id=network_id,
                project_id=server.project_id,
                mac=networks.mac_address(self._random(3)),
                now=self._clock(),
                fixed_ips=fixed_ips,
                device_id=server.id,
                device_owner=devices.OWNER,
                status="ACTIVE",
            )
            await devices.plug_port(connection, server.id, port_id, tag)
        return await self._plug(server, port_id, tag, caller)

    async def _plug(self, server: Server, port_id: str, tag: str, caller: Caller) -> Any:
        async with self._store.read() as connection:
            port = await networks.get(connection, PORTS, "Port", port_id)
            slot = await devices.plug_port(connection, server.id, port_id, tag)

        async def do(node: ComputeNode, current: Server) -> None:
            await node.attach_port(current, nic_of(port, slot, tag))
            await node.refresh(current)

        try:
            await self._conductor.reconfigure(server.id, "attach_interface", caller, do)
        except BaseException:
            async with self._store.write() as connection:
                await devices.let_go(connection, server.id, port_id)
            raise
        return port

    async def detach(self, server: Server, port_id: str, caller: Caller) -> None:
        """Take a port out of a server, and away when it was made for it.

        Raises NotFound, Conflict, and what the node does; the port stays where it is then.
        """
        async with self._store.read() as connection:
            port = await networks.get(connection, PORTS, "Port", port_id)
            if port.device_id != server.id:
                raise NotFound("Port", port_id)
            slot = await devices.plug_port(connection, server.id, port_id)

        async def do(node: ComputeNode, current: Server) -> None:
            await node.detach_port(current, nic_of(port, slot))
            async with self._store.write() as connection:
                await devices.let_go(connection, server.id, port_id)
            await node.refresh(current)

        await self._conductor.reconfigure(server.id, "detach_interface", caller, do)
