"""Secrets leave meshd for a host whose key its certificate vouches for, in boxes, under a bound; orders are signed."""

from dataclasses import replace
from pathlib import Path

import pytest

from mesh import pki
from mesh.errors import Conflict, Forbidden
from mesh.fleet.entrusting import Entrusting
from mesh.fleet.needs import Entrusted, digest_of, needs_of, refers
from mesh.model.kinds import Object
from mesh.sessions import Trust
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Node, Pod, Secret
from mesh.v1.node_pb2 import Assignment, Observed
from mesh.view import View
from nodeagent.identity import Identity
from nodeagent.secrets import Held
from nodeagent.volumes.vault import Vault
from tests.harness import objects

NOW = 1_800_000_000
CLUSTER = "10.244.0.0/16"
CA = pki.make_ca("mesh", NOW)
MESHD = pki.issue(CA, pki.server("meshd", ()), NOW)
TRUST = Trust(lambda: CA.certificate, lambda: MESHD)
CANARY = b"the-canary-sings"


def node(name: str) -> Node:
    made = Node()
    made.metadata.name, made.spec.pod_cidr = name, "10.244.0.0/24"
    return made


def secret(name: str, value: bytes = CANARY, revision: str = "5", namespace: str = "default") -> Secret:
    made = Secret(type="Opaque", data={"key": value})
    made.metadata.name, made.metadata.namespace = name, namespace
    made.metadata.uid, made.metadata.resource_version = f"uid-{name}", revision
    return made


def pod(name: str, host: str, *wanted: str, at: int = 0) -> Pod:
    made = objects.pod(name, node_name=host)
    made.metadata.uid, made.metadata.generation = f"uid-{name}", 1
    made.metadata.creation_timestamp.seconds = at
    for number, each in enumerate(wanted):
        made.spec.volumes.add(name=f"v{number}").secret.secret_name = each
    return made


def view_of(*objs: Object) -> View:
    return View(Snapshot(7, list(objs)))


class Host:
    """A host with a certificate, and its agent's vault."""

    def __init__(self, root: Path, name: str = "a", certificate: pki.Pair | None = None) -> None:
        self.vault = Vault(name)
        self.identity = Identity(name, root / "agent.crt", root / "agent.key", root / "ca.crt")
        root.mkdir(exist_ok=True)
        pair = certificate or pki.issue(CA, pki.node(name), NOW)
        for path, text in (
            (self.identity.certificate, pair.certificate), (self.identity.key, pair.key),
            (self.identity.ca, CA.certificate),
        ):  # fmt: skip
            path.write_bytes(text)

    def announce(self, link: Entrusting, boot: str = "one") -> bool:
        key = self.identity.announce(boot, link.nonce, self.vault.public)
        return link.hear(Observed(node=self.identity.node, boot=boot, key=key))


def link(trust: Trust | None = TRUST, budget: int = 1 << 20) -> Entrusting:
    return Entrusting("a", trust, lambda: NOW * 1_000_000_000, budget)


def wanted(view: View, entrusted: Entrusted) -> Assignment:
    made = needs_of("a", view, CLUSTER, 1, entrusted)
    assert made is not None
    return made


async def test_a_secret_travels_sealed_and_opens_in_the_vault_of_its_host_alone(tmp_path: Path) -> None:
    view = view_of(node("a"), pod("web", "a", "s"), secret("s"))
    to, host = link(), Host(tmp_path / "a")
    assert host.announce(to)
    order = await to.order(wanted(view, to.state), view)
    assert CANARY not in order.SerializeToString()
    taken = host.identity.order(order, NOW)
    host.vault.take(taken.sealed_secrets)
    assert host.vault.open("default", {"s": Held("uid-s", "5")}).data == {"s": {"key": CANARY}}
    thief = Vault("a")
    with pytest.raises(Conflict):  # a replay to another process of the same host
        thief.take(taken.sealed_secrets)
    for entry in taken.sealed_secrets:
        entry.key_id = thief.public.id
    thief.take(taken.sealed_secrets)
    assert "can't be opened" in thief.open("default", {"s": Held("uid-s", "5")}).why("s")


