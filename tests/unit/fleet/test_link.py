"""A link's manners towards a host that is odd: on bent time, with a whole meshd but its API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from mesh.meshd import Meshd, Settings
from mesh.model.kinds import Object, key_of, revision_of
from mesh.store.memory import MemoryStore
from mesh.store.port import Write
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Event, Node, Pod
from mesh.v1.node_pb2 import Observed
from tests.harness import objects
from tests.harness.bent_time import bent, now_ns
from tests.harness.control import StaticHosts
from tests.harness.hollow import HollowAgent


@asynccontextmanager
async def meshd_with(*agents: HollowAgent, store: MemoryStore | None = None) -> AsyncIterator[Meshd]:
    hosts = StaticHosts({a.name: a for a in agents})
    meshd = Meshd(store or MemoryStore(), hosts, None, Settings(clock=now_ns))
    task = asyncio.create_task(meshd.run())
    await meshd.serving.wait()
    try:
        yield meshd
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(meshd: Meshd, true: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await meshd.feed.reached(meshd.feed.view.revision + 1)


async def bound(meshd: Meshd, name: str, node: str, uid: str = "u1") -> Pod:
    pod = objects.pod(name, node_name=node)
    pod.metadata.uid, pod.metadata.generation = uid, 1
    await meshd.feed.reached(await meshd.store.commit([Write(key_of(pod), pod, 0)]))
    return pod


def phase(meshd: Meshd, name: str) -> str:
    held = meshd.feed.view.pod("default", name)
    return held.status.phase if held is not None else ""


def ready(meshd: Meshd, name: str) -> str:
    node = meshd.feed.view.node(name)
    return next((c.status for c in node.status.conditions if c.type == "Ready"), "") if node is not None else ""


@bent
async def test_a_host_that_is_away_is_asked_ever_more_rarely_and_then_every_three_seconds() -> None:
    agent = HollowAgent("a")
    agent.away = True
    async with meshd_with(agent):
        await asyncio.sleep(60)
        assert 20 <= agent.calls["observe"] <= 26
        agent.away = False


@bent
async def test_an_agent_that_does_not_wait_is_not_asked_all_the_time() -> None:
    class Hasty(HollowAgent):
        async def observe(self, request: node_pb2.ObserveRequest) -> Observed:
            request.wait_milliseconds = 0
            return await super().observe(request)

    agent = Hasty("a")
    async with meshd_with(agent):
        await asyncio.sleep(60)
        assert agent.calls["observe"] <= 70


@bent
async def test_a_changed_config_map_goes_to_hosts_that_use_it_and_to_no_other() -> None:  # V6, V12
    one, other = HollowAgent("a"), HollowAgent("b")
    async with meshd_with(one, other) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == ready(meshd, "b") == "True")
        pod = objects.pod("web", node_name="a")
        pod.metadata.uid, pod.metadata.generation = "u1", 1
        pod.spec.volumes.add(name="v").config_map.name = "c"
        await meshd.feed.reached(await meshd.store.commit([Write(key_of(pod), pod, 0)]))
        await asyncio.sleep(1)
        assert not one.assignments[-1].config_maps
        orders = len(other.assignments)
        for number, value in enumerate("12"):
            config = objects.config_map("c", key=value)
            config.metadata.uid = "c1"
            held = meshd.feed.view.get(key_of(config))
            await meshd.store.commit([Write(key_of(config), config, revision_of(held) if held else 0)])
            await asyncio.sleep(0.5)
            assert [dict(c.data) for c in one.assignments[-1].config_maps] == [{"key": value}], number
        assert len(other.assignments) == orders


@bent
async def test_an_idle_host_is_asked_every_two_seconds() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        await asyncio.sleep(5)
        before, orders = agent.calls["observe"], agent.calls["assign"]
        await asyncio.sleep(400)
        assert 198 <= agent.calls["observe"] - before <= 202
        assert agent.calls["assign"] == orders == 1
        assert agent.calls["program"] == 1


@bent
async def test_an_agent_of_another_host_is_not_believed() -> None:
    agent = HollowAgent("b")
    agent_under_a = agent
    hosts = StaticHosts({"a": agent_under_a})
    meshd = Meshd(MemoryStore(), hosts, None, Settings(clock=now_ns))
    task = asyncio.create_task(meshd.run())
    await meshd.serving.wait()
    await asyncio.sleep(20)
    assert meshd.feed.view.nodes() == []
    assert meshd.roster is not None
    assert 'says that it is "b"' in meshd.roster.hosts()[0].message
    assert "assign" not in agent.calls
    task.cancel()
    await asyncio.wait({task})


@bent
async def test_one_call_that_is_never_answered_makes_no_host_unknown() -> None:
    class Deaf(HollowAgent):
        hung = 0

        async def observe(self, request: node_pb2.ObserveRequest) -> Observed:
            if self.hung:
                self.hung -= 1
                await asyncio.sleep(10_000)
            return await super().observe(request)

    agent = Deaf("a")
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        for _ in range(5):
            agent.hung = 1
            await asyncio.sleep(30)
            assert not agent.hung
            assert ready(meshd, "a") == "True"
            assert meshd.feed.view.revision < 10
        agent.hung = 2
        await until(meshd, lambda: ready(meshd, "a") == "Unknown", 60)


@bent
async def test_an_agent_that_was_restarted_is_given_its_pods_again_and_nothing_is_written() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        await bound(meshd, "web", "a")
        await until(meshd, lambda: phase(meshd, "web") == "Running")
        before, revision = agent.calls["assign"], meshd.feed.view.revision
        agent.restart()
        await asyncio.sleep(1)
        assert agent.calls["assign"] == before + 1
        assert agent.digest
        assert meshd.feed.view.revision == revision


@bent
async def test_a_host_without_a_proxy_is_offered_no_table_until_it_has_one() -> None:
    agent = HollowAgent("a")
    agent.proxy = ""
    async with meshd_with(agent) as meshd:
        await asyncio.sleep(100)
        assert "program" not in agent.calls
        assert ready(meshd, "a") == "True"
        agent.proxied("one")
        await asyncio.sleep(1)
        assert agent.calls["program"] == 1
        assert agent.route


@bent
async def test_a_mirror_that_someone_deletes_is_made_again() -> None:
    agent = HollowAgent("a")
    pod = objects.pod("dns-a")
    pod.metadata.uid = "static-1"
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        agent.show_static(pod)
        await until(meshd, lambda: phase(meshd, "dns-a") == "Running")
        held = meshd.feed.view.pod("default", "dns-a")
        assert held is not None
        await meshd.feed.reached(await meshd.store.commit([Write(key_of(held), None, revision_of(held))]))
        await until(meshd, lambda: phase(meshd, "dns-a") == "Running", 1)
        agent.show_static(pod, gone=True)
        await until(meshd, lambda: phase(meshd, "dns-a") == "")
        assert all(not a.pods for a in agent.assignments)


@bent
async def test_what_the_host_said_is_said_again_when_someone_wrote_over_it() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        await bound(meshd, "web", "a")
        await until(meshd, lambda: phase(meshd, "web") == "Running")
        held = meshd.feed.view.pod("default", "web")
        wrong = Pod()
        assert held is not None
        wrong.CopyFrom(held)
        wrong.status.phase = "Pending"
        await meshd.feed.reached(await meshd.store.commit([Write(key_of(wrong), wrong, None)]))
        await until(meshd, lambda: phase(meshd, "web") == "Running", 1)


@bent
async def test_a_node_that_someone_changes_or_removes_is_the_hosts_again_at_its_next_word() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await until(meshd, lambda: ready(meshd, "a") == "True")
        for _ in range(3):  # it has long said nothing new
            await asyncio.sleep(4)
            held = meshd.feed.view.node("a")
            assert held is not None
            wrong = Node()
            wrong.CopyFrom(held)
            wrong.status.conditions[0].status = "False"
            await meshd.feed.reached(await meshd.store.commit([Write(key_of(held), wrong, None)]))
            await until(meshd, lambda: ready(meshd, "a") == "True", 2.5)
            await meshd.feed.reached(await meshd.store.commit([Write(key_of(held), None, None)]))
            await until(meshd, lambda: ready(meshd, "a") == "True", 2.5)


@bent
async def test_two_hosts_that_join_at_once_get_ranges_of_their_own() -> None:
    agents = [HollowAgent(f"n{i}") for i in range(20)]
    async with meshd_with(*agents) as meshd:
        await until(meshd, lambda: len(meshd.feed.view.nodes()) == 20)
        ranges = {n.spec.pod_cidr for n in meshd.feed.view.nodes()}
        assert len(ranges) == 20


@bent
async def test_events_of_hosts_are_stored_once_and_counted() -> None:
    agent = HollowAgent("a")
    told = Event(reason="BackOff", message="Back-off restarting", count=1, type="Warning")
    told.metadata.name, told.metadata.namespace = "web.1", "default"
    told.last_timestamp.FromNanoseconds(now_ns())
    async with meshd_with(agent) as meshd:
        agent.tell(told)
        again = Event()
        again.CopyFrom(told)
        again.count = 7
        agent.tell(again)
        await until(meshd, lambda: _counts(meshd) == [7])
        agent.restart()
        await asyncio.sleep(10)
        assert _counts(meshd) == [7]


def _counts(meshd: Meshd) -> list[int]:
    events: list[Object] = meshd.feed.view.of_kind("Event")
    return [e.count for e in events if isinstance(e, Event) and e.reason == "BackOff"]
