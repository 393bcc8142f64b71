"""The table of Services: what an event makes new, digests, and the way from what a host holds."""

import pytest

from mesh.model.kinds import Object, key_of
from mesh.network import table as module
from mesh.network.table import PIECE, Table
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Ingress, Service
from mesh.v1.node_pb2 import Fence, ProxyService, ServiceTable
from mesh.view import View
from tests.harness.services import given_up, node, pod, service


class World:
    """A view and its table, moved on by objects."""

    def __init__(self, *objects: Object) -> None:
        self.view = View()
        self._revision = 0
        self._store(objects)
        self.table = Table(self.view)

    def put(self, *objects: Object) -> bool:
        return self.table.note(self._store(objects))

    def remove(self, obj: Object) -> bool:
        self._revision += 1
        events = [Event(self._revision, key_of(obj), None, self.view.get(key_of(obj)))]
        self.view.apply(events)
        return self.table.note(events)

    def _store(self, objects: tuple[Object, ...]) -> list[Event]:
        self._revision += 1
        events = [Event(self._revision, key_of(o), o, self.view.get(key_of(o))) for o in objects]
        self.view.apply(events)
        return events


def follow(held: dict[str, ProxyService], pieces: list[ServiceTable]) -> dict[str, ProxyService]:
    """What a proxy holds after these pieces."""
    assert [p.piece for p in pieces] == list(range(len(pieces)))
    assert [p.last for p in pieces] == [False] * (len(pieces) - 1) + [True]
    after = dict(held) if pieces[0].base else {}
    for piece in pieces:
        after |= {f"{s.namespace}/{s.name}": s for s in piece.services}
        for gone in piece.gone:
            del after[gone]
    return after


def unready(of: Pod) -> Pod:
    changed = Pod.FromString(of.SerializeToString())
    changed.status.conditions[0].status = "False"
    return changed


def test_only_what_an_event_concerns_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    db = service("db")
    db.spec.selector["app"] = "db"
    one = pod("one", "10.0.0.1")
    world = World(service(), db, one, pod("two", "10.0.0.2"), pod("d", "10.0.0.3", app="db"))
    before = world.table.version
    computed: list[str] = []
    real = module.proxy_service

    def counting(svc: Service, view: View) -> ProxyService:
        computed.append(svc.metadata.name)
        return real(svc, view)

    monkeypatch.setattr(module, "proxy_service", counting)
    assert world.put(unready(one))
    after = world.table.version
    assert computed == ["web"]
    assert {n for n in after.services if after.services[n] != before.services[n]} == {"default/web"}
    assert not world.put(pod("stranger", "10.0.0.9", app="none"))
    same = unready(one)
    same.status.message = "tells nothing new"
    assert not world.put(same)


def test_the_table_after_a_difference_is_the_table_made_anew() -> None:
    one = pod("one", "10.0.0.1")
    world = World(service(), one, service("old"))
    held = follow({}, world.table.pieces("", Fence()))
    digest = world.table.version.digest
    world.put(unready(one), service("new"))
    world.remove(service("old"))
    pieces = world.table.pieces(digest, Fence(epoch=1, revision=9))
    assert {s.name for p in pieces for s in p.services} == {"web", "new"}
    assert pieces[0].base == digest
    after = follow(held, pieces)
    fresh = Table(world.view)
    assert after == follow({}, fresh.pieces("", Fence()))
    assert pieces[0].digest == fresh.version.digest == world.table.version.digest


def test_labels_and_deletions_of_pods_and_services() -> None:
    moved = pod("one", "10.0.0.1")
    world = World(service(), moved)
    found = world.table.service("default/web")
    assert found is not None
    assert [e.pod for e in found.endpoints] == ["default/one"]
    away = Pod.FromString(moved.SerializeToString())
    away.metadata.labels["app"] = "db"
    world.put(away)
    found = world.table.service("default/web")
    assert found is not None
    assert not found.endpoints
    world.put(moved)
    world.remove(moved)
    found = world.table.service("default/web")
    assert found is not None
    assert not found.endpoints
    world.remove(service())
    assert world.table.service("default/web") is None
    assert not world.table.version.services


