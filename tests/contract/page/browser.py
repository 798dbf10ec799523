"""A headless Chromium, driven over its DevTools protocol: one tab, real clicks on the real page."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WAIT_S = 20.0


def find() -> str | None:
    """A Chromium of this machine."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One tab. `errors` are what the console complained of: scripts that fail, what the policy blocked."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.errors: list[str] = []

    async def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its answer; what happens meanwhile is noted."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said = json.loads(await asyncio.wait_for(self._socket.receive_str(), WAIT_S))
            if said.get("id") == number:
                assert "error" not in said, (method, said["error"])
                return dict(said["result"])
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
            self.errors.append(said["params"]["entry"]["text"])
        if said.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(said["params"]["exceptionDetails"].get("text")))

    async def open(self, url: str) -> None:
        """Go somewhere and wait until it is there."""
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is."""
        answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    async def until(self, expression: str, wait_s: float = WAIT_S) -> None:
        """Wait until an expression is true; a page that is being replaced is asked again."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while asyncio.get_running_loop().time() < deadline:
            answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
            if answer["result"].get("value") is True:
                return
            await asyncio.sleep(0.05)
        text = await self.value("document.body.innerText")
        raise AssertionError(f"{expression} does not become true. The page says:\n{text}")

    async def type(self, selector: str, text: str) -> None:
        """Type into a field, as a person does."""
        await self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def key(self, name: str) -> None:
        """Press a key."""
        text = {"Enter": "\r"}.get(name, "")
        codes = {"Enter": 13, "Tab": 9}
        for kind in ("keyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=name, text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=codes[name],
            )  # fmt: skip

    async def go(self, selector: str) -> None:
        """Click on what leads to another page, and wait for it."""
        await self.value("window.before = true")
        await self.value(f"document.querySelector({json.dumps(selector)}).click()")
        await self.until("window.before === undefined && document.readyState === 'complete'")

    async def size(self, width: int, height: int) -> None:
        """The window's size; below 600 it is a phone's."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    async def picture(self, path: Path) -> None:
        """A screenshot."""
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def tab(program: str, profile: Path) -> AsyncIterator[Tab]:
    """A fresh browser with an empty profile, and its one tab."""
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",  # tests run as root, in a container
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
        start_new_session=True,  # its zygotes, renderers and GPU process end with it, as one group
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await opened.send(f"{domain}.enable")
                yield opened
    finally:
        # Also when the test is cut short: nothing is awaited before the signal is sent.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _port(file: Path) -> int:
    for _try in range(400):
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser does not open its port")
