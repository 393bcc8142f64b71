"""Pods that tell figures, over real sockets: asked by their host, and none of them a danger to the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from mesh.exposition.text import Page
from mesh.v1.core_pb2 import Container, Pod, PodSpec
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, SeenSandbox, State
from nodeagent.stats import applications
from nodeagent.stats.subjects import Subject, subject_of
from tests.harness.figures import Figures, parse

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
IP = "127.0.0.1"


def subject(name: str, declared: int = 0, **notes: str) -> Subject:
    """A pod at the loopback address; `notes` without their prefix."""
    annotations = {f"prometheus.io/{key}": value for key, value in {"scrape": "true", **notes}.items()}
    meta = {"name": name, "namespace": "a", "uid": name, "annotations": annotations}
    container = Container(name="c", ports=[{"container_port": declared}] if declared else [])
    pod = Pod(metadata=meta, spec=PodSpec(containers=[container]))
    running = SeenContainer(f"id-{name}", name, "c", 0, Role.APP, State.RUNNING, "h", "i", "i")
    return subject_of(pod, pod.status, SeenPod(name, "a", name, SeenSandbox(name, "a", name, IP, 1), (running,)), {})


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, IP, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def says(body: bytes, status: bytes = b"200 OK", asked: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    return serve


async def asked(*subjects: Subject) -> Figures:
    page = Page()
    applications.applications(page, await applications.ask_all(applications.targets(subjects, "192.0.2.1")))
    return parse(page.render())


async def test_annotated_pods_are_asked_where_they_say() -> None:
    heads: list[bytes] = []
    async with serving(says(b"m 1\n", asked=heads)) as port, serving(says(b"m 2\n")) as other:
        figures = await asked(subject("web", port), subject("db", 1, port=str(other), path="/x"))
    assert (figures.of("m", pod="web"), figures.of("m", pod="db")) == (1, 2)
    assert figures.of("mesh_application_up", pod="web", namespace="a") == 1
    assert heads[0].startswith(b"GET /metrics HTTP/1.1\r\n")


async def test_who_is_not_asked() -> None:
    quiet = [
        subject("no", 80, scrape="false"), subject("portless"), subject("odd", 80, path="metrics"),
        subject("odder", port="70000"), replace(subject("ended", 80), containers=()),
    ]  # fmt: skip
    assert applications.targets(quiet, "192.0.2.1") == []


async def test_one_that_refuses_fails_or_hangs_is_down_and_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "PATIENCE", 0.5)

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        serving(says(b"m 1\n")) as good, serving(hangs) as hung, serving(says(b"", b"500 No")) as bad,
        serving(says(b"\xff\xfe 1\n")) as odd,
    ):  # fmt: skip
        figures = await asked(*(subject(name, port) for name, port in
                                (("good", good), ("hung", hung), ("bad", bad), ("odd", odd), ("gone", 1))))  # fmt: skip
    assert figures.of("m", pod="good") == 1
    for name in ("hung", "bad", "odd", "gone"):
        assert figures.of("mesh_application_up", pod=name) == 0


async def test_a_greedy_one_is_cut_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "MOST_BYTES", 1000)
    body = b"".join(b'm{i="%d"} 1\n' % i for i in range(1000))
    async with serving(says(body)) as greedy, serving(says(b"n 1\n")) as modest:
        figures = await asked(subject("greedy", greedy), subject("modest", modest))
    assert 0 < len(list(figures.every("m"))) < 100
    assert (figures.of("mesh_application_cut", pod="greedy"), figures.of("mesh_application_cut", pod="modest")) == (
        1,
        0,
    )
