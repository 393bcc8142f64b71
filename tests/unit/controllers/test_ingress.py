"""Statuses of Ingresses and words to those that lost something; what a host is given to serve them."""

from collections.abc import Sequence

from mesh.controllers.ingress import Ingresses
from mesh.fleet.needs import Entrusted, needs_of, refers
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.store.port import Event, Snapshot, Write
from mesh.v1.core_pb2 import Event as Told
from mesh.v1.core_pb2 import Node, Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Ingress, IngressClass, IngressClassSpec
from mesh.view import View
from tests.harness.objects import namespace
from tests.harness.services import node, service

NOW = 1_770_000_000 * 10**9
ALL = Key("Ingresses", "", "all")


def a_host(name: str, ready: str = "True", label: str = "true") -> Node:
    made = node(name, ready)
    made.metadata.labels["mesh/ingress"] = label
    made.spec.pod_cidr = "10.99.0.0/24"
    made.status.addresses.add(type="InternalIP", address=f"10.0.0.{name[-1]}")
    return made


def ingress(name: str, created: int = 1, host: str = "foo.test", secret: str = "", class_: str = "") -> Ingress:
    made = Ingress(metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", resource_version="1"))
    made.metadata.creation_timestamp.seconds = created
    path = made.spec.rules.add(host=host).http.paths.add(path="/", path_type="Prefix")
    path.backend.service.name, path.backend.service.port.number = "web", 80
    if secret:
        made.spec.tls.add(hosts=[host], secret_name=secret)
    if class_:
        made.spec.ingress_class_name = class_
    return made


def secret(name: str, space: str = "default", **data: bytes) -> Secret:
    meta = ObjectMeta(name=name, namespace=space, uid=f"uid-{name}", resource_version="5")
    return Secret(metadata=meta, data=data or {"tls.crt": b"c", "tls.key": b"k"})


def view_of(*objects: Object) -> View:
    return View(Snapshot(9, [namespace("default"), *objects]))


def carried_out(view: View) -> Sequence[Write]:
    writes = Ingresses().reconcile(ALL, view, NOW).writes
    view.apply([Event(view.revision + 1, w.key, w.object, view.get(w.key)) for w in writes])
    return writes


def status(view: View, name: str) -> list[str]:
    found = view.get(Key("Ingress", "default", name))
    assert isinstance(found, Ingress)
    return [i.ip for i in found.status.load_balancer.ingress]


def words(view: View) -> dict[str, str]:
    return {f"{e.involved_object.name} {e.reason}": e.message for e in view.of_kind("Event") if isinstance(e, Told)}


def test_its_address_is_that_of_every_labelled_host_that_is_ready() -> None:
    hosts = [a_host("h1"), a_host("h2"), a_host("h3", ready="False"), a_host("h4", label="false"), node("h5")]
    view = view_of(*hosts, service(), ingress("a"))
    carried_out(view)
    assert status(view, "a") == ["10.0.0.1", "10.0.0.2"]
    assert carried_out(view) == []
    view.apply([Event(20, key_of(hosts[1]), a_host("h2", ready="Unknown"), hosts[1])])
    carried_out(view)
    assert status(view, "a") == ["10.0.0.1"]


def test_the_status_of_another_engines_ingress_is_its_own() -> None:
    theirs = ingress("a", class_="theirs")
    theirs.status.load_balancer.ingress.add(ip="10.1.1.1")
    other = IngressClass(metadata=ObjectMeta(name="theirs"), spec=IngressClassSpec(controller="example.com/x"))
    view = view_of(a_host("h1"), other, theirs)
    assert carried_out(view) == []


def test_the_loser_is_told_once_what_it_lost_to_whom() -> None:
    view = view_of(a_host("h1"), service(), ingress("a", created=5), ingress("b", created=3))
    carried_out(view)
    assert words(view) == {"a IngressConflict": "foo.test/ (Prefix) is that of default/b, which is older"}
    assert carried_out(view) == []


def test_what_is_missing_is_told() -> None:
    view = view_of(a_host("h1"), ingress("a", secret="shop"))
    carried_out(view)
    assert words(view) == {"a IngressIncomplete": 'there is no Service "web"; there is no Secret "shop"'}


def test_a_host_is_given_the_secrets_that_serving_takes_and_no_other_host_is() -> None:
    default = secret("ingress-default-certificate", "kube-system")
    unlabelled = a_host("h2", label="false")
    view = view_of(
        a_host("h1"), unlabelled, service(), ingress("a", secret="shop"), secret("shop"), secret("x"), default
    )
    entrusted = Entrusted("key", "", 1000)
    given = {}
    for name in ("h1", "h2"):
        told = needs_of(name, view, "10.99.0.0/16", 1, entrusted)
        assert told is not None
        given[name] = [s.name for s in told.sealed_secrets], list(told.ingress_secrets)
    wanted = ["default/shop", "kube-system/ingress-default-certificate"]
    assert given == {"h1": (["shop", "ingress-default-certificate"], wanted), "h2": ([], [])}
    assert (refers("h1", view, secret("shop")), refers("h2", view, secret("shop"))) == (True, False)
    assert not refers("h1", view, secret("x"))