async def test_a_box_shown_as_another_object_or_revision_does_not_open(tmp_path: Path) -> None:
    view = view_of(node("a"), pod("web", "a", "s"), secret("s"))
    to, host = link(), Host(tmp_path / "a")
    host.announce(to)
    taken = host.identity.order(await to.order(wanted(view, to.state), view), NOW)
    entry = taken.sealed_secrets[0]
    for field, value in (("name", "other"), ("namespace", "kube-system"), ("uid", "uid-2"), ("revision", "6")):
        shown = type(entry)()
        shown.CopyFrom(entry)
        setattr(shown, field, value)
        host.vault.take([shown])
        opened = host.vault.open(shown.namespace, {shown.name: Held(shown.uid, shown.revision)})
        assert not opened.data, field
        assert "can't be opened" in opened.why(shown.name)


async def test_what_a_host_has_taken_travels_once_and_again_to_a_new_agent(tmp_path: Path) -> None:
    view = view_of(node("a"), pod("web", "a", "s", "t"), secret("s"), secret("t"))
    to, host = link(), Host(tmp_path / "a")
    host.announce(to)
    first = wanted(view, to.state)
    host.vault.take(host.identity.order(await to.order(first, view), NOW).sealed_secrets)
    to.took(first)
    changed = view_of(node("a"), pod("web", "a", "s", "t"), secret("s"), secret("t", b"new", "6"))
    order = host.identity.order(await to.order(wanted(changed, to.state), changed), NOW)
    assert [(s.name, bool(s.box)) for s in order.sealed_secrets] == [("s", False), ("t", True)]
    host.vault.take(order.sealed_secrets)
    refs = {"s": Held("uid-s", "5"), "t": Held("uid-t", "6")}
    assert host.vault.open("default", refs).data == {"s": {"key": CANARY}, "t": {"key": b"new"}}
    anew = Host(tmp_path / "a")
    with pytest.raises(Conflict):
        anew.vault.take(order.sealed_secrets)
    before = digest_of("a", changed, CLUSTER, to.state)
    assert anew.announce(to, "two")
    assert digest_of("a", changed, CLUSTER, to.state) != before
    order = anew.identity.order(await to.order(wanted(changed, to.state), changed), NOW)
    assert all(s.box for s in order.sealed_secrets)
    anew.vault.take(order.sealed_secrets)


async def test_a_refusal_makes_every_box_travel_again(tmp_path: Path) -> None:
    view = view_of(node("a"), pod("web", "a", "s"), secret("s"))
    to, host = link(), Host(tmp_path / "a")
    host.announce(to)
    order = wanted(view, to.state)
    await to.order(order, view)
    to.took(order)
    assert not (await unsigned(to, host, view)).sealed_secrets[0].box
    to.refused()
    assert (await unsigned(to, host, view)).sealed_secrets[0].box


async def unsigned(to: Entrusting, host: Host, view: View) -> Assignment:
    return host.identity.order(await to.order(wanted(view, to.state), view), NOW)


def test_the_last_pod_takes_its_secret_along(tmp_path: Path) -> None:
    host = Host(tmp_path / "a")
    refs = {"s": Held("uid-s", "5")}
    host.vault.take([])
    assert host.vault.open("default", refs).why("s") == 'secret "s" is not in memory'
    view = view_of(node("a"), pod("web", "a", "s"), secret("s"))
    done = pod("web", "a", "s")
    done.status.phase = "Succeeded"
    key = Entrusted("k", "")
    assert [s.name for s in wanted(view, key).sealed_secrets] == ["s"]
    for without in (view_of(node("a"), secret("s")), view_of(node("a"), done, secret("s"))):
        assert not wanted(without, key).sealed_secrets


def test_a_host_gets_what_its_pods_refer_to_and_nothing_else() -> None:  # V12
    everything = pod("web", "a", "volume")
    main = everything.spec.containers[0]
    main.env.add(name="E").value_from.secret_key_ref.name = "env"
    main.env_from.add().secret_ref.name = "all"
    everything.spec.volumes.add(name="p").projected.sources.add().secret.name = "projected"
    everything.spec.image_pull_secrets.add(name="pull")
    names = ["volume", "env", "all", "projected", "pull"]
    others = [secret("stray"), secret("volume", namespace="other"), pod("db", "b", "stray")]
    view = view_of(node("a"), node("b"), everything, *map(secret, names), *others)
    order = wanted(view, Entrusted("k", ""))
    assert sorted(s.name for s in order.sealed_secrets) == sorted(names)
    assert {s.namespace for s in order.sealed_secrets} == {"default"}
    assert all(refers("a", view, secret(name)) for name in names)
    assert not refers("a", view, secret("stray"))
    assert not refers("a", view, secret("volume", namespace="other"))


