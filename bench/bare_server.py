"""What the metadata server is measured by: aiohttp's low-level `web.Server` with constant bytes, no rules."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web


async def serve(bodies: dict[str, tuple[bytes, str]], port: int) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        body, content_type = bodies[request.path]
        return web.Response(body=body, content_type=content_type)

    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    index = json.loads(Path(sys.argv[1]).read_text())
    found = {path: (text.encode(), content_type) for path, (text, content_type) in index.items()}
    if sys.argv[3] == "uvloop":
        import uvloop

        uvloop.run(serve(found, int(sys.argv[2])))
    else:
        asyncio.run(serve(found, int(sys.argv[2])))
