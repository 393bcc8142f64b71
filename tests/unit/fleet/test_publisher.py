"""Services on their way to the hosts, and pods that are held until every proxy has left them: on bent time."""

import asyncio
from collections.abc import Callable

from mesh.exposition.text import Page
from mesh.fleet.publisher import PROGRAMMED
from mesh.meshd import Meshd
from mesh.model.kinds import Object, key_of, revision_of
from mesh.store.port import Write
from mesh.v1.core_pb2 import Pod
from mesh.v1.net_pb2 import Service
from tests.harness.bent_time import bent
from tests.harness.figures import parse
from tests.harness.hollow import HollowAgent
from tests.harness.services import pod, service
from tests.unit.fleet.test_link import meshd_with, ready, until


async def put(meshd: Meshd, *objs: Object) -> None:
    view = meshd.feed.view
    writes = [Write(key_of(o), o, revision_of(held) if (held := view.get(key_of(o))) else 0) for o in objs]
    await meshd.feed.reached(await meshd.store.commit(writes))


async def served(meshd: Meshd, *agents: HollowAgent) -> None:
    """Every host is ready and its proxy holds the newest table."""
    await until(meshd, lambda: all(ready(meshd, a.name) == "True" for a in agents))
    await asyncio.sleep(0.2)


def addressed(ip: str = "10.96.0.7") -> Service:
    made = service()
    made.spec.cluster_ip = ip
    return made


def leaving(of: Pod, grace: int = 30) -> Pod:
    changed = Pod.FromString(of.SerializeToString())
    changed.metadata.deletion_timestamp.seconds = 9_999_999_999
    changed.metadata.deletion_grace_period_seconds = grace
    changed.metadata.generation += 1
    return changed


def holds(agent: HollowAgent) -> dict[str, str]:
    return {h.uid: h.waits_for for h in agent.assignments[-1].held}


@bent
async def test_every_host_gets_the_table_and_later_only_what_changed() -> None:
    agents = [HollowAgent(name) for name in "abc"]
    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        await put(meshd, addressed(), service("other"), pod("p", "10.244.0.5"))
        await asyncio.sleep(0.4)
        for agent in agents:
            assert agent.table["default/web"].endpoints[0].ip == "10.244.0.2"  # as its host says
            assert agent.table["default/web"].cluster_ip == "10.96.0.7"
        sent = [len(agent.pieces) for agent in agents]
        db = pod("db", "10.244.0.6", app="db")
        await put(meshd, db)
        await asyncio.sleep(0.2)
        assert [len(agent.pieces) for agent in agents] == sent  # it concerns no Service
        for number in range(5):  # the first of a burst is told at once, the rest together
            await put(meshd, pod(f"p{number}", f"10.244.9.1{number}", node="unheard"))
        await asyncio.sleep(0.01)
        assert [len(agent.pieces) for agent in agents] == [before + 1 for before in sent]
        await asyncio.sleep(0.2)
        for agent, before in zip(agents, sent, strict=True):
            pieces = agent.pieces[before:]
            assert len(pieces) == 2
            assert all({s.name for s in piece.services} == {"web", "other"} and piece.base for piece in pieces)
            assert len(agent.table["default/web"].endpoints) == 6


@bent
async def test_a_proxy_that_is_new_or_refuses_gets_everything() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await served(meshd, agent)
        await put(meshd, addressed())
        await asyncio.sleep(0.2)
        agent.proxied("another")
        await asyncio.sleep(0.2)
        assert agent.pieces[-1].base == ""
        assert "default/web" in agent.table
        agent.route = "something that nobody knows"  # and a difference to what it held is refused
        await put(meshd, service("other"))
        await asyncio.sleep(1)
        assert (agent.pieces[-1].base, agent.error) == ("", "")
        assert set(agent.table) == {"default/web", "default/other"}


@bent
async def test_a_table_that_is_not_acknowledged_is_sent_again_whole() -> None:
    agent = HollowAgent("a")
    async with meshd_with(agent) as meshd:
        await served(meshd, agent)
        agent.deaf = True
        await put(meshd, addressed())
        await asyncio.sleep(1)
        sent = len(agent.pieces)
        agent.deaf = False
        await asyncio.sleep(3)
        assert len(agent.pieces) == sent  # not yet
        await asyncio.sleep(3)
        assert (len(agent.pieces), agent.pieces[-1].base) == (sent + 1, "")
        assert "default/web" in agent.table
        await asyncio.sleep(100)
        assert len(agent.pieces) == sent + 1


