"""The endpoints of figures over real TLS sockets: who is answered, with what, and what a bad reader can't do."""

import asyncio
import itertools
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh import pki
from mesh.exposition.web import Files
from mesh.meshd import Settings
from mesh.v1.access_pb2 import RevokeRequest
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.control_pb2 import KindsRequest
from mesh.v1.node_pb2 import MeasureOptions, StreamOpen, StreamRead
from mesh.v1.stats_pb2 import Summary
from tests.harness.agents import World, a_pod
from tests.harness.control import TestPki, control, test_pki
from tests.harness.figures import Reader, parse, write_pki

NOW = int(time.time())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    certs = test_pki()
    world = World(tmp_path / "root")
    world.config = replace(world.config, metrics_listen="127.0.0.1:0")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    host = pki.issue(certs.ca, pki.node("node1", ("127.0.0.1",)), NOW)
    write_pki(tmp_path / "root" / "pki", certs.ca, "agent", host)  # from now on orders would have to be signed
    await world.restart(assign=False)
    assert world.agent is not None
    await asyncio.wait_for(world.agent.stats.endpoint.open.wait(), 60)
    yield world
    await world.kill()


def reader(world: World, tmp_path: Path, client: pki.Pair | None) -> Reader:
    assert world.agent is not None
    return Reader(world.agent.stats.endpoint.port, test_pki().ca.certificate, client, tmp_path)


def issued(request: pki.Request, ca: pki.Pair | None = None, now: int = NOW, days: int = 1) -> pki.Pair:
    return pki.issue(ca or test_pki().ca, request, now, days)


MONITOR = pki.user("prometheus", (pki.MONITORS,))


async def test_a_monitor_reads_the_hosts_figures(world: World, tmp_path: Path) -> None:
    status, body = await reader(world, tmp_path, issued(MONITOR)).get("/metrics")
    assert status == 200
    figures = parse(body)
    assert figures.of("kubelet_node_name", node="node1") == 1
    assert figures.of("kubelet_running_pods") == 1
    assert figures.of("machine_cpu_cores") >= 1
    assert figures.of("node_memory_MemTotal_bytes") > 0
    assert figures.of("kubelet_runtime_operations_total", operation_type="list_podsandbox") >= 1
    assert figures.of("process_resident_memory_bytes") > 0


@pytest.mark.parametrize(
    ("path", "has", "lacks"),
    [("/metrics/cadvisor", "machine_memory_bytes", "node_load1"),
     ("/metrics/host", "node_load1", "machine_memory_bytes"),
     ("/metrics/probes", "", "node_load1"), ("/metrics/resource", "node_memory_working_set_bytes", "node_load1"),
     ("/metrics/kubelet", "kubelet_running_pods", "node_load1")],
)  # fmt: skip
async def test_each_part_has_a_path_of_its_own(world: World, tmp_path: Path, path: str, has: str, lacks: str) -> None:
    status, body = await reader(world, tmp_path, test_pki().admin).get(path)
    names = parse(body).names()
    assert status == 200
    assert not has or has in names
    assert lacks not in names


async def test_the_summary_is_json(world: World, tmp_path: Path) -> None:
    status, body = await reader(world, tmp_path, test_pki().admin).get("/stats/summary")
    assert (status, b'"podRef"' in body, b'"usageCoreNanoSeconds"' in body) == (200, True, True)


async def test_who_is_not_known_or_not_entitled_is_refused(world: World, tmp_path: Path) -> None:
    stranger = pki.make_ca("somebody else", NOW)
    for client in (None, issued(MONITOR, stranger), issued(MONITOR, now=NOW - 10 * pki.DAY)):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await reader(world, tmp_path, client).get("/metrics")
    for groups in ((), ("mesh:nodes",), ("monitors",)):
        status, body = await reader(world, tmp_path, issued(pki.user("eve", groups))).get("/metrics")
        assert (status, b"eve" in body, b"kubelet" in body) == (403, True, False)


async def test_other_paths_and_methods_are_refused_with_words(world: World, tmp_path: Path) -> None:
    admin = reader(world, tmp_path, test_pki().admin)
    assert (await admin.get("/metrics", "POST"))[0] == 405
    for path in ("/", "/metrics/nothing", "/pods", "/metricsx"):
        status, body = await admin.get(path)
        assert (status, b"/metrics/cadvisor" in body) == (404, True)
    status, body = await admin.get("/metrics", "HEAD")
    assert (status, body) == (200, b"")


async def test_a_reader_that_says_nothing_holds_up_nobody(world: World, tmp_path: Path) -> None:
    admin = reader(world, tmp_path, test_pki().admin)
    silent = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(5)]  # not even a handshake
    mute = await admin.connect()
    assert (await admin.get("/metrics"))[0] == 200
    for _, writer in (*silent, mute):
        writer.close()


