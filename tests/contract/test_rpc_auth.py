"""Who gets in: only a certificate of our authority, and with it only what its groups allow."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mesh import pki
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ControlStub
from tests.harness.control import RunningMeshd, control
from tests.harness.refusals import refused

STATUS = pb.StatusRequest()


@pytest.fixture
async def mesh() -> AsyncIterator[RunningMeshd]:
    async with control() as running:
        yield running


def issued(mesh: RunningMeshd, request: pki.Request, now: int | None = None, days: int = 1) -> pki.Pair:
    return pki.issue(mesh.certs.ca, request, int(time.time()) if now is None else now, days)


async def status_of(channel: aio.Channel) -> pb.StatusResponse:
    return await ControlStub(channel).Status(STATUS, timeout=30)


async def test_an_administrator_gets_in(mesh: RunningMeshd) -> None:
    assert (await status_of(mesh.channel())).store == "memory"


async def test_without_a_certificate_nothing_answers(mesh: RunningMeshd) -> None:
    credentials = grpc.ssl_channel_credentials(mesh.certs.ca.certificate)
    async with aio.secure_channel(mesh.address, credentials) as channel:
        assert (await refused(status_of(channel))).code is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_is_not_spoken(mesh: RunningMeshd) -> None:
    async with aio.insecure_channel(mesh.address) as channel:
        assert (await refused(status_of(channel))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_foreign_authority_is_refused(mesh: RunningMeshd) -> None:
    foreign = pki.make_ca("mesh test", int(time.time()))
    eve = pki.issue(foreign, pki.user("admin"), int(time.time()))
    assert (await refused(status_of(mesh.channel(eve)))).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("age_days", [30, -30])
async def test_an_expired_or_future_certificate_is_refused(mesh: RunningMeshd, age_days: int) -> None:
    pair = issued(mesh, pki.user("late"), int(time.time()) - age_days * pki.DAY, days=7)
    assert (await refused(status_of(mesh.channel(pair)))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_servers_certificate_is_no_clients(mesh: RunningMeshd) -> None:
    pair = issued(mesh, pki.Request("admin", (pki.ADMINS,), server=True))
    assert (await refused(status_of(mesh.channel(pair)))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_client_refuses_a_server_of_another_authority(mesh: RunningMeshd) -> None:
    foreign = pki.make_ca("mesh test", int(time.time()))
    channel = mesh.channel(ca=foreign.certificate)
    assert (await refused(status_of(channel))).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("groups", [(), ("mesh:nodes",), ("mesh:admin", "admins", "MESH:ADMINS")])
async def test_who_is_no_administrator_may_nothing(mesh: RunningMeshd, groups: tuple[str, ...]) -> None:
    channel = mesh.channel(issued(mesh, pki.user("eve", groups)))
    refusal = await refused(status_of(channel))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.PERMISSION_DENIED, "Forbidden")
    assert '"eve"' in refusal.message
    assert "mesh:admins" in refusal.message
    watch = channel.unary_stream("/mesh.v1.Resources/Watch", request_serializer=pb.WatchRequest.SerializeToString)
    assert (await refused(watch(pb.WatchRequest()).read())).code is grpc.StatusCode.PERMISSION_DENIED
    execute = channel.stream_stream("/mesh.v1.Pods/Exec", request_serializer=pb.ExecInput.SerializeToString)
    assert (await refused(execute(iter([pb.ExecInput()])).read())).code is grpc.StatusCode.PERMISSION_DENIED


async def test_reflection_is_for_administrators_and_health_for_every_certificate(mesh: RunningMeshd) -> None:
    eve = mesh.channel(issued(mesh, pki.user("eve", ())))
    answer = await health_pb2_grpc.HealthStub(eve).Check(health_pb2.HealthCheckRequest(service="mesh.v1.Resources"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    ask = [reflection_pb2.ServerReflectionRequest(list_services="")]
    call = reflection_pb2_grpc.ServerReflectionStub(eve).ServerReflectionInfo(iter(ask))
    assert (await refused(call.read())).code is grpc.StatusCode.PERMISSION_DENIED
    admin = reflection_pb2_grpc.ServerReflectionStub(mesh.channel()).ServerReflectionInfo(iter(ask))
    names = {s.name for s in (await admin.read()).list_services_response.service}
    assert {"mesh.v1.Resources", "mesh.v1.Pods", "mesh.v1.Control", "grpc.health.v1.Health"} <= names


async def test_health_watchers_learn_of_the_end() -> None:
    async with control() as mesh:
        stub = health_pb2_grpc.HealthStub(mesh.channel())
        call = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        reading = asyncio.ensure_future(call.read())
    assert (await reading).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_method_that_is_none_is_unimplemented(mesh: RunningMeshd) -> None:
    call = mesh.channel().unary_unary("/mesh.v1.Resources/Steal")
    assert (await refused(call(b""))).code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_leaves_only_its_id(mesh: RunningMeshd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError("the secret is 42")

    monkeypatch.setattr("mesh.rpc.control.Counter", broken)
    refusal = await refused(status_of(mesh.channel()))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.INTERNAL, "Internal")
    assert "secret" not in refusal.message
    assert refusal.metadata["id"] in refusal.message
