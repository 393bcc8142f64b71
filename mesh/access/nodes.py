"""What a host may do by its own certificate: read its own Node, its own pods, and what those refer to.

Rule: pure; everything else is refused, whatever bindings say. A pod that has ended refers to nothing any more.
"""

from mesh.access.rules import Ask
from mesh.model.pods import is_terminal
from mesh.model.references import config_maps_of, secrets_of
from mesh.v1.core_pb2 import Pod
from mesh.view import View

_READS = ("get", "list", "watch")


def may(host: str, ask: Ask, view: View) -> tuple[bool, str]:
    """Whether the host may do it, and why (not)."""
    if ask.group or ask.subresource or ask.verb not in _READS:
        return False, "a host reads its own Node, its own pods and what they refer to, and does nothing else"
    if ask.resource == "nodes":
        return ask.verb == "get" and ask.name == host, "a host may get its own Node"
    if ask.resource == "pods":
        return _own_pods(host, ask, view)
    if ask.verb != "get" or not ask.name:
        return False, f"a host may get {ask.resource} by name alone, those that its pods refer to"
    return _referred(host, ask, view)


def _own_pods(host: str, ask: Ask, view: View) -> tuple[bool, str]:
    if ask.name:
        pod = view.pod(ask.namespace, ask.name)
        return pod is not None and pod.spec.node_name == host, "a host may read the pods on it"
    return ask.node == host, f"a host may read the pods on it: use the field selector spec.nodeName={host}"


def _referred(host: str, ask: Ask, view: View) -> tuple[bool, str]:
    for pod in view.pods_on(host):
        if pod.metadata.namespace == ask.namespace and not is_terminal(pod) and ask.name in _names(pod, ask.resource):
            return True, f'pod "{pod.metadata.name}" on it refers to it'
    return False, "none of the pods on it refers to it"


def _names(pod: Pod, resource: str) -> frozenset[str]:
    if resource == "configmaps":
        return config_maps_of(pod.spec)
    if resource == "secrets":
        return secrets_of(pod.spec)
    if resource == "serviceaccounts":
        return frozenset((pod.spec.service_account_name or "default",))
    return frozenset()
