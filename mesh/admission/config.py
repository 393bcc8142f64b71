"""Admission of configuration and of what is around it: ConfigMaps, Secrets, namespaces (V7-V10, A10).

Rule: pure questions of one object, or of a new and an old one.
"""

import json
from collections.abc import Iterator, Mapping

from mesh.errors import Violation
from mesh.v1.core_pb2 import ConfigMap, Secret

DATA_LIMIT = 1024 * 1024  # bytes of all values of a Secret or ConfigMap (V7)
INITIAL_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")  # (A10)

_DOCKER = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
_TOKEN_ACCOUNT = "kubernetes.io/service-account.name"  # noqa: S105 - the name of an annotation
_KEYS: Mapping[str, tuple[str, ...]] = {
    **{type_: (key,) for type_, key in _DOCKER.items()},
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "bootstrap.kubernetes.io/token": ("token-id", "token-secret"),
}


def check_config_map(config: ConfigMap) -> Iterator[Violation]:
    """Rows V7 and V8."""
    for key in sorted(config.data.keys() & config.binary_data.keys()):
        yield Violation(f"binaryData.{key}", "is a key of data too")
    texts = sum(len(k.encode()) + len(v.encode()) for k, v in config.data.items())
    size = texts + sum(len(k.encode()) + len(v) for k, v in config.binary_data.items())
    if size > DATA_LIMIT:
        yield Violation("data", f"must be no more than 1 MiB in all, has {size} bytes")


def check_secret(secret: Secret) -> Iterator[Violation]:
    """Rows V7, V8 and V10, of a secret whose stringData is merged. Values never appear in a reason."""
    size = sum(len(value) for value in secret.data.values())
    if size > DATA_LIMIT:
        yield Violation("data", f"must be no more than 1 MiB in all, has {size} bytes")
    for key in _KEYS.get(secret.type, ()):
        if key not in secret.data:
            yield Violation(f'data["{key}"]', f"is required in a Secret of type {secret.type}")
        elif secret.type in _DOCKER and not _is_json(secret.data[key]):
            yield Violation(f'data["{key}"]', "must be JSON")
    if secret.type == "kubernetes.io/basic-auth" and not {"username", "password"} & set(secret.data):
        yield Violation("data", 'must have "username" or "password" in a Secret of type kubernetes.io/basic-auth')
    if secret.type == "kubernetes.io/service-account-token" and not secret.metadata.annotations.get(_TOKEN_ACCOUNT):
        yield Violation(f'metadata.annotations["{_TOKEN_ACCOUNT}"]', f"is required in a Secret of type {secret.type}")


def check_change(new: ConfigMap | Secret, old: ConfigMap | Secret) -> Iterator[Violation]:
    """What may not change: the type of a Secret, anything of what is immutable (V9, V10)."""
    if isinstance(new, Secret) and isinstance(old, Secret) and new.type != old.type:
        yield Violation(
            "type", f'may not change from "{old.type}" to "{new.type}"; delete the Secret and create it anew'
        )
    if not old.immutable:
        return
    if not new.immutable:
        yield Violation("immutable", "may not be unset; delete the object and create it anew")
    binary = isinstance(new, ConfigMap) and isinstance(old, ConfigMap) and new.binary_data != old.binary_data
    if new.data != old.data or binary:
        field = "data" if new.data != old.data else "binaryData"
        yield Violation(field, "may not change when immutable is true; delete the object and create it anew")


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
