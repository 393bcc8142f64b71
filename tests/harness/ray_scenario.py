"""What is played on a host with Ray: `python -m tests.harness.ray_scenario NAME` prints one JSON object.

It drives RayHosts and, over Ray, the stub agent, from inside the host's namespaces; the tests judge.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from mesh import pki
from mesh.errors import MeshError, Unavailable
from mesh.fleet.bridge import RayAddress, RayHosts
from mesh.fleet.port import AgentPort
from mesh.sessions import Trust
from mesh.supervision.layout import Layout
from mesh.v1 import node_pb2

ACTOR = "tests.harness.stub_actor:StubActor"
LAYOUT = Layout(Path(os.environ["MESH_ROOT"]))
Played = dict[str, Any]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[RayHosts, AgentPort]]:
    """RayHosts as meshd runs it, and the agent of host1."""
    address = RayAddress("10.77.0.1:7430", "10.77.0.1", LAYOUT.ray_token, LAYOUT.ray_home, LAYOUT.ray_tls, ACTOR)
    own = pki.Pair(LAYOUT.meshd_certificate.read_bytes(), LAYOUT.meshd_key.read_bytes())
    hosts = RayHosts(address, Trust(LAYOUT.ca_certificate.read_bytes, lambda: own))
    running = asyncio.create_task(hosts.run())
    async with asyncio.timeout(30):
        while "host1" not in hosts.agents():
            await hosts.changed()
        agent = hosts.agents()["host1"]
        await answered(agent)
    yield hosts, agent
    running.cancel()
    await asyncio.wait({running})


async def answered(agent: AgentPort) -> str:
    """The boot (process id) of the agent, as soon as it answers."""
    while True:
        try:
            return (await agent.observe(node_pb2.ObserveRequest())).boot
        except Unavailable:
            await asyncio.sleep(0.05)


async def waiting(agent: AgentPort, polls: int) -> None:
    """Returns when so many polls hang at the agent."""
    async with asyncio.timeout(60):
        while (await agent.observe(node_pb2.ObserveRequest(wait_milliseconds=1))).version != polls:
            pass


def pids(word: str) -> list[int]:
    """Processes of this host by a word of their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word in (process / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def refusal(call: Awaitable[Any]) -> list[str]:
    """Kind and message of the error that a call raises."""
    try:
        await call
    except MeshError as error:
        return [error.kind, error.message]
    return []


async def calls() -> Played:
    """What crosses, and what does not get in its way."""
    async with connected() as (hosts, agent):
        await agent.assign(node_pb2.Assignment(fence=node_pb2.Fence(epoch=2), digest="d"))
        older = await refusal(agent.assign(node_pb2.Assignment(fence=node_pb2.Fence(epoch=1))))
        bug = await refusal(agent.open_stream(node_pb2.StreamOpen(pod_uid="bug")))
        big = await agent.read_stream(node_pb2.StreamRead(max_bytes=1 << 20))
        wait = node_pb2.ObserveRequest(wait_milliseconds=60_000)
        polls = [asyncio.create_task(agent.observe(wait)) for _ in range(64)]
        await waiting(agent, 64)
        began = time.monotonic()
        reply = await agent.assign(node_pb2.Assignment(fence=node_pb2.Fence(epoch=3), digest="e"))
        beside_polls = time.monotonic() - began
        for poll in polls:
            poll.cancel()
        await waiting(agent, 0)
        return {
            "state": hosts.state, "older": older, "bug": bug, "big": len(big.chunks[0].data),
            "digest": reply.run_digest, "beside_polls": beside_polls,
        }  # fmt: skip


async def present() -> Played:
    """An agent answers."""
    async with connected():
        return {}


async def recovery(end: Callable[[AgentPort], Awaitable[None]]) -> Played:
    """Ends the agent while a poll hangs, until another agent answers and the poll has failed."""
    async with connected() as (hosts, agent):
        before = await answered(agent)
        poll = asyncio.create_task(refusal(agent.observe(node_pb2.ObserveRequest(wait_milliseconds=60_000))))
        await asyncio.sleep(0)
        await end(agent)
        async with asyncio.timeout(60):
            while (after := await answered(agent)) == before:
                pass
            lost = await poll
        return {"other": after != before, "lost": lost, "known": list(hosts.agents())}


async def kill_actor(_agent: AgentPort) -> None:
    os.kill(pids("ray::StubActor")[0], signal.SIGKILL)


async def end_agent(agent: AgentPort) -> None:
    await agent.open_stream(node_pb2.StreamOpen(pod_uid="crash"))


async def kill_raylet(_agent: AgentPort) -> None:
    os.kill(pids("raylet/raylet")[0], signal.SIGKILL)


async def kill_head(_agent: AgentPort) -> None:
    os.kill(pids("gcs/gcs_server")[0], signal.SIGKILL)


async def restart(_agent: AgentPort) -> None:
    """As `mesh up` does after a change of settings: the raylet signs off, then the rest ends with its watcher."""
    os.kill(pids("ray_watch")[0], signal.SIGTERM)


async def lost_class() -> Played:
    """Ray's head loses the class of an agent's actor; then meshd's child is another, which has never seen it."""
    async with connected() as (_, agent):
        before = await answered(agent)
        await agent.open_stream(node_pb2.StreamOpen(pod_uid="forget"))
    async with connected() as (hosts, agent):
        return {"other": await answered(agent) != before, "known": list(hosts.agents())}


async def no_blocking() -> Played:
    """How long the event loop hangs at most while Ray dies and comes back."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    watching = asyncio.create_task(watch())
    await recovery(kill_raylet)
    watching.cancel()
    return {"longest": longest}


async def orphan() -> Played:
    """Starts a child and dies; the child's pid is printed first."""
    async with connected():
        print(json.dumps({"child": pids("mesh.fleet.ray")[0]}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


SCENARIOS: dict[str, Callable[[], Awaitable[Played]]] = {
    "calls": calls,
    "present": present,
    "kill_actor": lambda: recovery(kill_actor),
    "end_agent": lambda: recovery(end_agent),
    "kill_raylet": lambda: recovery(kill_raylet),
    "kill_head": lambda: recovery(kill_head),
    "restart": lambda: recovery(restart),
    "lost_class": lost_class,
    "no_blocking": no_blocking,
    "orphan": orphan,
}


async def play(name: str) -> Played:
    return await SCENARIOS[name]()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(play(sys.argv[1]))))
