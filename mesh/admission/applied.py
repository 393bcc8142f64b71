"""The annotation that remembers what a user last applied, for the next three-way merge.

Rule: values of Secrets and ConfigMaps are left out (the merge needs their keys only): no secret is in an annotation,
and no large text is kept twice.
"""

import json
from typing import Any

from mesh.model.digest import LAST_APPLIED
from mesh.model.kinds import Object
from mesh.model.writing import to_dict

FOREIGN = "kubectl.kubernetes.io/last-applied-configuration"
_WITHOUT_VALUES = ("data", "binaryData", "stringData")


def remember(manifest: dict[str, Any]) -> str:
    """The annotation's text for a manifest as plain values."""
    kept = dict(manifest)
    if manifest.get("kind") in ("Secret", "ConfigMap"):
        for name in _WITHOUT_VALUES:
            if name in kept:
                kept[name] = dict.fromkeys(kept[name], "")
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def recall(obj: Object) -> dict[str, Any]:
    """What was last applied to an object; empty when nothing was, or when it cannot be read."""
    try:
        value = json.loads(obj.metadata.annotations.get(LAST_APPLIED, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def manifest_of(obj: Object) -> dict[str, Any]:
    """What a user applies, as plain values: without status and without what the mesh itself writes into metadata."""
    value = to_dict(obj)
    value.pop("status", None)
    metadata = value.get("metadata", {})
    for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
                 "deletionGracePeriodSeconds"):  # fmt: skip
        metadata.pop(name, None)
    annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k not in (LAST_APPLIED, FOREIGN)}
    if annotations:
        metadata["annotations"] = annotations
    return value
