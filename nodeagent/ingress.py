"""The Secrets of this host's ingress, opened for its proxy: certificates, their keys and password files.

Rule: pure. Nothing before an order has come in this process' life, for a restarted agent holds none; one that is not
here is left out. They travel over the proxy's socket alone, and both ends keep them in memory.
"""

from collections.abc import Mapping

from mesh.model.ingress import LABEL
from mesh.v1.core_pb2 import Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import IngressSecrets
from nodeagent.desired import Desired
from nodeagent.volumes.vault import Vault


def serves(labels: Mapping[str, str]) -> bool:
    """Whether a host with these labels serves Ingresses."""
    return labels.get(LABEL, "false") != "false"


def opened(desired: Desired, vault: Vault) -> IngressSecrets | None:
    """What the proxy is to have; None: nothing is known yet, so what it has stays."""
    if desired.secrets_lost or not desired.digest:
        return None
    found = IngressSecrets()
    if not serves(desired.node_labels):
        return found
    for name in desired.ingress_secrets:
        namespace, _, plain = name.partition("/")
        held = desired.secrets.get((namespace, plain))
        if held is None:
            continue
        values = vault.open(namespace, {plain: held})
        if (data := values.get(plain)) is not None:
            found.secrets.append(Secret(metadata=ObjectMeta(namespace=namespace, name=plain), data=data))
    return found
