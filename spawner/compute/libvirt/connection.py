"""The connection to a libvirt daemon: every call in a thread and with a deadline, every error one of ours.

libvirt's calls block, some for as long as a guest or a disk pleases. They run in a few threads of their own,
so that a daemon that hangs takes nothing else with it. A call that is late is given up, not ended: whoever
asked is told, and a later call that needs its lock waits in turn. Another thread runs libvirt's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from spawner.compute.libvirt.uri import ConnectionUri
from spawner.errors import LibvirtFailed, LibvirtMissing

if TYPE_CHECKING:
    import libvirt

LOG = logging.getLogger(__name__)
T = TypeVar("T")
OnLifecycle = Callable[[str, int, int], None]

OPEN_S = 30.0
"""For the first answer: a session's daemon is started by it, and looks at every QEMU that there is."""
CALL_S = 30.0
AGAIN_S = 1.0
THREADS = 8
KEEPALIVE_S, KEEPALIVE_COUNT = 5, 6


@cache
def _library() -> Any:
    """libvirt-python, with its event loop running. Raises LibvirtMissing."""
    try:
        import libvirt
    except ImportError as error:
        raise LibvirtMissing(str(error)) from error
    # Errors are raised; libvirt's own habit of printing them as well would end up on the user's terminal.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, args=(libvirt,), name="libvirt events", daemon=True).start()
    return libvirt


def _run_events(libvirt: Any) -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class Connection:
    """One daemon. `open` it; afterwards `call` runs anything that blocks.

    A daemon that was restarted is connected to again: guests outlive it, and so do we.
    """

    def __init__(self, uri: ConnectionUri) -> None:
        self.uri = uri
        self.library: Any = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._connecting = threading.Lock()
        self._connection: libvirt.virConnect | None = None
        self._tell: OnLifecycle = lambda _uuid, _event, _detail: None
        self._lost: Callable[[], None] = lambda: None
        self._mending: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self, on_lifecycle: OnLifecycle, on_return: Callable[[], None]) -> None:
        """Connect. Both are called in the event loop of whoever opens: `on_lifecycle(uuid, event, detail)` as
        domains change, `on_return` when the daemon had been away, so that changes may have been missed.

        Raises LibvirtMissing, LibvirtFailed.
        """
        self.library = await asyncio.to_thread(_library)
        loop = asyncio.get_running_loop()

        def soon(work: Callable[..., None], *arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is interested
                loop.call_soon_threadsafe(work, *arguments)

        def mend() -> None:
            if not self._closed and (self._mending is None or self._mending.done()):
                self._mending = loop.create_task(self._mend(on_return), name="libvirt came and went")

        self._tell = lambda uuid, event, detail: soon(on_lifecycle, uuid, event, detail)
        self._lost = lambda: soon(mend)
        await self.call("connecting", lambda: None, OPEN_S)

    @property
    def raw(self) -> libvirt.virConnect:
        """libvirt's own object, for use inside of `call`. Raises LibvirtFailed before `open`."""
        if self._connection is None:
            raise LibvirtFailed("connecting", "there is no connection")
        return self._connection

    async def call(self, what: str, work: Callable[[], T], timeout_s: float = CALL_S) -> T:
        """The result of `work`, carried out in a thread. Raises LibvirtFailed when it fails or is late."""

        def connected() -> T:
            self._connect()
            return work()

        working = asyncio.get_running_loop().run_in_executor(self._pool, connected)
        try:
            return await asyncio.wait_for(asyncio.shield(working), timeout_s)
        except TimeoutError:
            working.add_done_callback(_ignore)
            raise LibvirtFailed(what, f"no answer within {timeout_s:g} s") from None
        except self.library.libvirtError as error:
            raise LibvirtFailed(what, str(error), error.get_error_code() or 0) from error

    def _connect(self) -> None:
        """Connect where there is no connection, or none any more; in a thread. Raises libvirtError."""
        with self._connecting:
            if self._closed:
                raise LibvirtFailed("connecting", "the connection was closed")
            if self._connection is not None and self._connection.isAlive():
                return
            connection = self.library.open(self.uri.text)
            if not self.uri.is_local:
                connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
            connection.domainEventRegisterAny(
                None,
                self.library.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                lambda _from, domain, event, detail, _: self._tell(domain.UUIDString(), event, detail),
                None,
            )
            connection.registerCloseCallback(lambda _from, _reason, _opaque: self._lost(), None)
            self._connection = connection

    async def _mend(self, on_return: Callable[[], None]) -> None:
        """The daemon broke off: connect again as soon as it is there."""
        LOG.warning("%s broke off; guests run on", self.uri.text)
        while True:
            try:
                await self.call("connecting again", lambda: None, OPEN_S)
            except LibvirtFailed:
                await asyncio.sleep(AGAIN_S)
                continue
            on_return()
            return

    async def close(self) -> None:
        """Give the connection up; guests are libvirt's and run on."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        connection, self._connection, self._closed = self._connection, None, True
        if connection is not None:
            with contextlib.suppress(self.library.libvirtError):
                await asyncio.get_running_loop().run_in_executor(self._pool, connection.close)
        self._pool.shutdown(wait=False, cancel_futures=True)


def _ignore(done: asyncio.Future[Any]) -> None:
    """A call that came back after all: its failure was told of already."""
    if not done.cancelled() and done.exception() is not None:
        LOG.debug("a late call to libvirt failed: %s", done.exception())
