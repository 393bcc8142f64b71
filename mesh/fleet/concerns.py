"""Which objects besides its pods concern a host: those that its pods are told of.

Rule: pure; what is not certain concerns it, for the host's assignment is compared before anything is sent.
"""

from collections.abc import Iterable

from mesh.fleet.needs import refers
from mesh.model import claims, podtokens
from mesh.model.kinds import Object, key_of
from mesh.model.services import KUBERNETES
from mesh.network import ingress
from mesh.v1.core_pb2 import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount
from mesh.v1.net_pb2 import Ingress, IngressClass, Service
from mesh.view import View


def concerns(node: str, obj: Object | None, view: View) -> bool:
    """Whether a change of this object may be one of what the host is to hold."""
    if isinstance(obj, Ingress | IngressClass):
        return ingress.serves(view.node(node))
    if isinstance(obj, Service):
        pods = view.pods_on(node)
        return bool(_beside(pods, obj)) or (bool(pods) and key_of(obj) == KUBERNETES)
    if isinstance(obj, PersistentVolume):
        return claims.host_of(obj) == node
    if isinstance(obj, PersistentVolumeClaim):
        return any(obj.metadata.name in claims.claims_of(p.spec) for p in _beside(view.pods_on(node), obj))
    if isinstance(obj, ServiceAccount):
        return any(podtokens.account_of(p.spec) == obj.metadata.name for p in _beside(view.pods_on(node), obj))
    return isinstance(obj, ConfigMap | Secret) and refers(node, view, obj)


def _beside(pods: Iterable[Pod], obj: Service | PersistentVolumeClaim | ServiceAccount) -> list[Pod]:
    """The pods of its namespace."""
    return [pod for pod in pods if pod.metadata.namespace == obj.metadata.namespace]
