"""`python -m tests.browser.run DIRECTORY [PODS]`: the console in a real Chromium, with screenshots of every page.

Needs chromium of the distribution. Rule: every page loads without an error on the browser's console, a killed pod, its
replacement and the alert are shown within two seconds without a reload, and keys work; screenshots stay in DIRECTORY.
PODS are so many more that nobody runs: what a page takes is printed.
"""

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.cli.console import _carry
from mesh.exposition.web import Files
from mesh.meshd import Settings
from mesh.model.kinds import key_of
from mesh.store.memory import MemoryStore
from mesh.store.port import Write
from mesh.v1.control_pb2 import OpenConsoleRequest
from mesh.v1.control_pb2_grpc import ControlStub
from tests.contract.test_console import POD, trusting
from tests.harness.cli import Cli
from tests.harness.control import control, test_pki
from tests.harness.crowd import objects
from tests.harness.scripted_host import ScriptedHost

PAGES = ("/", "/hosts", "/workloads", "/pods", "/services", "/flows", "/secrets", "/events", "/pods/default/web")
SOON = 2.0  # seconds in which something that happened must be shown


class Browser:
    """A headless Chromium, told what to do over two pipes (the DevTools protocol)."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.wrong: list[str] = []
        self.session = ""

    async def listen(self) -> None:
        """For ever."""
        while True:
            said = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.wrong.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.wrong.append(str(said["params"]["entry"]["text"]))

    async def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        call = {"id": self._number, "method": method, "params": params}
        if self.session:
            call["sessionId"] = self.session
        os.write(self._writer, json.dumps(call).encode() + b"\0")
        said = await asyncio.wait_for(answer, 60)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        found: dict[str, Any] = said["result"]
        return found

    async def evaluate(self, words: str) -> Any:
        """The value of an expression in the page."""
        found = await self.tell("Runtime.evaluate", expression=words, returnByValue=True)
        return found["result"].get("value")

    async def until(self, words: str, seconds: float = 20.0) -> float:
        """Seconds until the expression is true; raises TimeoutError."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while not await self.evaluate(words):  # noqa: ASYNC110 - a page tells nobody
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def open(self, address: str) -> None:
        """Loads a page, and waits until it is there and live."""
        await self.tell("Page.navigate", url=address)
        await self.until("document.readyState==='complete' && document.querySelector('#live')?.textContent==='live'")

    async def shoot(self, path: Path) -> None:
        """A picture of the page."""
        found = await self.tell("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def chromium(directory: Path) -> AsyncIterator[Browser]:
    """One that is gone afterwards."""
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    options = (
        f"--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir={directory / 'profile'}"
    )
    command = f"exec chromium {options} --window-size=1300,900 about:blank 3<&{to_read} 4>&{from_write}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, pass_fds=(to_read, from_write), stderr=asyncio.subprocess.DEVNULL
    )  # fmt: skip
    os.close(to_read)
    os.close(from_write)
    reader = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb"))
    browser = Browser(reader, to_write)
    listening = asyncio.create_task(browser.listen())
    try:
        targets = await browser.tell("Target.getTargets")
        page = next(t["targetId"] for t in targets["targetInfos"] if t["type"] == "page")
        attached = await browser.tell("Target.attachToTarget", targetId=page, flatten=True)
        browser.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await browser.tell(f"{domain}.enable")
        yield browser
    finally:
        listening.cancel()
        process.terminate()
        await process.wait()


async def main(directory: Path, crowd: int) -> None:
    """Raises at the first thing that is not as it should be."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        temporary, certs = Path(scratch), test_pki()
        for name, text in (("ca", certs.ca.certificate), ("crt", certs.server.certificate), ("key", certs.server.key)):
            (temporary / name).write_bytes(text)
        files = Files(temporary / "ca", temporary / "crt", temporary / "key")
        settings = Settings(console_listen="127.0.0.1:0", files=files, silence=3600.0)  # of the crowd's hosts
        store = MemoryStore()
        if crowd:
            await store.commit([Write(key_of(o), o, 0) for o in objects(crowd, owned=False, now=int(time.time()))])
        host = ScriptedHost("host1")
        host.logs = {"web/app": b"first\nsecond\n"}
        async with control(agents={"host1": host}, settings=settings, store=store) as served:
            opened = await ControlStub(served.channel()).OpenConsole(OpenConsoleRequest())
            context = trusting(temporary)
            relay = await asyncio.start_server(
                lambda r, w: _carry(r, w, "127.0.0.1", opened.port, context), "127.0.0.1", 0
            )  # fmt: skip
            at = f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
            async with chromium(temporary) as browser:
                await look(browser, at, opened.ticket, Cli(served, temporary), host, directory)


async def look(browser: Browser, at: str, ticket: str, cli: Cli, host: ScriptedHost, directory: Path) -> None:
    """The story."""
    done = await cli("apply", "--wait", "-f", "-", stdin=POD.replace("NAME", "web"))
    assert done.code == 0, done.err
    await browser.open(f"{at}/sign-in?ticket={ticket}")
    for scheme in ("light", "dark"):
        await browser.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for page in PAGES:
            began = time.monotonic()
            await browser.open(at + page)
            print(f"{page:20} {(time.monotonic() - began) * 1000:6.0f} ms until it is live")
            await browser.shoot(directory / f"{scheme}{page.replace('/', '-').rstrip('-') or '-overview'}.png")
    await browser.open(f"{at}/pods")
    host.hold.add("other")
    await cli("delete", "pod", "web", "--now")
    print("killed pod gone after", await browser.until("!document.body.innerText.includes('web')", SOON))
    host.refuse["other"] = ("CrashLoopBackOff", "back-off")
    await cli("apply", "-f", "-", stdin=POD.replace("NAME", "other"))
    print("replacement after", await browser.until("document.body.innerText.includes('CrashLoopBackOff')", SOON))
    await browser.tell("Input.dispatchKeyEvent", type="keyDown", key="1", text="1")
    await browser.until("location.pathname==='/' && document.querySelector('#live')?.textContent==='live'")
    print(
        "alert after",
        await browser.until("document.querySelector('#alerts').innerText.includes('PodCrashLooping')", SOON),
    )
    await browser.shoot(directory / "alert.png")
    host.start("other")
    print("all well after", await browser.until("document.body.innerText.includes('Everything is well')", SOON))
    assert browser.wrong == [], browser.wrong
    print(f"{len(list(directory.glob('*.png')))} screenshots in {directory}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