async def test_a_connection_is_used_again(world: World, tmp_path: Path) -> None:
    stream, writer = await reader(world, tmp_path, test_pki().admin).connect()
    for _ in range(3):
        writer.write(b"GET /metrics/probes HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(stream.readuntil(b"\r\n\r\n"), 60)
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await stream.readexactly(int(length.split(b":")[1]))
    writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(world: World, tmp_path: Path) -> None:
    async def shown() -> int:
        _, writer = await reader(world, tmp_path, test_pki().admin).connect()
        serial = int(writer.get_extra_info("peercert")["serialNumber"], 16)
        writer.close()
        return serial

    before = await shown()
    renewed = issued(pki.node("node1", ("127.0.0.1",)))
    write_pki(world.root / "pki", test_pki().ca, "agent", renewed)
    assert await shown() != before


async def test_a_host_without_a_certificate_runs_its_pods_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    assert world.agent is not None
    assert not world.agent.stats.endpoint.open.is_set()
    await world.kill()


async def test_starts_of_pods_are_counted_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    agent = await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    for _ in range(2):
        figures = parse((await agent.stats.meter.answer("/metrics/kubelet")).body)
        assert figures.of("kubelet_pod_start_duration_seconds_count") == 1
    await world.kill()


async def test_the_same_is_measured_through_the_agents_port(world: World) -> None:
    assert world.agent is not None

    async def measured(path: str) -> tuple[bytes, str]:
        assert world.agent is not None
        opened = await world.agent.open_stream(StreamOpen(measure=MeasureOptions(path=path)))
        data = b""
        for _ in itertools.count():
            batch = await world.agent.read_stream(StreamRead(id=opened.id, wait_milliseconds=5000))
            data += b"".join(c.data for c in batch.chunks)
            if batch.done:
                return data, batch.error
        raise AssertionError

    summary = Summary.FromString((await measured(""))[0])
    assert summary.node.node_name == "node1"
    assert summary.node.cpu.HasField("usage_nano_cores")
    assert [pod.pod_ref.name for pod in summary.pods] == ["web"]
    assert parse((await measured("/metrics/kubelet"))[0]).of("kubelet_running_pods") == 1
    data, error = await measured("/nothing")
    assert (data, "there are no figures" in error) == (b"", True)


async def test_meshd_has_figures_of_its_own(tmp_path: Path) -> None:
    certs: TestPki = test_pki()
    write_pki(tmp_path, certs.ca, "meshd", certs.server)
    files = Files(tmp_path / "ca.crt", tmp_path / "meshd.crt", tmp_path / "meshd.key")
    async with control(settings=Settings(metrics_listen=("127.0.0.1:0",), files=files)) as mesh:
        figures = mesh.meshd.figures
        await asyncio.wait_for(figures.open.wait(), 60)
        await mesh.control.Kinds(KindsRequest())
        admin = Reader(figures.port, certs.ca.certificate, certs.admin, tmp_path)
        status, body = await admin.get("/metrics")
        read = parse(body)
        assert status == 200
        assert read.of("apiserver_storage_objects", resource="namespaces") >= 1
        assert read.of("mesh_store_commits_total", result="ok") >= 1
        assert read.of("mesh_store_commit_duration_seconds_count") >= 1
        assert read.of("grpc_server_handled_total", grpc_method="Kinds", grpc_code="OK") == 1
        assert read.of("mesh_ray_connected") == 1
        assert read.of("workqueue_depth", name="scheduler") == 0
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Reader(figures.port, certs.ca.certificate, None, tmp_path).get("/metrics")
        eve = issued(pki.user("eve", ()))
        assert (await Reader(figures.port, certs.ca.certificate, eve, tmp_path).get("/metrics"))[0] == 403


async def test_who_was_revoked_reads_no_figures_of_meshd(tmp_path: Path) -> None:
    certs: TestPki = test_pki()
    write_pki(tmp_path, certs.ca, "meshd", certs.server)
    files = Files(tmp_path / "ca.crt", tmp_path / "meshd.crt", tmp_path / "meshd.key")
    # a name that is longer than what a certificate's subject may hold: the whole of it counts
    long = "prometheus." * 9
    ada, bob, other = (issued(pki.user(name, ("mesh:monitors",))) for name in (long + "a", "bob", long + "b"))
    async with control(settings=Settings(metrics_listen=("127.0.0.1:0",), files=files)) as mesh:
        port = mesh.meshd.figures
        await asyncio.wait_for(port.open.wait(), 60)

        async def status(pair: pki.Pair) -> int:
            return (await Reader(port.port, certs.ca.certificate, pair, tmp_path).get("/metrics"))[0]

        assert [await status(pair) for pair in (ada, bob, other)] == [200, 200, 200]
        stub = AccessStub(mesh.channel())
        await stub.Revoke(RevokeRequest(kind="user", name=long + "a"))
        await stub.Revoke(RevokeRequest(kind="serial", name=f"{pki.serial(bob.certificate):X}"))
        assert [await status(pair) for pair in (ada, bob, other)] == [403, 403, 200]
