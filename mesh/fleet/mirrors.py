"""Mirrors: objects that only show what a host runs by itself, from its own directory (G10).

Rule: a mirror is never assigned, never scheduled, and made again by its host when someone deletes it.
"""

from mesh.v1.core_pb2 import Pod

MIRROR = "kubernetes.io/config.mirror"  # annotation of the object; its value is the static pod's uid


def is_mirror(pod: Pod) -> bool:
    """Whether a pod's object only shows a static pod."""
    return MIRROR in pod.metadata.annotations
