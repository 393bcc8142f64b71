"""What a host needs: its pods as they should be, with the digest by which it says what it holds.

Rule: pure; only what this host must run is in it, and never a status. A pod that has ended stays in until it is
deleted: its host keeps its logs, and remembers that it has ended. Of ConfigMaps a host gets those alone that its pods
refer to, until they end (V12): a change of any other one costs it nothing. So with Secrets, which are named here and
sealed by the link (`entrust`): no plain text is ever in an Assignment. What a host may hold of them is bounded.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.access import accounts
from mesh.access.revoked import told_hosts
from mesh.model import claims, podtokens, protocol
from mesh.model.digest import assignment_digest, identity_of
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_mirror, is_terminal
from mesh.model.podtokens import ROOTS
from mesh.model.references import config_maps_of, secrets_of
from mesh.model.services import KUBERNETES, cluster_ip
from mesh.network import ingress
from mesh.v1.core_pb2 import ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Service
from mesh.v1.node_pb2 import (
    Assignment,
    Fence,
    LocalVolume,
    Neighbour,
    ProxyPort,
    SealedSecret,
    ServiceLink,
    WithheldSecret,
)
from mesh.view import View

SECRET_BUDGET = 64 << 20  # bytes of Secrets' values that one host may hold


@dataclass(frozen=True, slots=True)
class Entrusted:
    """How a host may be given Secrets: the id of its key, empty when it has none that counts, `why` in words; and how
    many bytes of them."""

    key_id: str = ""
    why: str = "this host has not announced a key yet"
    budget: int = SECRET_BUDGET


@dataclass(frozen=True, slots=True)
class LinksOf:
    """What pods of one namespace are told of its Services, and the digest of it."""

    links: tuple[ServiceLink, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HostsOf:
    """Every host and how its pods are reached: the neighbours of an Assignment, where each stands, and the digest."""

    told: Assignment = field(default_factory=Assignment)
    places: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a host is told of Services beside the table. `held`: its pods that must not be stopped yet, and why;
    `links`: what a namespace's pods are told; `now`: seconds since the epoch, as time alone makes tokens new;
    `roots`: whom they may trust, PEM; `hosts`: all of them, with their ranges of pods."""

    service_cidr: str = ""
    dns_address: str = ""
    cluster_domain: str = ""
    held: Mapping[str, str] = field(default_factory=dict)
    links: Callable[[str], LinksOf] = lambda _namespace: LinksOf()
    now: int = 0
    roots: str = ""
    hosts: Callable[[], HostsOf] = HostsOf


NOTHING_TOLD = Told()


def links_of(namespace: str, view: View) -> LinksOf:
    """The Services of a namespace that have an address, as their pods' environment tells them (E7); of none: that of
    the mesh's API, which all pods are told of."""
    links = tuple(
        ServiceLink(
            namespace=namespace, name=service.metadata.name, cluster_ip=address,
            ports=[ProxyPort(name=p.name, protocol=p.protocol or "TCP", port=p.port) for p in service.spec.ports],
        )
        for service in (view.services(namespace) if namespace else _api(view))
        if (address := cluster_ip(service))
    )  # fmt: skip
    sha = hashlib.sha256(namespace.encode())
    for link in links:
        sha.update(link.SerializeToString(deterministic=True))
    return LinksOf(links, sha.hexdigest())


def hosts_of(view: View) -> HostsOf:
    """The hosts that have said where they are and have a range of pod addresses."""
    told = Assignment(neighbours=[
        Neighbour(node=node.metadata.name, address=address, pod_cidr=node.spec.pod_cidr)
        for node in view.nodes()
        if (address := address_of(node)) and node.spec.pod_cidr
    ])  # fmt: skip
    digest = hashlib.sha256(told.SerializeToString(deterministic=True)).hexdigest()
    return HostsOf(told, {host.node: place for place, host in enumerate(told.neighbours)}, digest)


