"""What lies on the host of pods that nobody wants: containers and sandboxes by label, directories and logs by name.

Rule: it only finds; the agent removes, and only after the first Assignment of this boot.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mesh.v1.core_pb2 import Pod
from nodeagent.runtime.seen import SeenPod
from nodeagent.volumes.tree import Tree


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Pods with something that must be stopped first, and those of which only files are left."""

    pods: dict[str, SeenPod]
    files: set[str]


def leftovers(seen: Mapping[str, SeenPod], tree: Tree, known: Collection[str]) -> Leftovers:
    """What is not of a `known` uid. Reads directories: call it in a thread."""
    pods = {uid: pod for uid, pod in seen.items() if uid not in known}
    files = (tree.uids() | tree.log_uids()) - set(known) - set(pods)
    return Leftovers(pods, files)


def manifest_of(seen: SeenPod) -> Pod:
    """As much of a leftover's manifest as can be told from the host; it stops with the default grace."""
    pod = Pod()
    pod.metadata.uid, pod.metadata.namespace, pod.metadata.name = seen.uid, seen.namespace, seen.name
    return pod
