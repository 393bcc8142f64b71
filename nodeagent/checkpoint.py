"""The last Assignment on this host's disk: what a restarted agent runs while meshd is away.

Rule: mode 0600, replaced all or nothing, without secrets; one that can't be read counts as none.
"""

from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.model.digest import LAST_APPLIED
from mesh.v1.node_pb2 import Assignment
from nodeagent.volumes.tree import write_atomically

log = structlog.get_logger()


class Checkpoint:
    """One file. Its calls block: call them in a thread, but at start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Assignment | None:
        """The Assignment that was last written, or None."""
        try:
            return Assignment.FromString(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (DecodeError, OSError) as error:
            log.warning("checkpoint_unreadable", path=str(self._path), why=str(error))
            return None

    def write(self, assignment: Assignment) -> None:
        """Keeps an Assignment."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, stripped(assignment).SerializeToString(), durable=True)


def stripped(assignment: Assignment) -> Assignment:
    """The Assignment without what no restart needs: the manifests as they were applied. Values of Secrets never are in
    a pod."""
    kept = Assignment()
    kept.CopyFrom(assignment)
    for pod in kept.pods:
        if LAST_APPLIED in pod.metadata.annotations:
            del pod.metadata.annotations[LAST_APPLIED]
    return kept