def needs_of(
    node: str, view: View, cluster_cidr: str, epoch: int, entrusted: Entrusted = Entrusted(), told: Told = NOTHING_TOLD
) -> Assignment | None:
    """The assignment for a host as of `view`, or None as long as the host has no Node with a range of addresses. The
    boxes of its Secrets are still empty."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return None
    assignment = Assignment(
        node=node,
        fence=Fence(epoch=epoch, revision=view.revision),
        pod_cidr=held.spec.pod_cidr,
        cluster_cidr=cluster_cidr,
        pods=[_order(pod) for pod in _pods(node, view)],
        config_maps=[_content(config) for config in _config_maps(node, view, told.roots)],
        node_labels=held.metadata.labels,
        protocol=protocol.ours(),
    )
    assignment.volumes.extend(_volumes(node, view))
    assignment.revoked.update(told_hosts(view))
    _add_secrets(assignment, node, view, entrusted)
    _add_tokens(assignment, node, view, entrusted, told.now)
    _add_network(assignment, told)
    found, hosts = [told.links(namespace) for namespace in _linked(node, view)], told.hosts()
    assignment.service_links.extend(link for links in found for link in links.links)
    assignment.MergeFrom(hosts.told)  # there may be thousands
    if node in hosts.places:
        del assignment.neighbours[hosts.places[node]]
    assignment.digest = assignment_digest(assignment, [hosts.digest, *(links.digest for links in found)])
    return assignment


def nothing_for(node: str, view: View, epoch: int) -> Assignment:
    """The assignment for a host that was removed: to end what it runs."""
    nothing = Assignment(node=node, fence=Fence(epoch=epoch, revision=view.revision), protocol=protocol.ours())
    nothing.digest = assignment_digest(nothing, [])
    return nothing


def digest_of(
    node: str, view: View, cluster_cidr: str, entrusted: Entrusted = Entrusted(), told: Told = NOTHING_TOLD
) -> str:
    """The digest alone of what `needs_of` says, without copying the pods; empty where that is None."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return ""
    pods = [Pod(metadata=pod.metadata) for pod in _pods(node, view)]
    configs = [ConfigMap(metadata=_named(config)) for config in _config_maps(node, view, told.roots)]
    named = Assignment(pod_cidr=held.spec.pod_cidr, cluster_cidr=cluster_cidr, pods=pods, config_maps=configs)
    named.volumes.extend(_volumes(node, view))
    named.revoked.update(told_hosts(view))
    _add_secrets(named, node, view, entrusted)
    _add_tokens(named, node, view, entrusted, told.now)
    _add_network(named, told)
    links = [told.links(namespace).digest for namespace in _linked(node, view)]
    return assignment_digest(named, [told.hosts().digest, *links])


def refers(node: str, view: View, config: ConfigMap | Secret) -> bool:
    """Whether a pod of the host refers to this ConfigMap or Secret, be it there or not."""
    meta, names = config.metadata, secrets_of if isinstance(config, Secret) else config_maps_of
    if isinstance(config, Secret) and Key("Secret", meta.namespace, meta.name) in ingress.secrets(node, view):
        return True
    return any(pod.metadata.namespace == meta.namespace and meta.name in names(pod.spec) for pod in _pods(node, view))


def ordered_alike(one: object, other: object) -> bool:
    """Whether two states are of a pod, and the same order for its host, for they differ in its own word alone; never
    of one that is being deleted, which may be held for a reason outside of it."""
    if not isinstance(one, Pod) or not isinstance(other, Pod):
        return False
    if is_deleting(one) or is_deleting(other) or is_terminal(one) != is_terminal(other):
        return False
    return identity_of(one) == identity_of(other) and one.spec == other.spec


# ---- network


def _add_network(assignment: Assignment, told: Told) -> None:
    assignment.service_cidr, assignment.dns_address = told.service_cidr, told.dns_address
    assignment.cluster_domain = told.cluster_domain
    for uid, why in sorted(told.held.items()):
        assignment.held.add(uid=uid, waits_for=why)


def address_of(node: Node) -> str:
    """The host's address on the hosts' network, "" when it has not said."""
    return next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")


def _linked(node: str, view: View) -> list[str]:
    """Namespaces whose Services the environment of the host's pods tells of; "" for the mesh's API."""
    pods = _pods(node, view)
    asked = (p for p in pods if p.spec.enable_service_links or not p.spec.HasField("enable_service_links"))
    return sorted({p.metadata.namespace for p in asked} | ({""} if pods else set()))


def _api(view: View) -> list[Service]:
    found = view.get(KUBERNETES)
    return [found] if isinstance(found, Service) else []


# ---- volumes


def _volumes(node: str, view: View) -> Iterator[LocalVolume]:
    """Those of its pods' claims that are bound, and those of the host's directories that are to be removed (V17)."""
    told: set[str] = set()
    for pod in _pods(node, view):
        for name in claims.claims_of(pod.spec):
            claim = view.get(Key("PersistentVolumeClaim", pod.metadata.namespace, name))
            if not isinstance(claim, PersistentVolumeClaim) or not claims.is_bound(claim):
                continue
            volume = view.get(Key("PersistentVolume", "", claim.spec.volume_name))
            if isinstance(volume, PersistentVolume) and claim.metadata.uid not in told:
                told.add(claim.metadata.uid)
                yield LocalVolume(
                    name=volume.metadata.name, namespace=pod.metadata.namespace, claim=name,
                    path=claims.path_of(volume),
                    size=claims.size_of(dict(volume.spec.capacity)) if claims.host_of(volume) else 0,
                )  # fmt: skip
    for volume in view.of_kind("PersistentVolume"):
        if isinstance(volume, PersistentVolume) and is_retired(volume) and claims.host_of(volume) == node:
            yield LocalVolume(name=volume.metadata.name, retired=True)


def is_retired(volume: PersistentVolume) -> bool:
    """Whether nobody has a claim on it any more, and its directory is to go."""
    meta = volume.metadata
    waits = claims.BOUND in meta.finalizers
    return meta.HasField("deletion_timestamp") and claims.DIRECTORY in meta.finalizers and not waits


# ---- secrets


