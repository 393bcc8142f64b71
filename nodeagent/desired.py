"""The last Assignment accepted, and which orders are refused.

Rule: pure. Orders only go forward: an older fence is refused, the same one again is accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mesh.errors import Conflict, Invalid
from mesh.model import podtokens, protocol
from mesh.model.claims import claims_of
from mesh.model.pods import is_mirror
from mesh.model.references import config_maps_of, secrets_of
from mesh.v1.core_pb2 import ConfigMap, Pod
from mesh.v1.node_pb2 import Assignment, Fence, LocalVolume, Neighbour
from nodeagent.names import NO_NAMES, Names
from nodeagent.secrets import Held, Refs

LOST = "is not in this host's memory: the agent was started anew and waits for the control service"


@dataclass(frozen=True, slots=True)
class Given:
    """What a pod refers to and is given, by name: ConfigMaps that there are; Secrets, or why one is not here."""

    configs: Mapping[str, ConfigMap] = field(default_factory=dict)
    secrets: Refs = field(default_factory=dict)
    claims: Mapping[str, LocalVolume] = field(default_factory=dict)  # what its claims are bound to


@dataclass(frozen=True, slots=True)
class Desired:
    """What this host must run. `digest` is empty until an Assignment came in this boot of the agent."""

    fence: tuple[int, int] = (0, 0)
    digest: str = ""
    pod_cidr: str = ""
    cluster_cidr: str = ""
    pods: Mapping[str, Pod] = field(default_factory=dict)
    config_maps: Mapping[tuple[str, str], ConfigMap] = field(default_factory=dict)  # by namespace and name
    node_labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], Held | str] = field(default_factory=dict)  # by namespace and name; or why not
    names: Names = NO_NAMES  # of all hosts alike; links of all namespaces
    service_cidr: str = ""
    neighbours: tuple[Neighbour, ...] = ()
    volumes: tuple[LocalVolume, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)  # pods that must not be stopped yet, by uid, and why
    ingress_secrets: tuple[str, ...] = ()  # "namespace/name" of those that are for this host's ingress
    traceparents: Mapping[str, str] = field(default_factory=dict)  # by uid, of pods whose start is traced
    revoked: Mapping[str, int] = field(default_factory=dict)  # certificates that count no more, see mesh.revocation
    secrets_lost: bool = False  # this is what was kept on disk, where no Secret is

    @property
    def wire_fence(self) -> Fence:
        """The fence as it travels."""
        return Fence(epoch=self.fence[0], revision=self.fence[1])

    def names_of(self, pod: Pod) -> Names:
        """What a pod is told of Services (E7, E10); of the mesh's API, which is in no namespace, each is."""
        asked = pod.spec.enable_service_links or not pod.spec.HasField("enable_service_links")
        own = {"", pod.metadata.namespace} if asked else {""}
        links = (link for link in self.names.links if link.namespace in own)
        return replace(self.names, links=tuple(links))

    def given(self, pod: Pod) -> Given:
        """What a pod refers to."""
        names = set(claims_of(pod.spec))
        found = {v.claim: v for v in self.volumes if v.namespace == pod.metadata.namespace and v.claim in names}
        return Given(self._configs_of(pod), self._secrets_of(pod), found)

    def _configs_of(self, pod: Pod) -> dict[str, ConfigMap]:
        namespace = pod.metadata.namespace
        found = {name: self.config_maps.get((namespace, name)) for name in sorted(config_maps_of(pod.spec))}
        return {name: config for name, config in found.items() if config is not None}

    def _secrets_of(self, pod: Pod) -> Refs:
        namespace = pod.metadata.namespace
        names = sorted(secrets_of(pod.spec) | podtokens.names_of(pod))
        if self.secrets_lost:
            return dict.fromkeys(names, LOST)
        found = {name: self.secrets.get((namespace, name)) for name in names}
        return {name: held for name, held in found.items() if held is not None}


def same(some: Given, others: Given) -> bool:
    """Whether they hold the same values; labels and revisions of ConfigMaps are nothing to a pod."""
    ours, theirs = some.configs, others.configs
    if some.secrets != others.secrets or some.claims != others.claims or ours.keys() != theirs.keys():
        return False
    return all(_equal(config, theirs[name]) for name, config in ours.items())


def _equal(one: ConfigMap, other: ConfigMap) -> bool:
    return one is other or (
        one.metadata.uid == other.metadata.uid and one.data == other.data and one.binary_data == other.binary_data
    )


def accept(held: Desired, assignment: Assignment, node: str) -> Desired:
    """What is desired from now on.

    Raises:
        Conflict: the order is older than one accepted before.
        Invalid: it is for another host, names a pod without uid, or comes from a version too far away.
    """
    if skew := protocol.why_not("the control service", assignment.protocol):
        raise Invalid(f"cannot assign to {node}: {skew}")
    return _accepted(held, assignment, node)


def _accepted(held: Desired, assignment: Assignment, node: str) -> Desired:
    fence = (assignment.fence.epoch, assignment.fence.revision)
    if fence < held.fence:
        raise Conflict(f"cannot assign to {node}: the order {fence} is older than {held.fence}, which is held")
    if assignment.node not in ("", node):
        raise Invalid(f"cannot assign to {node}: the order is for {assignment.node}")
    pods = {p.metadata.uid: p for p in assignment.pods if not is_mirror(p)}
    if "" in pods:
        raise Invalid(f"cannot assign to {node}: pod {pods[''].metadata.name} has no uid")
    configs = {(c.metadata.namespace, c.metadata.name): c for c in assignment.config_maps}
    labels = dict(assignment.node_labels)
    secrets: dict[tuple[str, str], Held | str] = {
        (s.namespace, s.name): Held(s.uid, s.revision) for s in assignment.sealed_secrets
    }
    secrets |= {(w.namespace, w.name): f"is withheld: {w.reason}" for w in assignment.withheld_secrets}
    cidrs = (assignment.pod_cidr, assignment.cluster_cidr)
    return Desired(
        fence, assignment.digest, *cidrs, pods, configs, labels, secrets,
        names=Names(assignment.dns_address, assignment.cluster_domain, tuple(assignment.service_links)),
        service_cidr=assignment.service_cidr, neighbours=tuple(assignment.neighbours),
        volumes=tuple(assignment.volumes), ingress_secrets=tuple(assignment.ingress_secrets),
        held={held.uid: held.waits_for for held in assignment.held}, traceparents=dict(assignment.traceparents),
        revoked=dict(assignment.revoked),
    )  # fmt: skip


def restored(assignment: Assignment, node: str) -> Desired:
    """What is desired after a restart, until an Assignment comes; its digest is not claimed to be held."""
    copy = Assignment()
    copy.CopyFrom(assignment)
    copy.digest = ""
    return replace(_accepted(Desired(), copy, node), secrets_lost=True)
