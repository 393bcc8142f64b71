"""Checks against real servers on loopback: rows P12 to P17, and what a starved host makes of them."""

import asyncio
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nodeagent.probes import checks as rooms
from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Result
from nodeagent.probes.wanted import Check, ExecCheck, GrpcCheck, HttpCheck, TcpCheck, Unresolved
from tests.harness.asked_checks import CONTAINER, HOST, Commands, perform


@pytest.fixture(autouse=True)
def a_busy_machine_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is starved is asked by one test; to all others the machine that they run on must not matter."""
    monkeypatch.setattr(rooms, "LATE", 60.0)


Answer = Callable[[list[str]], bytes | Awaitable[bytes]]


class Server:
    """Answers each request head (its lines) with bytes, and closes."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.answer: Answer = lambda _: b"HTTP/1.1 200 OK\r\n\r\nhello"
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.requests.append([line for line in head if line])
            answer = self.answer(self.requests[-1])
            writer.write(answer if isinstance(answer, bytes) else await answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def check(self, **fields: object) -> HttpCheck:
        return replace(HttpCheck(HOST, self.port), **fields)  # type: ignore[arg-type] # fields of a check


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listener = await asyncio.start_server(made.serve, HOST, 0)
    made.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield made


def status(code: int, *headers: str, body: str = "") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} X", *headers, "", body]).encode()


@pytest.mark.parametrize(
    ("code", "result"),
    [(200, Result.SUCCESS), (204, Result.SUCCESS), (299, Result.SUCCESS), (304, Result.WARNING), (399, Result.WARNING),
     (400, Result.FAILURE), (404, Result.FAILURE), (500, Result.FAILURE)],
)  # fmt: skip
async def test_200_to_399_is_success(server: Server, code: int, result: Result) -> None:  # P12
    server.answer = lambda _: status(code, "Content-Length: 0")
    outcome = await perform(server.check())
    assert outcome.result is result
    if result is Result.FAILURE:
        assert outcome.output == f"HTTP probe failed with statuscode: {code}"


async def test_the_request(server: Server) -> None:  # P12
    await perform(server.check(path="/a b?c=d"))
    assert server.requests[0] == [
        "GET /a%20b?c=d HTTP/1.1", f"Host: {HOST}:{server.port}", "User-Agent: kube-probe/1.36", "Accept: */*",
        "Connection: close",
    ]  # fmt: skip
    own = (("Host", "example.org"), ("user-agent", ""), ("Accept", "text/plain"), ("X-A", "1"), ("X-A", "2"))
    await perform(server.check(headers=own))
    assert server.requests[1] == [
        "GET / HTTP/1.1", "Host: example.org", "Accept: text/plain", "X-A: 1", "X-A: 2", "Connection: close",
    ]  # fmt: skip


async def test_no_proxy_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:  # P12
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await perform(server.check())).result is Result.SUCCESS


@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 200 OK\r\n\r\n{body}",
        "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{body}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nxxxx\r\nc34c\r\n{body}",
        "HTTP/1.0 200 OK\r\n\r\n{body}",
    ],
)
async def test_ten_kilobytes_of_body_are_read(server: Server, answer: str) -> None:  # P12
    server.answer = lambda _: answer.replace("{body}", "x" * 50000).encode()
    outcome = await perform(server.check())
    assert (outcome.result, outcome.output) == (Result.SUCCESS, "x" * 10240)


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
)  # fmt: skip
async def test_no_http_is_a_failure(server: Server, answer: bytes) -> None:
    server.answer = lambda _: answer
    outcome = await perform(server.check())
    assert outcome.result is Result.FAILURE, outcome
    assert outcome.output


async def test_redirects_of_the_same_host_are_followed(server: Server) -> None:  # P13
    def answer(head: list[str]) -> bytes:
        number = int(head[0].split()[1].strip("/") or 0)
        return status(302, f"Location: /{number + 1}") if number < hops else status(200)

    server.answer = answer
    hops = 10
    assert (await perform(server.check())).result is Result.SUCCESS
    assert len(server.requests) == 11
    hops = 11
    outcome = await perform(server.check())
    assert outcome.result is Result.FAILURE
    assert "stopped after 10 redirects" in outcome.output


async def test_a_redirect_to_another_host_is_a_success_with_a_warning(server: Server) -> None:  # P13
    server.answer = lambda _: status(301, "Location: http://elsewhere.example/", body="over there")
    outcome = await perform(server.check())
    assert (outcome.result, outcome.output) == (
        Result.WARNING, "Probe terminated redirects, Response body: over there"
    )  # fmt: skip


async def test_a_redirect_may_lead_to_a_failure(server: Server) -> None:  # P13
    server.answer = lambda head: status(500) if "/x" in head[0] else status(307, "Location: x")
    assert (await perform(server.check())).result is Result.FAILURE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
            "-subj", "/CN=wrong.example", "-keyout", str(path), "-out", f"{path}.crt"]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


async def test_https_verifies_nothing(certificate: Path) -> None:  # P14
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Server()
    async with await asyncio.start_server(server.serve, HOST, 0, ssl=context) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        assert (await perform(server.check(tls=True))).result is Result.SUCCESS
        assert (await perform(server.check(tls=False))).result is Result.FAILURE


