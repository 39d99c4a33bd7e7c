"""A real browser for a test of a page: windows that open an address and run a script.

It speaks the Chrome DevTools Protocol (chromedevtools.github.io/devtools-protocol: Target, Page, Runtime)
over one WebSocket, one command after the other, so no driver has to be installed beside the browser.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The browser itself stays off the network; its sandbox needs rights that root in a container lacks.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)

PATIENCE_S = 30
"""How long a test waits for a browser on a busy machine before it fails."""


class Window:
    """One page in a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def command(self, method: str, **parameters: Any) -> Any:
        return await self._browser.command(method, self._session, **parameters)

    async def run(self, script: str) -> Any:
        """The value of the expression *script* in the page; a promise is waited for."""
        answer = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until the expression *condition* is true in the page."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.run(condition):
                await asyncio.sleep(0.05)

    async def see(self, text: str) -> None:
        """Wait until *text* can be read on the page."""
        try:
            await self.until(f"document.body.innerText.includes({json.dumps(text)})")
        except TimeoutError:
            raise AssertionError(f"{text!r} is not on: {await self.run('document.body.innerText')}") from None

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def write(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.command("Input.insertText", text=text)


class Browser:
    """A running Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = count(1)

    async def open(self, url: str) -> Window:
        """A new window that shows *url*, with a session of its own."""
        target = await self.command("Target.createTarget", url="about:blank", newWindow=True)
        session = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        window = Window(self, session["sessionId"])
        await window.command("Page.navigate", url=url)
        await window.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return window

    async def command(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        message = {"id": next(self._ids), "method": method, "params": parameters}
        await self._connection.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        async with asyncio.timeout(PATIENCE_S):
            # Events come in between; nobody waits for them.
            while (answer := json.loads(await self._connection.recv())).get("id") != message["id"]:
                pass
        assert "error" not in answer, answer["error"]
        return answer["result"]


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A Chromium with a profile of its own, ended at the end."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(prefix="toque-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, *FLAGS, f"--user-data-dir={profile}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = await _address(Path(profile) / "DevToolsActivePort")
            async with connect(address, proxy=None, max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.kill()
            await process.wait()


async def _address(file: Path) -> str:
    """Where the browser listens: it writes the port and the path into its profile."""
    async with asyncio.timeout(PATIENCE_S):
        while not file.exists() or len(lines := file.read_text().split()) < 2:
            await asyncio.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
