"""Ingress through the proxy's own process: told over its socket, reserved addresses, killed and started again."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import IngressSpec
from mesh.v1.node_pb2 import IngressSecrets, ProxyIngress, ProxyOrder, ProxyPort, ProxyService
from netproxy.ingress.master import Master
from tests.harness.ingress import MEMORY, ask
from tests.harness.proxying import Programmer, ProxyProcess, an_address, backend, endpoint, proxy
from tests.harness.waiting import wait_for_end

DEADLINE = 30.0


@pytest.fixture
async def memory() -> AsyncIterator[Path]:
    """A directory that no disk holds; whatever HAProxy was started in it is ended."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)
        await Master(Path(directory)).kill()


def ingress(address: str = "") -> ProxyService:
    """The Ingress of everything."""
    spec = IngressSpec()
    spec.default_backend.service.name, spec.default_backend.service.port.number = "web", 80
    made = ProxyService(namespace="default", name="ingress:web", ingress=ProxyIngress(uid="u", created=1, spec=spec))
    if address:
        made.load_balancer_ips.append(address)
        made.announcer = "one"
    return made


def web(*pods: tuple[str, int], ready: bool = True) -> ProxyService:
    """The Service behind it."""
    ends = [endpoint(ip, port, ready=ready) for ip, port in pods]
    return ProxyService(namespace="default", name="web", ports=[ProxyPort(port=80, protocol="TCP")], endpoints=ends)


class Pod:
    """Answers at once, but for /slow, which waits to be let go."""

    def __init__(self) -> None:
        self.asked, self.go, self.served = asyncio.Event(), asyncio.Event(), 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.served += 1
            if head.startswith(b"GET /slow"):
                self.asked.set()
                await self.go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()


async def status(address: str, path: str = "/") -> int:
    """Of one request; 0: nobody listens, or not for long."""
    try:
        reader, writer = await asyncio.open_connection(address, 80)
    except OSError:
        return 0
    try:
        return (await ask(reader, writer, "any.test", path)).status
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()


async def entrust(programmer: Programmer) -> None:
    """No Secrets are needed, which must be known."""
    unused = Secret(metadata=ObjectMeta(namespace="default", name="unused"))
    await programmer.send(ProxyOrder(ingress_secrets=IngressSecrets(secrets=[unused])))


async def rest(programmer: Programmer, address: str, memory: Path) -> None:
    """The host serves no more: HAProxy, which writes where the proxy writes, must have ended before the proxy is."""
    await programmer.host(node_addresses=[address])
    await asyncio.to_thread(wait_for_end, int((memory / "was").read_text()), DEADLINE)


async def serving(process: ProxyProcess, programmer: Programmer, address: str, memory: Path) -> int:
    """The host serves; the pid of its HAProxy."""
    await programmer.host(node_addresses=[address], ingress=True)
    await entrust(programmer)
    return await loaded(process, address, memory)


async def loaded(process: ProxyProcess, address: str, memory: Path, times: int = 1) -> int:
    """HAProxy has been started so many times, and answers; its pid."""
    await process.logged("ingress_loaded", times)
    assert await status(address) == 200
    pid = Master(memory).pid
    (memory / "was").write_text(str(pid))
    return pid


async def test_a_host_serves_on_its_addresses_and_on_reserved_ones_when_it_is_told_to(
    tmp_path: Path, memory: Path
) -> None:
    own, reserved, pod = an_address(), an_address(), Pod()
    async with backend(pod.serve) as port, proxy(tmp_path, "--ingress", str(memory)) as (process, programmer):
        await programmer.program(web(("127.0.0.1", port)), ingress(reserved))
        await programmer.host(node_addresses=[own])
        await entrust(programmer)
        assert await status(own) == 0  # this host does not serve Ingresses
        await serving(process, programmer, own, memory)
        assert await status(reserved) == 200
        await rest(programmer, own, memory)
        assert await status(own) == 0
    last = (tmp_path / "last").read_bytes()
    assert b"unused" not in last  # what is entrusted lies on no disk


async def test_it_lives_on_without_its_proxy_and_is_taken_over_by_the_next(tmp_path: Path, memory: Path) -> None:
    own, pod, other = an_address(), Pod(), Pod()
    process = ProxyProcess(tmp_path, "--ingress", str(memory))
    await process.start()
    async with backend(pod.serve) as port, backend(other.serve) as second:
        programmer = await process.connect()
        await programmer.program(web(("127.0.0.1", port)), ingress())
        pid = await serving(process, programmer, own, memory)
        programmer.close()
        os.kill(process.pid, signal.SIGKILL)
        assert await status(own) == 200
        await process.start()
        programmer = await process.connect()
        assert await status(own) == 200
        await entrust(programmer)
        await programmer.program(web(("127.0.0.1", second)), ingress())
        async with asyncio.timeout(DEADLINE):
            while not other.served:
                assert await status(own) == 200
        assert Master(memory).pid == pid
        await rest(programmer, own, memory)
        programmer.close()
    await process.end()


async def test_a_pod_is_told_as_draining_until_its_last_request_is_answered(tmp_path: Path, memory: Path) -> None:
    own, pod, other = an_address(), Pod(), Pod()
    async with (
        backend(pod.serve) as port, backend(other.serve) as second,
        proxy(tmp_path, "--ingress", str(memory)) as (process, programmer),
    ):  # fmt: skip
        await programmer.program(web(("127.0.0.1", port)), ingress())
        await serving(process, programmer, own, memory)
        asked = asyncio.create_task(status(own, "/slow"))
        await pod.asked.wait()
        await programmer.program(web(("127.0.0.1", second)), ingress())
        uid = f"127.0.0.1-{port}"
        await programmer.until(lambda held: held.draining.get(uid, 0) > 0)
        assert await status(own) == 200
        assert not asked.done()
        pod.go.set()
        assert await asked == 200
        async with asyncio.timeout(DEADLINE):
            await programmer.until(lambda held: uid not in held.draining)
        await rest(programmer, own, memory)


async def test_an_haproxy_that_dies_is_started_again(tmp_path: Path, memory: Path) -> None:
    own, pod = an_address(), Pod()
    async with backend(pod.serve) as port, proxy(tmp_path, "--ingress", str(memory)) as (process, programmer):
        await programmer.program(web(("127.0.0.1", port)), ingress())
        before = await serving(process, programmer, own, memory)
        worker = (await Master(memory).workers()).current
        os.kill(before, signal.SIGKILL)
        await asyncio.to_thread(wait_for_end, worker, DEADLINE)  # until then it takes connections, too
        assert await loaded(process, own, memory, 2) != before
        await rest(programmer, own, memory)


def test_a_process_without_a_command_line_is_ours_by_its_name(memory: Path) -> None:
    """As HAProxy is between two configurations: taken for dead then, it would be started a second time."""
    unnamed = "import ctypes, sys; ctypes.CDLL(None).execv(sys.argv[1].encode(), (ctypes.c_char_p * 2)(b'', None))"
    argv = [sys.executable, "-c", unnamed, str(shutil.which("cat"))]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"there\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"there\n"
    (memory / "haproxy.pid").write_text(str(process.pid))
    assert Master(memory, "cat").pid == process.pid
    assert Master(memory).pid == 0
    process.communicate()
    assert Master(memory, "cat").pid == 0
