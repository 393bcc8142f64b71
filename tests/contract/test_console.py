"""The console over HTTP: who gets in, what is shown to whom, pages that follow what happens."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh import pki
from mesh.exposition.web import Files
from mesh.meshd import Settings
from mesh.v1.control_pb2 import OpenConsoleRequest
from mesh.v1.control_pb2_grpc import ControlStub
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control, test_pki
from tests.harness.scripted_host import ScriptedHost

DEADLINE = 60.0
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: web}}
spec:
  containers:
  - name: app
    image: hello:1
    readinessProbe: {httpGet: {path: /ready, port: 80}}
"""


@dataclass
class Browser:
    """Speaks HTTP over mutual TLS, as `mesh console` does for a browser."""

    port: int
    context: ssl.SSLContext
    cookie: str = ""

    async def get(self, path: str) -> tuple[int, dict[str, str], str]:
        reader, writer = await self.open(path)
        try:
            async with asyncio.timeout(DEADLINE):
                status, headers = await _head(reader)
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        finally:
            writer.close()
        if found := headers.get("set-cookie"):
            self.cookie = found.partition(";")[0]
        return status, headers, body

    async def open(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: console\r\nCookie: {self.cookie}\r\n\r\n".encode())
        return reader, writer


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    return int(first.split()[1]), {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines if x)}


@pytest.fixture
async def served(scripted: ScriptedHost, tmp_path: Path) -> AsyncIterator[RunningMeshd]:
    certs = test_pki()
    directory = tmp_path / "pki"
    directory.mkdir()
    for name, text in (("ca", certs.ca.certificate), ("crt", certs.server.certificate), ("key", certs.server.key)):
        (directory / name).write_bytes(text)
    files = Files(directory / "ca", directory / "crt", directory / "key")
    settings = Settings(console_listen="127.0.0.1:0", files=files)
    async with control(agents={"host1": scripted}, settings=settings) as running:
        yield running


def trusting(directory: Path) -> ssl.SSLContext:
    certs = test_pki()
    for name, text in (("a.crt", certs.admin.certificate), ("a.key", certs.admin.key)):
        (directory / name).write_bytes(text)
    context = ssl.create_default_context(cadata=certs.ca.certificate.decode())
    context.load_cert_chain(directory / "a.crt", directory / "a.key")
    return context


async def signed_in(served: RunningMeshd, directory: Path, *groups: str) -> Browser:
    channel = served.user("ada", *groups) if groups else served.channel()
    opened = await ControlStub(channel).OpenConsole(OpenConsoleRequest())
    browser = Browser(opened.port, trusting(directory))
    status, headers, _ = await browser.get(f"/sign-in?ticket={opened.ticket}")
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= {w.strip() for w in headers["set-cookie"].split(";")}
    again = await Browser(opened.port, browser.context).get(f"/sign-in?ticket={opened.ticket}")
    assert again[0] == 403  # a ticket is good once
    return browser


async def applied(cli: Cli, name: str) -> None:
    result = await cli("apply", "--wait", "-f", "-", stdin=POD.replace("NAME", name))
    assert result.code == 0, result.err


async def test_nobody_gets_in_without_a_session_or_a_certificate(served: RunningMeshd, tmp_path: Path) -> None:
    browser = await signed_in(served, tmp_path)
    assert (await Browser(browser.port, browser.context).get("/"))[0] == 401
    assert (await Browser(browser.port, browser.context, "mesh-console=made-up").get("/pods"))[0] == 401
    stranger = ssl.create_default_context(cadata=test_pki().ca.certificate.decode())
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await Browser(browser.port, stranger, browser.cookie).get("/")


async def test_every_page_is_there_and_says_what_is(
    served: RunningMeshd, cli: Cli, scripted: ScriptedHost, tmp_path: Path
) -> None:
    scripted.logs = {"web/app": b"first\n<b>second</b>\n"}
    await applied(cli, "web")
    await cli("create", "secret", "generic", "login", "--from-literal", "password=hunter2")
    browser = await signed_in(served, tmp_path)
    for path, words in (
        ("/", "Everything is well"), ("/hosts", "host1"), ("/workloads", "Workloads"), ("/pods", "Running"),
        ("/services", "Ingress"), ("/secrets", "login"),
        ("/flows", "Who talks to whom"), ("/events", "Events"), ("/pods/default/web", "hello:1"),
    ):  # fmt: skip
        status, headers, body = await browser.get(path)
        assert (status, words in body) == (200, True), path
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "hunter2" not in body
        nonce = re.search(r"script-src 'nonce-([^']+)'", headers["content-security-policy"])
        assert nonce is not None
        assert f'<script nonce="{nonce[1]}">' in body
    page = (await browser.get("/pods/default/web"))[2]
    assert "first\n&lt;b&gt;second&lt;/b&gt;" in page  # what pods write is text, never HTML
    assert "ready: http get /ready every 10 s" in page
    assert (await browser.get("/pods/default/nobody"))[0] == 404


async def test_a_page_follows_what_happens(served: RunningMeshd, cli: Cli, tmp_path: Path) -> None:
    browser = await signed_in(served, tmp_path)
    reader, writer = await browser.open("/pods?live=1")
    assert (await _head(reader))[0] == 200
    assert "no pods" in await _event(reader)
    await applied(cli, "web")
    while "Running" not in await _event(reader):
        pass
    await cli("delete", "pod", "web", "--now")
    while "no pods" not in await _event(reader):
        pass
    writer.close()


async def _event(reader: asyncio.StreamReader) -> str:
    """The next page that is sent."""
    async with asyncio.timeout(DEADLINE):
        while True:
            line = await reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                return str(json.loads(line.removeprefix(b"data: ")))


async def test_who_may_not_see_it_is_not_shown_it(served: RunningMeshd, cli: Cli, tmp_path: Path) -> None:
    await applied(cli, "web")
    await cli("create", "namespace", "team")
    result = await cli("create", "rolebinding", "ada", "--clusterrole=view", "--user=ada", "-n", "team")
    assert result.code == 0, result.err
    browser = await signed_in(served, tmp_path, "somebody")
    assert "web" not in (await browser.get("/pods"))[2].partition("<main")[2]
    assert (await browser.get("/pods/default/web"))[0] == 404
    assert "host1" not in (await browser.get("/hosts"))[2]
    result = await cli("apply", "--wait", "-n", "team", "-f", "-", stdin=POD.replace("NAME", "ours"))
    assert result.code == 0, result.err
    assert ">ours<" in (await browser.get("/pods"))[2]


async def test_a_revoked_certificate_ends_the_session(served: RunningMeshd, cli: Cli, tmp_path: Path) -> None:
    pair = pki.issue(test_pki().ca, pki.user("eve", (pki.ADMINS,)), int(time.time()))
    opened = await ControlStub(served.channel(pair)).OpenConsole(OpenConsoleRequest())
    browser = Browser(opened.port, trusting(tmp_path))
    await browser.get(f"/sign-in?ticket={opened.ticket}")
    assert (await browser.get("/"))[0] == 200
    result = await cli("certs", "revoke", "--user", "eve")
    assert result.code == 0, result.err
    assert (await browser.get("/"))[0] == 401


async def test_the_command_carries_a_browser_there(served: RunningMeshd, cli: Cli) -> None:
    async with cli.program("console", "--no-browser") as program:
        address = await program.line()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/sign-in\?ticket=.+)", address)
        assert found is not None, address
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        writer.write(f"GET {found[2]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE):
            status, headers = await _head(reader)
        assert (status, "set-cookie" in headers) == (303, True)
        writer.close()
        program.process.terminate()
        await program.end()
