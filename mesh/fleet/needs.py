"""What a host needs: its pods as they should be, with the digest by which it says what it holds.

Rule: pure; only what this host must run is in it, and never a status. A pod that has ended stays in until it is
deleted: its host keeps its logs, and remembers that it has ended. Of ConfigMaps a host gets those alone that its pods
refer to, until they end (V12): a change of any other one costs it nothing.
"""

from mesh.model.digest import assignment_digest
from mesh.model.keys import Key
from mesh.model.pods import is_mirror, is_terminal
from mesh.model.references import config_maps_of
from mesh.v1.core_pb2 import ConfigMap, Pod
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import Assignment, Fence
from mesh.view import View


def needs_of(node: str, view: View, cluster_cidr: str, epoch: int) -> Assignment | None:
    """The assignment for a host as of `view`, or None as long as the host has no Node with a range of addresses."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return None
    assignment = Assignment(
        node=node,
        fence=Fence(epoch=epoch, revision=view.revision),
        pod_cidr=held.spec.pod_cidr,
        cluster_cidr=cluster_cidr,
        pods=[_order(pod) for pod in _pods(node, view)],
        config_maps=[_content(config) for config in _config_maps(node, view)],
        node_labels=held.metadata.labels,
    )
    assignment.digest = assignment_digest(assignment)
    return assignment


def digest_of(node: str, view: View, cluster_cidr: str) -> str:
    """The digest alone of what `needs_of` says, without copying the pods; empty where that is None."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return ""
    pods = [Pod(metadata=pod.metadata) for pod in _pods(node, view)]
    configs = [ConfigMap(metadata=_named(config)) for config in _config_maps(node, view)]
    return assignment_digest(
        Assignment(pod_cidr=held.spec.pod_cidr, cluster_cidr=cluster_cidr, pods=pods, config_maps=configs)
    )


def refers(node: str, view: View, config: ConfigMap) -> bool:
    """Whether a pod of the host refers to this ConfigMap, be it there or not."""
    meta = config.metadata
    return any(
        pod.metadata.namespace == meta.namespace and meta.name in config_maps_of(pod.spec) for pod in _pods(node, view)
    )


def _config_maps(node: str, view: View) -> list[ConfigMap]:
    keys = {
        Key("ConfigMap", pod.metadata.namespace, name)
        for pod in _pods(node, view)
        if not is_terminal(pod)
        for name in config_maps_of(pod.spec)
    }
    found = (view.get(key) for key in sorted(keys))
    return [config for config in found if isinstance(config, ConfigMap)]


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
