"""A cloud that answers on the loopback for as long as a test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from yarl import URL

from spawner.api.app import make_app
from spawner.api.cloud import Cloud


@asynccontextmanager
async def listening(
    cloud: Cloud, app: web.Application | None = None, *, shutdown_s: float = 60.0
) -> AsyncIterator[None]:
    """Serve an open cloud at its own URL, and close it at the end; `app` where it is not the plain API.

    `shutdown_s`: how long an answer that does not end may hold up the end.
    """
    runner = web.AppRunner(app or make_app(cloud), access_log=None, shutdown_timeout=shutdown_s)
    await runner.setup()
    url = URL(cloud.url)
    await web.TCPSite(runner, url.host, url.port).start()
    try:
        yield
    finally:
        await runner.cleanup()
        await cloud.conductor.close()
        await cloud.store.close()