@bent
async def test_a_pod_is_held_until_every_proxy_has_left_it_and_its_connections_have_finished() -> None:
    agents = one, two, three = [HollowAgent(name) for name in "abc"]
    web = pod("web", "10.244.0.5", node="a")
    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        await put(meshd, addressed(), web)
        await asyncio.sleep(0.2)
        two.deaf = True
        for agent in agents:
            agent.carries("uid-web")  # as soon as it serves no more
        one.lingers = True
        await put(meshd, leaving(meshd.feed.view.pod("default", "web") or web))
        await asyncio.sleep(1)
        assert holds(one) == {"uid-web": "proxies"}
        assert not holds(two)  # it is nobody else's business
        two.deaf = False
        two._apply(two.pieces[-1])
        await asyncio.sleep(0.2)
        assert holds(one) == {"uid-web": "connections"}
        for agent in (one, two):
            agent.carries()
        await asyncio.sleep(0.2)
        assert holds(one) == {"uid-web": "connections"}  # the third host's are not finished
        three.carries()
        await asyncio.sleep(0.2)
        assert holds(one) == {}
        three.carries("uid-web")
        await asyncio.sleep(0.2)
        assert holds(one) == {}  # what is let go is never held again


async def _held(change: Callable[[Pod], None], *, serves: bool = True, grace: int = 30) -> dict[str, str]:
    """Who is held right after a pod was deleted, with the proxy of the other host not following."""
    agents = one, two = [HollowAgent(name) for name in "ab"]
    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        web = pod("web", "10.244.0.5", node="a")
        change(web)
        await put(meshd, web, *([addressed()] if serves else []))
        await asyncio.sleep(0.2)
        two.deaf = True
        one.lingers = True
        await put(meshd, leaving(meshd.feed.view.pod("default", "web") or web, grace))
        await asyncio.sleep(1)
        return holds(one)


@bent
async def test_who_is_held_and_who_is_not() -> None:
    assert await _held(lambda _pod: None) == {"uid-web": "proxies"}
    assert await _held(lambda _pod: None, serves=False) == {}  # no Service sends it anything
    assert await _held(lambda _pod: None, grace=1) == {}  # --now
    assert await _held(lambda p: p.metadata.annotations.update({"mesh/drain-seconds": "0"})) == {}


@bent
async def test_a_host_that_is_lost_is_not_waited_for() -> None:
    agents = one, two = [HollowAgent(name) for name in "ab"]
    web = pod("web", "10.244.0.5", node="a")
    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        await put(meshd, addressed(), web)
        await asyncio.sleep(0.2)
        one.lingers = True
        two.away = True
        await put(meshd, leaving(meshd.feed.view.pod("default", "web") or web))
        await asyncio.sleep(1)
        assert holds(one) == {"uid-web": "proxies"}
        await until(meshd, lambda: ready(meshd, "b") == "Unknown")
        await asyncio.sleep(0.2)
        assert holds(one) == {}


@bent
async def test_hosts_are_told_of_each_other_and_of_services_that_their_pods_may_use() -> None:
    agents = one, two = [HollowAgent(name) for name in "ab"]
    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        await put(meshd, pod("p", "10.244.0.5", node="a"), addressed(), service("headless"))
        await asyncio.sleep(0.2)
        told = one.assignments[-1]
        assert (told.service_cidr, told.dns_address, told.cluster_domain) == (
            "10.96.0.0/16",
            "10.96.0.10",
            "cluster.local",
        )
        assert [link.name for link in told.service_links] == ["web"]
        assert not two.assignments[-1].service_links
        assert [n.node for n in told.neighbours] == ["b"]
        assert [n.node for n in two.assignments[-1].neighbours] == ["a"]
        orders = len(one.assignments)
        await put(meshd, pod("q", "10.244.1.5", node="b"))
        await asyncio.sleep(0.2)
        assert len(one.assignments) == orders  # endpoints are no matter of the pods' environment


@bent
async def test_how_long_a_change_takes_is_told_once_the_last_proxy_serves_it() -> None:
    agents = one, two = [HollowAgent(name) for name in "ab"]

    def told(meshd: Meshd) -> tuple[int, float]:
        page = Page()
        meshd.tally.show(page)
        figures = parse(page.render().decode())
        name = PROGRAMMED.name
        return int(figures.of(f"{name}_count") or 0), figures.of(f"{name}_sum") or 0.0

    async with meshd_with(*agents) as meshd:
        await served(meshd, *agents)
        await put(meshd, addressed())
        await asyncio.sleep(0.2)
        count, seconds = told(meshd)
        assert count >= 1
        two.deaf = True
        await put(meshd, service("other"))
        await asyncio.sleep(3)
        assert told(meshd) == (count, seconds)  # one has it, the other has not
        two.deaf = False
        two._apply(two.pieces[-1])
        await asyncio.sleep(0.2)
        assert told(meshd)[0] == count + 1
        assert 3 <= told(meshd)[1] - seconds < 3.5
        assert "default/other" in one.table