def _add_secrets(assignment: Assignment, node: str, view: View, entrusted: Entrusted) -> None:
    """Names the Secrets of the host's pods; those of older pods first, as far as the budget goes."""
    left = entrusted.budget
    assignment.ingress_secrets.extend(sorted(f"{k.namespace}/{k.name}" for k in ingress.secrets(node, view)))
    for secret in _secrets(node, view):
        meta = secret.metadata
        size = sum(len(value) for value in secret.data.values())
        why = "" if entrusted.key_id else entrusted.why
        if not why and size > left:
            why = f"a host may hold {entrusted.budget} bytes of Secrets, and those of this host's pods are more"
        if why:
            refused = WithheldSecret(namespace=meta.namespace, name=meta.name, reason=why)
            assignment.withheld_secrets.append(refused)
            continue
        left -= size
        entry = SealedSecret(namespace=meta.namespace, name=meta.name, uid=meta.uid)
        entry.revision, entry.key_id = meta.resource_version, entrusted.key_id
        assignment.sealed_secrets.append(entry)


def _secrets(node: str, view: View) -> Iterator[Secret]:
    told: set[Key] = set()
    pods = [pod for pod in _pods(node, view) if not is_terminal(pod)]
    for pod in sorted(pods, key=lambda p: (p.metadata.creation_timestamp.ToNanoseconds(), p.metadata.uid)):
        for name in sorted(secrets_of(pod.spec)):
            key = Key("Secret", pod.metadata.namespace, name)
            found = view.get(key)
            if key not in told and isinstance(found, Secret):
                told.add(key)
                yield found
    for key in sorted(ingress.secrets(node, view) - told):
        if isinstance(found := view.get(key), Secret):
            yield found


# ---- tokens of service accounts


def _add_tokens(assignment: Assignment, node: str, view: View, entrusted: Entrusted, now: int) -> None:
    """Names the tokens that the volumes of the host's pods show, as Secrets are named (E14)."""
    for pod, wish in _token_wishes(node, view):
        namespace, name = pod.metadata.namespace, podtokens.name_of(pod.metadata.uid, wish)
        held = accounts.of_pod(pod, view)
        if held is None or not entrusted.key_id:
            why = entrusted.why if held else f'there is no service account "{podtokens.account_of(pod.spec)}"'
            assignment.withheld_secrets.append(WithheldSecret(namespace=namespace, name=name, reason=why))
            continue
        revision = f"{podtokens.issued_at(pod, wish, now)}/{held.metadata.uid}"
        assignment.sealed_secrets.add(
            namespace=namespace, name=name, uid=pod.metadata.uid, revision=revision, key_id=entrusted.key_id
        )


def token_claims(entry: SealedSecret, node: str, view: View) -> dict[str, Any] | None:
    """What the token says that an order names; None when its pod or its account is not there any more."""
    for pod, wish in _token_wishes(node, view):
        if podtokens.name_of(pod.metadata.uid, wish) == entry.name:
            held, (issued, _, uid) = accounts.of_pod(pod, view), entry.revision.partition("/")
            if held is not None and held.metadata.uid == uid:
                return accounts.claims_of(held, pod, [wish.audience], int(issued), int(issued) + wish.seconds)
    return None


def next_token_at(node: str, view: View, now: int) -> int:
    """When the next of the host's tokens is to be made anew, in seconds since the epoch; 0: none ever."""
    return min((podtokens.next_at(pod, wish, now) for pod, wish in _token_wishes(node, view)), default=0)


def _token_wishes(node: str, view: View) -> Iterator[tuple[Pod, podtokens.Wish]]:
    for pod in _pods(node, view):
        if not is_terminal(pod):
            for wish in podtokens.wishes_of(pod.spec):
                yield pod, wish


def _config_maps(node: str, view: View, roots: str) -> list[ConfigMap]:
    keys = {
        Key("ConfigMap", pod.metadata.namespace, name)
        for pod in _pods(node, view)
        if not is_terminal(pod)
        for name in config_maps_of(pod.spec)
    }
    found = (view.get(key) or _roots(key, roots) for key in sorted(keys))
    return [config for config in found if isinstance(config, ConfigMap)]


def _roots(key: Key, roots: str) -> ConfigMap | None:
    """Whom to trust, which is said in every namespace and stored in none."""
    if key.name != ROOTS:
        return None
    meta = ObjectMeta(namespace=key.namespace, name=key.name, uid=f"{ROOTS}/{key.namespace}")
    meta.resource_version = hashlib.sha256(roots.encode()).hexdigest()[:16]
    return ConfigMap(metadata=meta, data={"ca.crt": roots})


def _content(config: ConfigMap) -> ConfigMap:
    return ConfigMap(metadata=_named(config), data=config.data, binary_data=config.binary_data)


def _named(config: ConfigMap) -> ObjectMeta:
    meta = config.metadata
    return ObjectMeta(
        namespace=meta.namespace, name=meta.name, uid=meta.uid, resource_version=meta.resource_version
    )  # fmt: skip


def _pods(node: str, view: View) -> list[Pod]:
    return [pod for pod in view.pods_on(node) if not is_mirror(pod)]


def _order(pod: Pod) -> Pod:
    return Pod(api_version=pod.api_version, kind=pod.kind, metadata=pod.metadata, spec=pod.spec)
