"""Without Ray: the host's own keeper takes a host that nobody has, and gives it back to an actor."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import EnvVar, Pod, Secret, Volume
from nodeagent.config import AgentConfig
from tests.harness.podman import PodmanHost, podman_host
from tests.harness.podman_node import Node, a_container, a_pod
from tests.harness.waiting import wait_for_text

pytestmark = pytest.mark.host

DEADLINE = 120.0
STAY = "echo started >>/shared/NAME; trap 'exit 0' TERM; sleep 100000 & wait $!"
ACTOR = """
import asyncio, sys
from pathlib import Path
from mesh.errors import Unavailable
from mesh.v1.node_pb2 import ObserveRequest
from nodeagent.app import HostAgent
from nodeagent.config import parse

async def main():
    agent = HostAgent(parse(Path(sys.argv[1]).read_text()))
    running = asyncio.create_task(agent.run())
    while not running.done():
        try:
            await agent.observe(ObserveRequest())
        except Unavailable:
            continue
        print("has the host", flush=True)
        await running

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    with podman_host(metrics_listen="none") as made:
        yield made


def configured(config: AgentConfig) -> Path:
    """agent.toml of the host."""
    names = ("node_name", "node_ip", "root", "bridge", "metrics_listen")
    path = config.root / "agent.toml"
    path.write_text("".join(f'{name} = "{getattr(config, name)}"\n' for name in names))
    return path


@asynccontextmanager
async def process(log: Path, *argv: str) -> AsyncIterator[Process]:
    """One that is dead afterwards."""
    with log.open("wb") as file:
        made = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=PIPE, stderr=file)
    try:
        yield made
    finally:
        with suppress(ProcessLookupError):
            made.kill()
        await made.wait()


async def has_the_host(actor: Process) -> None:
    assert actor.stdout is not None
    async with asyncio.timeout(DEADLINE):
        while (line := await actor.stdout.readline()) != b"has the host\n":  # else it logs
            assert line, "the actor ended"


async def said(log: Path, text: str) -> str:
    return await asyncio.to_thread(wait_for_text, log, text, DEADLINE)


def staying(number: int, name: str, shared: Path, **fields: object) -> Pod:
    """A pod that writes each of its starts down."""
    command = ["sh", "-c", STAY.replace("NAME", name)]
    pod = a_pod(number, a_container("main", command=command, **fields), volumes=[Volume(name="shared")])
    pod.metadata.name = name
    pod.spec.volumes[0].host_path.path = str(shared)
    pod.spec.containers[0].volume_mounts.add(name="shared", mount_path="/shared")
    return pod


async def test_pods_go_on_without_ray_and_its_actor_gets_the_host_back(host: PodmanHost, tmp_path: Path) -> None:
    config = configured(host.config)
    word = EnvVar(name="WORD")
    word.value_from.secret_key_ref.name, word.value_from.secret_key_ref.key = "s", "word"
    web, private = staying(1, "web", tmp_path), staying(2, "private", tmp_path, env=[word])
    node = Node(host)
    held = Secret(data={"word": b"x"})
    held.metadata.name, held.metadata.namespace, held.metadata.uid = "s", "default", "s-uid"
    held.metadata.resource_version = "1"
    node.secrets["s"] = held
    await node.start()
    await node.running(web, private)
    pids = await node.pids()
    await node.kill()

    paths = (host.config.lock_file, host.config.standby_socket, config)
    keeper = ("-m", "nodeagent.standby", *map(str, paths), "0.2")
    log = tmp_path / "keeper.log"
    async with AsyncExitStack() as stack:
        actor = await stack.enter_async_context(process(tmp_path / "first.log", "-c", ACTOR, str(config)))
        await has_the_host(actor)
        standing = await stack.enter_async_context(process(log, *keeper))
        actor.kill()
        await said(log, "ray_is_away")
        for pod in (web, private):
            os.kill(pids[pod.metadata.uid, "main"], signal.SIGKILL)
        await said(tmp_path / "web", "started\nstarted\n")
        assert "is not in this host's memory" in await said(log, "pod_waits")
        assert (tmp_path / "private").read_text() == "started\n", "it does not start without its Secret"

        async with process(tmp_path / "second.log", "-c", ACTOR, str(config)) as another:
            async with asyncio.timeout(DEADLINE):
                assert await standing.wait() == 0, "who stands by steps aside in good order"
            await has_the_host(another)
        assert "stepping_aside" in log.read_text()
        assert (tmp_path / "web").read_text() == "started\nstarted\n", "nothing restarts because the host changed hands"
