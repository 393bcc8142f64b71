"""meshd as a program: how it starts, what it says when it can't, how it ends, what survives it."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import aio

from mesh import pki
from mesh.model.kinds import pack, unpack
from mesh.store.keyring import create_key_file
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ControlStub, ResourcesStub
from mesh.v1.core_pb2 import Namespace, Secret
from mesh.v1.meta_pb2 import ObjectMeta
from tests.harness import objects
from tests.harness.control import test_pki
from tests.harness.ports import free_ports

CONFIG = """
listen = ["127.0.0.1:{port}"]
data_dir = "{root}/data"
key_file = "{root}/store.key"
[pki]
ca = "{root}/ca.pem"
certificate = "{root}/meshd.pem"
key = "{root}/meshd.key"
[log]
level = "debug"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Everything meshd reads, in a directory; meshd.toml says a free port."""
    certs = test_pki()
    for name, content in (("ca.pem", certs.ca.certificate), ("meshd.pem", certs.server.certificate),
                          ("meshd.key", certs.server.key)):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    create_key_file(tmp_path / "store.key")
    (tmp_path / "data").mkdir(mode=0o700)
    (port,) = free_ports(1)
    (tmp_path / "port").write_text(str(port))
    (tmp_path / "meshd.toml").write_text(CONFIG.format(port=port, root=tmp_path))
    return tmp_path


async def spawn(place: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mesh.app", "--config", str(place / "meshd.toml"),
        env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def running(place: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, aio.Channel]]:
    """meshd, from its READY on; killed at the end if it still lives."""
    path = place / "notify.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(path))
        notified.setblocking(False)
        process = await spawn(place, NOTIFY_SOCKET=str(path))
        try:
            async with asyncio.timeout(60):
                assert await asyncio.get_running_loop().sock_recv(notified, 100) == b"READY=1"
            async with channel_to(place) as channel:
                yield process, channel
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@asynccontextmanager
async def channel_to(place: Path) -> AsyncIterator[aio.Channel]:
    certs = test_pki()
    credentials = grpc.ssl_channel_credentials(certs.ca.certificate, certs.admin.key, certs.admin.certificate)
    address = f"127.0.0.1:{(place / 'port').read_text()}"
    async with aio.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def failed(place: Path) -> tuple[int, str]:
    """The exit code and the words of a meshd that does not start."""
    process = await spawn(place)
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_it_serves_and_sigterm_ends_it_in_good_order(place: Path) -> None:
    async with running(place) as (process, channel):
        status = await ControlStub(channel).Status(pb.StatusRequest())
        assert status.store == f"sqlite {place}/data/store.db"
        assert status.ray.startswith("not configured")
        watch = ResourcesStub(channel).Watch(pb.WatchRequest(kind="Pod"))
        await watch.read()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    assert (place / "data" / "store.db").stat().st_mode & 0o077 == 0


async def test_refused_handshakes_are_written_down(place: Path) -> None:
    """No certificate, one of a foreign authority, an expired one."""
    certs, now = test_pki(), int(time.time())
    foreign = pki.issue(pki.make_ca("mesh", now), pki.user("admin"), now)
    expired = pki.issue(certs.ca, pki.user("admin"), now - 30 * pki.DAY, 7)
    ca = certs.ca.certificate
    async with running(place) as (process, _):
        for credentials in (
            grpc.ssl_channel_credentials(ca),
            grpc.ssl_channel_credentials(ca, foreign.key, foreign.certificate),
            grpc.ssl_channel_credentials(ca, expired.key, expired.certificate),
        ):
            async with aio.secure_channel(f"127.0.0.1:{(place / 'port').read_text()}", credentials) as channel:
                with pytest.raises(aio.AioRpcError):
                    await ControlStub(channel).Status(pb.StatusRequest(), timeout=60)
        process.terminate()
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
    lines = [json.loads(line) for line in (place / "data" / "audit.log").read_text().splitlines()]
    why = {line["why"] for line in lines if line["method"] == "handshake" and not line["allowed"]}
    assert why == {
        "no client certificate",
        "the client's certificate is not of this mesh's authority",
        "the client's certificate has expired",
    }
    assert "Handshake failed" not in said
    assert "serving" in said  # meshd's own log goes where it went


async def test_what_was_acknowledged_survives_a_kill(place: Path) -> None:
    async with running(place) as (process, channel):
        api = ResourcesStub(channel)
        await api.Apply(pb.ApplyRequest(objects=[pack(objects.config_map(f"c{i}")) for i in range(5)]))
        epoch = await _epoch(api)
        process.kill()
        await process.wait()
    async with running(place) as (_, channel):
        api = ResourcesStub(channel)
        assert len((await api.List(pb.ListRequest(kind="ConfigMap"))).objects) == 5
        assert await _epoch(api) > epoch


async def _epoch(api: ResourcesStub) -> int:
    key = pb.ObjectKey(kind="Namespace", name="kube-system")
    keeper = unpack((await api.Get(pb.GetRequest(key=key))).object)
    assert isinstance(keeper, Namespace)
    return int(keeper.metadata.annotations["mesh/epoch"])


async def test_secrets_are_neither_on_the_disk_nor_in_the_log(place: Path) -> None:
    secret = Secret(api_version="v1", kind="Secret", metadata=ObjectMeta(name="s", namespace="default"))
    secret.data["password"] = b"correct-horse-battery"
    async with running(place) as (process, channel):
        api = ResourcesStub(channel)
        await api.Apply(pb.ApplyRequest(objects=[pack(secret)]))
        held = unpack(
            (await api.Get(pb.GetRequest(key=pb.ObjectKey(kind="Secret", namespace="default", name="s")))).object
        )
        assert isinstance(held, Secret)
        assert held.data["password"] == b"correct-horse-battery"
        backup = b"".join([chunk.data async for chunk in ControlStub(channel).Backup(pb.BackupRequest())])
        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()
    files = [p for p in (place / "data").rglob("*") if p.is_file()]
    for content in (log, backup, *(p.read_bytes() for p in files)):
        assert b"correct-horse" not in content
        assert b"Y29ycmVjdC1ob3JzZ" not in content  # base64


async def test_a_backup_is_a_whole_store_and_leaves_nothing_behind(place: Path) -> None:
    async with running(place) as (_, channel):
        await ResourcesStub(channel).Apply(pb.ApplyRequest(objects=[pack(objects.config_map("c", a="1"))]))
        chunks = [chunk.data async for chunk in ControlStub(channel).Backup(pb.BackupRequest())]
        data = b"".join(chunks)
        assert data.startswith(b"SQLite format 3")
        assert not [p for p in (place / "data").iterdir() if p.name.startswith("backup")]


@pytest.mark.parametrize(
    ("breakage", "words"),
    [
        (lambda p: (p / "meshd.toml").write_text("colour = 3"), "colour: is not a key of meshd.toml"),
        (lambda p: (p / "meshd.toml").unlink(), "meshd.toml: No such file"),
        (lambda p: (p / "ca.pem").unlink(), "ca.pem: No such file"),
        (lambda p: (p / "meshd.pem").write_text("x"), "not a PEM certificate"),
        (lambda p: (p / "store.key").unlink(), "cannot read key file"),
        (lambda p: (p / "store.key").chmod(0o644), "chmod 600"),
        (lambda p: (p / "data" / "store.db").write_bytes(b"x" * 5000), "store.db"),
    ],
)
async def test_what_is_wrong_with_its_files_is_one_sentence(place: Path, breakage: object, words: str) -> None:
    breakage(place)  # type: ignore[operator]  # one of the functions above
    code, said = await failed(place)
    assert code == 1
    assert words in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("meshd: ")]) == 1


async def test_a_taken_port_and_a_second_meshd_are_one_sentence(place: Path) -> None:
    async with running(place):
        code, said = await failed(place)
        assert code == 1
        assert "Traceback" not in said
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int((place / "port").read_text())))
        taken.listen()
        code, said = await failed(place)
    assert code == 1
    assert "cannot listen on 127.0.0.1" in said


async def test_the_api_answers_within_seconds_of_the_start_with_ten_thousand_objects(place: Path) -> None:
    async with running(place) as (process, channel):
        api = ResourcesStub(channel)
        for batch in range(10):
            wanted = [pack(objects.config_map(f"c{batch}-{i}", a="x" * 100)) for i in range(1000)]
            await api.Apply(pb.ApplyRequest(objects=wanted))
        process.kill()
        await process.wait()
    async with running(place) as (process, channel):
        await ControlStub(channel).Status(pb.StatusRequest())
        assert used(process.pid) < 20


def used(pid: int) -> float:
    """Seconds of CPU that a process has had: what it needs on a machine that others hold up as well."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def test_it_tells_a_watchdog_that_it_lives(place: Path) -> None:
    path, heard = place / "notify.sock", Counter[bytes]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(path))
        notified.setblocking(False)
        process = await spawn(place, NOTIFY_SOCKET=str(path), WATCHDOG_USEC="300000")
        try:
            async with asyncio.timeout(60):
                while not (heard[b"READY=1"] and heard[b"WATCHDOG=1"] > 1):  # a slow start is alive, too
                    heard[await asyncio.get_running_loop().sock_recv(notified, 100)] += 1
        finally:
            process.kill()
            await process.wait()
    assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
