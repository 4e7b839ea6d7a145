"""Drives a headless Chromium over the DevTools protocol: open pages, type, click, wait, take a picture."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final, cast

from websockets.asyncio.client import ClientConnection, connect

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
START_S: Final = 30.0
WAIT_S: Final = 20.0

Fields = dict[str, object]


class ChromiumError(Exception):
    """Chromium refused a command, or a script or a condition failed in the page."""


def program() -> str:
    """The path of the browser; its absence is an error, never a skipped test."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise ChromiumError("Chromium is not installed; on Debian: apt-get install -y chromium")


class Page:
    """One tab, in a browser context of its own: no page shares names, storage or cache with another."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.problems: list[str] = []

    async def command(self, method: str, **fields: object) -> Fields:
        """Send one DevTools command to this tab and return its result."""
        return await self._browser.command(method, fields, self._session)

    async def goto(self, url: str) -> None:
        """Open an address and wait until the page and its modules have loaded."""
        loaded = self._browser.expect(self._session, "Page.loadEventFired")
        moved = await self.command("Page.navigate", url=url)
        # Without a loader only the fragment of the address has changed.
        if "loaderId" in moved:
            await asyncio.wait_for(loaded, START_S)

    async def reload(self) -> None:
        """Load the page again and wait for it."""
        loaded = self._browser.expect(self._session, "Page.loadEventFired")
        await self.command("Page.reload")
        await asyncio.wait_for(loaded, START_S)

    async def evaluate(self, expression: str) -> object:
        """Return the JSON value of a JavaScript expression; a promise is awaited."""
        result = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = cast("Fields", result["exceptionDetails"])
            thrown = cast("Fields", details.get("exception", {}))
            raise ChromiumError(str(thrown.get("description", details.get("text"))))
        return cast("Fields", result["result"]).get("value")

    async def wait(self, condition: str, timeout_s: float = WAIT_S) -> object:
        """Wait until a JavaScript expression is true, looking again at every change of the document."""
        message = json.dumps(f"not within {timeout_s} s: {condition}")
        return await self.evaluate(
            f"""new Promise((resolve, reject) => {{
              const check = () => {{
                const value = ({condition});
                if (!value) return;
                observer.disconnect();
                clearTimeout(timer);
                resolve(value);
              }};
              const observer = new MutationObserver(check);
              const timer = setTimeout(() => {{
                observer.disconnect();
                reject(new Error({message} + " in:\\n" + document.body.innerText));
              }}, {timeout_s * 1000});
              observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
              check();
            }})"""
        )

    async def text(self, selector: str) -> str:
        """The visible text of the first match."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        """Scroll to the first match and press the mouse button on its middle."""
        where = cast(
            "dict[str, float]",
            await self.evaluate(
                f"""(() => {{
                  const element = document.querySelector({json.dumps(selector)});
                  element.scrollIntoView({{ block: "nearest" }});
                  const box = element.getBoundingClientRect();
                  return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }};
                }})()"""
            ),
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    async def fill(self, selector: str, text: str) -> None:
        """Replace the content of a field by typing."""
        field = f"document.querySelector({json.dumps(selector)})"
        await self.evaluate(f"(field => {{ field.focus(); field.select(); }})({field})")
        await self.command("Input.insertText", text=text)

    async def press_enter(self) -> None:
        """Press the Enter key in the focused field."""
        key: Fields = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.command("Input.dispatchKeyEvent", type="keyDown", **key)
        await self.command("Input.dispatchKeyEvent", type="keyUp", **key)

    async def resize(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the viewport in CSS pixels, and the colour scheme that the reader prefers."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme, still])

    async def screenshot(self) -> bytes:
        """A PNG of the viewport."""
        shot = await self.command("Page.captureScreenshot", format="png")
        return base64.b64decode(str(shot["data"]))


class Browser:
    """A running Chromium and the one connection to it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = count(1)
        self._replies: dict[int, asyncio.Future[Fields]] = {}
        self._expected: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._pages: dict[str, Page] = {}

    async def page(self, width: int = 1280, height: int = 800) -> Page:
        """A new empty tab."""
        context = (await self.command("Target.createBrowserContext", {}))["browserContextId"]
        target = await self.command("Target.createTarget", {"url": "about:blank", "browserContextId": context})
        attached = await self.command("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        session = str(attached["sessionId"])
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            await page.command(f"{domain}.enable")
        # Without this only the foreground tab may hold the focus, and typing into the others would be lost.
        await page.command("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.resize(width, height)
        return page

    async def command(self, method: str, fields: Fields, session: str | None = None) -> Fields:
        """Send one DevTools command and return its result."""
        number = next(self._ids)
        message: Fields = {"id": number, "method": method, "params": fields}
        if session is not None:
            message["sessionId"] = session
        reply: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        await self._connection.send(json.dumps(message))
        return await reply

    def expect(self, session: str, event: str) -> asyncio.Future[None]:
        """A future that is done at the next such event of this tab."""
        future = self._expected[session, event] = asyncio.get_running_loop().create_future()
        return future

    async def read(self) -> None:
        """Hand every reply and event to whoever waits for it; when the connection ends, nobody waits for ever."""
        async for text in self._connection:
            message = cast("Fields", json.loads(text))
            if "id" in message:
                self._on_reply(message)
            else:
                self._on_event(message)
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ChromiumError("Chromium is gone"))

    def _on_reply(self, message: Fields) -> None:
        reply = self._replies.pop(cast("int", message["id"]))
        if reply.done():
            return
        if "error" in message:
            reply.set_exception(ChromiumError(str(message["error"])))
        else:
            reply.set_result(cast("Fields", message["result"]))

    def _on_event(self, message: Fields) -> None:
        session, event = str(message.get("sessionId")), str(message["method"])
        if (future := self._expected.pop((session, event), None)) and not future.done():
            future.set_result(None)
        page = self._pages.get(session)
        if page is None:
            return
        params = cast("Fields", message["params"])
        if event == "Runtime.exceptionThrown":
            page.problems.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            entry = cast("Fields", params["entry"])
            # A node that is down is part of the story; everything else that the browser complains about is a fault.
            if entry["level"] == "error" and entry["source"] != "network":
                page.problems.append(str(entry["text"]))


async def _listening(output: asyncio.StreamReader) -> str:
    """The address that Chromium announces on its standard error."""
    said: list[str] = []
    while line := (await output.readline()).decode(errors="replace"):
        said.append(line)
        if line.startswith("DevTools listening on "):
            return line.removeprefix("DevTools listening on ").strip()
    raise ChromiumError("Chromium ended before it listened:\n" + "".join(said))


async def _drain(output: asyncio.StreamReader) -> None:
    while await output.read(65_536):
        pass


@asynccontextmanager
async def chromium(profile: Path, flags: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Run Chromium with a fresh profile folder; at the end the whole process group is gone."""
    process = await asyncio.create_subprocess_exec(
        program(),
        *FLAGS,
        *flags,
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    output = process.stderr
    assert output is not None
    try:
        address = await asyncio.wait_for(_listening(output), START_S)
        async with connect(address, max_size=None, ping_interval=None) as connection:
            browser = Browser(connection)
            readers = [asyncio.create_task(browser.read()), asyncio.create_task(_drain(output))]
            try:
                yield browser
            finally:
                for reader in readers:
                    reader.cancel()
                await asyncio.gather(*readers, return_exceptions=True)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