def test_the_digest_follows_revision_and_key_and_not_the_value() -> None:
    key = Entrusted("k", "")
    held = [node("a"), pod("web", "a", "s")]
    digest = digest_of("a", view_of(*held, secret("s")), CLUSTER, key)
    assert digest == wanted(view_of(*held, secret("s")), key).digest
    assert digest == digest_of("a", view_of(*held, secret("s", b"guess")), CLUSTER, key)
    assert digest != digest_of("a", view_of(*held, secret("s", revision="6")), CLUSTER, key)
    assert digest != digest_of("a", view_of(*held, secret("s")), CLUSTER, Entrusted("k2", ""))
    assert digest != digest_of("a", view_of(*held, secret("s")), CLUSTER, Entrusted("", "no key"))
    assert digest != digest_of("a", view_of(*held), CLUSTER, key)


def test_beyond_the_budget_later_pods_are_told_why_they_wait() -> None:
    big = b"x" * 100
    view = view_of(
        node("a"), pod("late", "a", "b", at=2), pod("early", "a", "c", "a", at=1),
        secret("a", big), secret("b", big), secret("c", big),
    )  # fmt: skip
    order = wanted(view, Entrusted("k", "", 250))
    assert [s.name for s in order.sealed_secrets] == ["a", "c"]
    assert [(w.name, "250 bytes" in w.reason) for w in order.withheld_secrets] == [("b", True)]
    assert digest_of("a", view, CLUSTER, Entrusted("k", "", 300)) != order.digest


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (pki.issue(CA, pki.node("b"), NOW), "not the host"),
        (pki.issue(pki.make_ca("mesh", NOW), pki.node("a"), NOW), "not of this mesh's authority"),
        (pki.issue(CA, pki.node("a"), NOW - 9 * pki.DAY, days=1), "expired"),
        (pki.issue(CA, pki.user("a"), NOW), "not the host"),
    ],
)
def test_who_is_not_the_host_is_given_no_secret(tmp_path: Path, certificate: pki.Pair, why: str) -> None:
    to, thief = link(), Host(tmp_path / "thief", certificate=certificate)
    thief.announce(to)
    assert not to.state.key_id
    order = wanted(view_of(node("a"), pod("web", "a", "s"), secret("s")), to.state)
    assert not order.sealed_secrets
    assert why in order.withheld_secrets[0].reason


def test_an_announcement_for_another_nonce_or_boot_does_not_count(tmp_path: Path) -> None:
    to, host = link(), Host(tmp_path / "a")
    replayed = host.identity.announce("one", link().nonce, host.vault.public)
    to.hear(Observed(node="a", boot="one", key=replayed))
    assert not to.state.key_id
    mine = host.identity.announce("one", to.nonce, host.vault.public)
    to.hear(Observed(node="a", boot="two", key=mine))
    assert not to.state.key_id
    assert host.announce(to)
    assert to.state.key_id == host.vault.public.id
    assert to.hear(Observed(node="a", boot="three"))  # another agent, which has said nothing of a key
    assert not to.state.key_id


def test_a_host_without_a_certificate_is_told_so(tmp_path: Path) -> None:
    to, host = link(), Host(tmp_path / "a")
    host.identity.certificate.unlink()
    host.announce(to)
    assert "no certificate of the mesh" in to.state.why


async def test_a_host_that_knows_the_authority_takes_signed_orders_for_itself_alone(tmp_path: Path) -> None:
    view = view_of(node("a"), pod("web", "a"))
    to, host = link(), Host(tmp_path / "a")
    order = await to.order(wanted(view, to.state), view)
    assert host.identity.order(order, NOW).pods[0].metadata.name == "web"
    with pytest.raises(Forbidden, match="not signed"):
        host.identity.order(wanted(view, to.state), NOW)
    with pytest.raises(Forbidden, match="was signed for a"):
        Host(tmp_path / "b", "b").identity.order(order, NOW)
    forged = Assignment()
    forged.CopyFrom(order)
    forged.signed.assignment = order.signed.assignment + b"\x0a\x01a"
    with pytest.raises(Forbidden):
        host.identity.order(forged, NOW)
    rogue = replace(TRUST, own=lambda: pki.issue(CA, pki.node("meshd"), NOW))
    with pytest.raises(Forbidden):
        host.identity.order(await link(rogue).order(wanted(view, to.state), view), NOW)
