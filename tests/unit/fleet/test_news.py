"""Whom a change concerns: of thousands of changes a host is told of a few."""

from mesh.access.revoked import LIST as REVOKED
from mesh.fleet.needs import HostsOf, hosts_of
from mesh.fleet.news import News
from mesh.fleet.registration import free_range
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Event, Snapshot
from mesh.v1.core_pb2 import Node, Pod, Secret
from mesh.v1.net_pb2 import Service
from mesh.view import View
from tests.harness import objects


def node(name: str, address: str = "", cidr: str = "", ready: str = "True") -> Node:
    made = Node()
    made.metadata.name = name
    made.spec.pod_cidr = cidr
    if address:
        made.status.addresses.add(type="InternalIP", address=address)
    made.status.conditions.add(type="Ready", status=ready)
    return made


def told(obj: Object | None, previous: Object | None = None, key: Key | None = None) -> list[str]:
    """The hosts, of three, that hear of it."""
    heard: list[str] = []
    feed = Feed(MemoryStore())
    news = News(feed)
    for name in "abc":
        news.follow(name, lambda _, name=name: heard.append(name))  # type: ignore[misc]
    of = obj if obj is not None else previous
    assert of is not None or key is not None
    feed._tell([Event(1, key or key_of(of), obj, previous)])  # type: ignore[arg-type] # one of them is there
    return heard


def test_a_change_is_told_to_whom_it_concerns() -> None:
    assert told(objects.pod("p", node_name="b")) == ["b"]
    assert told(objects.pod("p")) == []
    assert told(objects.pod("p", node_name="b"), objects.pod("p")) == ["b"]
    assert told(None, objects.pod("p", node_name="c")) == ["c"]
    here = node("a", "10.0.0.1", "10.244.0.0/24")
    assert told(node("a", "10.0.0.1", "10.244.0.0/24", "False"), here) == ["a"]
    assert told(node("a", "10.0.0.2", "10.244.0.0/24"), here) == ["a", "b", "c"]  # their way to its pods
    assert told(None, here) == ["a", "b", "c"]
    service = Service()
    service.metadata.name, service.metadata.namespace = "s", "default"
    assert told(service) == told(None, None, REVOKED) == ["a", "b", "c"]
    assert told(objects.namespace("n")) == told(objects.config_map("c")) == []


def test_a_config_map_and_a_secret_are_told_to_hosts_whose_pods_refer_to_them() -> None:
    def using(name: str, host: str, config: str, namespace: str = "default") -> Pod:
        pod = objects.pod(name, node_name=host)
        pod.metadata.namespace = namespace
        pod.spec.containers[0].env_from.add().config_map_ref.name = config
        pod.spec.volumes.add(name="v").secret.secret_name = "s"
        return pod

    def heard(obj: Object) -> list[str]:
        names.clear()
        happens(obj)
        return sorted(names)

    def happens(obj: Object | None, previous: Object | None = None) -> None:
        of = obj if obj is not None else previous
        assert of is not None
        feed._tell([Event(1, key_of(of), obj, previous)])

    feed = Feed(MemoryStore())
    serving = node("d")
    serving.metadata.labels["mesh/ingress"] = "true"
    serving.metadata.resource_version = "1"
    first = using("first", "a", "c")
    first.metadata.resource_version = "1"
    feed.view.replace(Snapshot(1, [first, serving]))  # there before
    news, names = News(feed), list[str]()
    for name in "abcd":
        news.follow(name, lambda _, name=name: names.append(name))  # type: ignore[misc]
    config, secret = objects.config_map("c"), Secret()
    secret.metadata.name, secret.metadata.namespace = "s", "default"
    assert heard(config) == ["a"]
    assert heard(secret) == ["a", "d"]  # Ingresses refer to Secrets too
    second, third, other = using("second", "a", "c"), using("third", "b", "c"), using("other", "c", "c", "elsewhere")
    for pod in (second, third, other):
        happens(pod)
    assert heard(config) == ["a", "b"]
    happens(None, first)
    assert heard(config) == ["a", "b"]  # the second is still there
    happens(None, second)
    assert heard(config) == ["b"]
    changed = using("third", "b", "another")
    happens(changed, third)
    assert (heard(config), heard(secret)) == ([], ["b", "d"])


def test_hosts_that_join_at_once_are_not_told_of_each_other_one_by_one() -> None:
    feed = Feed(MemoryStore())
    news, heard = News(feed), dict[str, list[str]]()
    for name in "abc":
        news.follow(name, lambda events, name=name: heard.update({name: [e.key.name for e in events]}))  # type: ignore[misc]
    joined = [node(name, f"10.0.0.{number}", f"10.244.{number}.0/24") for number, name in enumerate("abz")]
    feed._tell([Event(number + 1, key_of(made), made, None) for number, made in enumerate(joined)])
    assert heard == {"a": ["a", "z"], "b": ["b", "z"], "c": ["z"]}  # its own, and one of the others


def test_who_has_left_hears_nothing_and_his_successor_does() -> None:
    feed = Feed(MemoryStore())
    news, heard = News(feed), list[str]()
    leave = news.follow("a", lambda _: heard.append("old"))
    news.follow("a", lambda _: heard.append("new"))
    leave()
    pod = objects.pod("p", node_name="a")
    feed._tell([Event(1, key_of(pod), pod, None)])
    assert heard == ["new"]


def test_hosts_are_those_that_can_be_reached() -> None:
    there = node("a", "10.0.0.1", "10.244.0.0/24")
    silent = node("b", "", "10.244.1.0/24")
    moved = node("a", "10.0.0.9", "10.244.0.0/24")
    for made in (there, silent, moved):
        made.metadata.resource_version = "1"
    found = hosts_of(View(Snapshot(1, [there, silent])))
    assert [(n.node, n.address, n.pod_cidr) for n in found.told.neighbours] == [("a", "10.0.0.1", "10.244.0.0/24")]
    assert found.places == {"a": 0}
    assert len({found.digest, hosts_of(View(Snapshot(1, [moved, silent]))).digest, HostsOf().digest}) == 3


def test_the_lowest_free_range() -> None:
    assert free_range("10.0.0.0/16", 24, []) == "10.0.0.0/24"
    assert free_range("10.0.0.0/16", 24, ["10.0.0.0/24", "10.0.2.0/24", ""]) == "10.0.1.0/24"
    assert free_range("10.0.0.0/16", 24, ["10.0.0.128/25", "10.0.1.0/26"]) == "10.0.2.0/24"
    assert free_range("10.0.0.0/16", 26, ["10.0.0.0/24"]) == "10.0.1.0/26"
    assert free_range("10.0.0.0/16", 24, ["192.168.0.0/24"]) == "10.0.0.0/24"