async def test_a_hook_falls_back_from_https_and_takes_any_answer(server: Server) -> None:  # L8
    server.answer = lambda _: status(500)
    reader = server.serve

    async def plain(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await stream.readexactly(1)
        if first == b"\x16":  # a TLS hello
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.")
            writer.close()
            return
        stream._buffer[:0] = first  # type: ignore[attr-defined] # put back what was peeked at
        await reader(stream, writer)

    async with await asyncio.start_server(plain, HOST, 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        outcome = await RealChecks(Commands()).hook(server.check(tls=True), CONTAINER)
    assert outcome.result is Result.SUCCESS, outcome
    assert len(server.requests) == 1


async def test_silence_is_a_failure_in_time(server: Server) -> None:
    async def never(_: object = None) -> bytes:
        await asyncio.sleep(60)
        return b""

    server.answer = never
    outcome = await perform(server.check(), 0.2)
    assert outcome.result is Result.FAILURE
    assert "no answer within 0.2s" in outcome.output
    assert 0.2 <= outcome.seconds < 30  # not the server's minute


async def test_a_stalled_agent_blames_nobody(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_: object = None) -> bytes:  # the request has come, so the check is under way
        time.sleep(1.0)  # noqa: ASYNC251 - the stall: this process gets no CPU
        await asyncio.sleep(60)
        return b""

    monkeypatch.setattr(rooms, "LATE", 0.05)
    server.answer = slow
    assert (await perform(server.check(), 0.5)).result is Result.STARVED


# ---- TCP


async def test_tcp(server: Server) -> None:  # P15
    assert (await perform(TcpCheck(HOST, server.port))).result is Result.SUCCESS
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        outcome = await perform(TcpCheck(HOST, port))
    assert (outcome.result, outcome.output) == (
        Result.FAILURE, f"dial tcp {HOST}:{port}: connect: connection refused"
    )  # fmt: skip


async def test_tcp_lingers_for_a_second(server: Server) -> None:  # P15
    sock = await rooms.connect(HOST, server.port)
    linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    sock.close()
    assert struct.unpack("ii", linger) == (1, 1)


async def test_tcp_gives_up_in_time() -> None:
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        outcome = await perform(TcpCheck(*address), 0.2)
        for one in waiting:
            one.close()
    assert (outcome.result, outcome.output) == (
        Result.FAILURE, f"dial tcp {HOST}:{address[1]}: i/o timeout"
    )  # fmt: skip


# ---- gRPC


@pytest.fixture
async def serving() -> AsyncIterator[tuple[health.aio.HealthServicer, int]]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    yield servicer, port
    await server.stop(0)


async def test_grpc_only_serving_is_success(serving: tuple[health.aio.HealthServicer, int]) -> None:  # P17
    servicer, port = serving
    statuses = health_pb2.HealthCheckResponse
    assert (await perform(GrpcCheck(HOST, port))).result is Result.SUCCESS
    await servicer.set("one", statuses.NOT_SERVING)
    outcome = await perform(GrpcCheck(HOST, port, "one"))
    assert (outcome.result, outcome.output) == (
        Result.FAILURE, 'service unhealthy (responded with "NOT_SERVING")'
    )  # fmt: skip
    outcome = await perform(GrpcCheck(HOST, port, "unknown"))
    assert outcome.result is Result.FAILURE
    assert "NOT_FOUND" in outcome.output


async def test_grpc_without_health_fails(server: Server) -> None:  # P17
    plain = grpc.aio.server()
    port = plain.add_insecure_port(f"{HOST}:0")
    await plain.start()
    outcome = await perform(GrpcCheck(HOST, port))
    await plain.stop(0)
    assert outcome.result is Result.FAILURE
    assert "does not implement the grpc health protocol" in outcome.output
    outcome = await perform(GrpcCheck(HOST, port), 1)
    assert outcome.result is Result.FAILURE
    assert "failed to connect" in outcome.output


# ---- of every kind


async def test_what_leads_nowhere_is_an_error() -> None:  # P18
    outcome = await perform(Unresolved("no such port"))
    assert (outcome.result, outcome.output) == (Result.ERROR, "no such port")


@pytest.mark.parametrize(
    ("check", "result"),
    [
        (TcpCheck("a..b", 80), Result.FAILURE),
        (TcpCheck("a\0b", 80), Result.FAILURE),
        (HttpCheck("a..b", 80), Result.FAILURE),
        (HttpCheck(HOST, 80, path="/\0", headers=(("X", "\0"),)), Result.FAILURE),
        (ExecCheck(("true\0",)), Result.ERROR),
    ],
)
async def test_what_nothing_can_be_asked_is_answered_all_the_same(check: Check, result: Result) -> None:
    assert (await perform(check)).result is result
    assert (await RealChecks(Commands()).hook(check, CONTAINER)).result is result


async def test_no_descriptor_is_left() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of this very process

    await perform(ExecCheck(("true",)))
    before = descriptors()
    for _ in range(5):
        await perform(ExecCheck(("true",)))
        await perform(ExecCheck(("sleep", "9")), 0.05)
        await perform(ExecCheck(("/no/such",)))
        await perform(TcpCheck(HOST, 1))
    async with asyncio.timeout(30):
        while descriptors() > before:  # noqa: ASYNC110 - what was killed is reaped by the loop, and nobody is told
            await asyncio.sleep(0)
