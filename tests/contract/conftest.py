"""A served mesh with one scripted host and the command `mesh` for it; every kind of runtime and agent; an ingress."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import Runtime
from tests.harness.bodies import DEADLINE, Body
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.ingress import Mesh, serving
from tests.harness.podman import IMAGE, PodmanHost, podman_host
from tests.harness.runtimes import World
from tests.harness.scripted_host import ScriptedHost
from tests.harness.seam import Seam, SeamPki
from tests.harness.unproven import Unproven


@pytest.fixture
def scripted() -> ScriptedHost:
    return ScriptedHost("host1")


@pytest.fixture
async def served(scripted: ScriptedHost) -> AsyncIterator[RunningMeshd]:
    async with control(agents={"host1": scripted}) as running:
        yield running


@pytest.fixture
def cli(served: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(served, tmp_path)


# ---- one suite over every runtime: `agent` is one on the host of a `world`


@pytest.fixture(scope="session", params=["fake", pytest.param("podman", marks=pytest.mark.host)])
def host(request: pytest.FixtureRequest) -> Iterator[PodmanHost | None]:
    with ExitStack() as stack:
        yield stack.enter_context(podman_host()) if request.param == "podman" else None


@pytest.fixture
async def world(host: PodmanHost | None) -> AsyncIterator[World]:
    if host:
        world = World(lambda: PodmanRuntime(host.config), host.pod_cidr, None)
    else:
        fake = FakeHost(any_image=False)
        fake.add_image(IMAGE)
        world = World(lambda: FakeRuntime(fake), "10.199.1.0/24", fake)
    yield world
    last = await world.agent()
    for pod in (await last.pods()).values():
        for container in pod.containers:
            await last.remove(container.id)
        await last.remove_sandbox(pod.uid)
    for runtime in list(world.runtimes):
        await world.close(runtime)


@pytest.fixture
async def agent(world: World) -> Runtime:
    return await world.agent()


# ---- one suite over every AgentPort


@pytest.fixture(scope="session", params=["fake", "sealed", pytest.param("podman", marks=pytest.mark.host)])
def agent_host(request: pytest.FixtureRequest) -> Iterator[PodmanHost | str]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(podman_host()) if request.param == "podman" else request.param


@pytest.fixture
async def body(agent_host: PodmanHost | str) -> AsyncIterator[Body]:
    with contextlib.ExitStack() as stack:
        if isinstance(agent_host, str):
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fake = FakeHost(log_dir=root / "log" / "pods", pod_cidr="10.199.1.0/24")
            config = AgentConfig("node1", "127.0.0.1", root)
            agent = Agent(config, FakeRuntime(fake), clock=FakeRuntime.now, identity=Unproven.at(config))
            made = Body(agent, "node1", "10.199.1.0/24", fake)
            if agent_host == "sealed":
                pki = SeamPki.made()
                pki.admit("node1", config.pki_dir)
                made.agent = Seam(agent, config, pki.trust).port
        else:
            identity = Unproven.at(agent_host.config)
            agent = Agent(agent_host.config, PodmanRuntime(agent_host.config), identity=identity)
            revision = int(asyncio.get_running_loop().time() * 1000)  # the checkpoint of the test before is on the host
            made = Body(agent, agent_host.config.node_name, agent_host.pod_cidr, None, revision)
        task = asyncio.create_task(agent.run())
        yield made
        await made.assign()
        async with asyncio.timeout(DEADLINE):
            await agent.emptied()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()  # a write that a thread has begun is ended


SERVICES = ("fallback", "foo", "foobar", "bar", "aaa", "wild", "any", "exact")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress_host() -> AsyncIterator[Mesh]:
    async with serving() as made:
        for name in SERVICES:
            await made.service(name, f"{name}-0")
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(ingress_host: Mesh) -> AsyncIterator[Mesh]:
    """The module's ingress host, without an Ingress of the test before."""
    yield ingress_host
    ingress_host.remove("Ingress")
    ingress_host.remove("IngressClass")