def test_an_unknown_digest_gets_everything() -> None:
    world = World(service(), service("b"))
    (piece,) = world.table.pieces("of another life", Fence(epoch=3, revision=4))
    assert (piece.base, len(piece.services), piece.last) == ("", 2, True)
    assert (piece.fence.epoch, piece.fence.revision) == (3, 4)
    (nothing,) = Table(View()).pieces("", Fence())
    assert nothing.digest
    assert (nothing.last, list(nothing.services)) == (True, [])


def test_pieces_are_below_what_a_message_may_be() -> None:
    pods = [pod(f"pod-{n}", f"10.0.{n // 250}.{n % 250}") for n in range(300)]
    world = World(*pods, *(service(f"s{n}") for n in range(20)))
    pieces = world.table.pieces("", Fence())
    assert len(pieces) > 1
    assert all(p.ByteSize() < PIECE + 10_000 for p in pieces)
    assert len(follow({}, pieces)) == 20


def test_a_pod_that_is_deleted_leaves_at_a_state_of_the_table() -> None:
    one = pod("one", "10.0.0.1")
    world = World(service(), one)
    before = world.table.version
    assert world.table.left_at("uid-one") is None
    leaving = Pod.FromString(one.SerializeToString())
    leaving.metadata.deletion_timestamp.seconds = 9
    world.put(leaving)
    left = world.table.left_at("uid-one")
    assert left is not None
    assert world.table.number_of(before.digest) < left <= world.table.number_of(world.table.version.digest)
    assert world.table.number_of("never") == 0
    world.remove(leaving)
    assert world.table.left_at("uid-one") is None


def test_a_silent_host_takes_its_pods_out_of_the_table() -> None:
    world = World(node("a"), node("b"), service(), pod("one", "10.0.0.1", node="a"), pod("two", "10.0.0.2", node="b"))
    world.put(node("a", "Unknown"))
    assert world.put(given_up("a"))
    found = world.table.service("default/web")
    assert found is not None
    assert [e.ready for e in found.endpoints] == [False, True]
    heartbeat = node("b")
    heartbeat.status.conditions[0].last_heartbeat_time.seconds = 99
    assert not world.put(heartbeat)


def test_load_balancers_are_announced_by_a_host_that_lives() -> None:
    balanced = service("lb", type="LoadBalancer")
    balanced.status.load_balancer.ingress.add(ip="10.77.0.200")
    world = World(*(node(n) for n in "abc"), balanced)
    first = world.table.service("default/lb")
    assert first is not None
    assert first.announcer in "abc"
    bystander = next(n for n in "abc" if n != first.announcer)
    world.put(node(bystander, "Unknown"))
    held = world.table.service("default/lb")
    assert held is not None
    assert held.announcer == first.announcer  # it moves for nobody else
    world.put(node(first.announcer, "Unknown"))
    moved = world.table.service("default/lb")
    assert moved is not None
    assert moved.announcer not in ("", first.announcer, bystander)


def test_a_reserved_address_of_an_ingress_is_announced_by_a_labelled_host_that_lives() -> None:
    hosts = {name: node(name) for name in "abcd"}
    for name in "abc":
        hosts[name].metadata.labels["mesh/ingress"] = "true"
    meta = ObjectMeta(name="web", namespace="default", annotations={"mesh/address-reservation": "front"})
    reserving = Ingress(metadata=meta)
    reserving.status.load_balancer.ingress.add(ip="10.77.0.200")
    world = World(*hosts.values(), reserving)

    def announcer() -> str:
        found = world.table.service("default/ingress:web")
        assert found is not None
        assert list(found.load_balancer_ips) == ["10.77.0.200"]
        return found.announcer

    def silent(name: str) -> Node:
        made = node(name, "Unknown")
        made.metadata.labels["mesh/ingress"] = "true"
        return made

    met = [announcer()]
    for _ in range(2):
        assert met[-1] in "abc"
        assert world.put(silent(met[-1]))
        met.append(announcer())
    assert sorted(met) == ["a", "b", "c"]
    assert world.put(silent(met[-1]))
    assert announcer() == ""  # never a host that has no HAProxy


def test_digests_say_what_differs() -> None:
    plain = World(service()).table.version.digest
    assert World(service()).table.version.digest == plain
    tuned = service()
    tuned.metadata.annotations["mesh/balance"] = "round-robin"
    assert World(tuned).table.version.digest != plain
    named = Service(metadata=ObjectMeta(name="web", namespace="default"))
    assert World(named).table.version.digest != plain
