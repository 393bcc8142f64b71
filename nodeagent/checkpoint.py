"""The last Assignment on this host's disk: what a restarted agent runs while meshd is away.

Rule: mode 0600, replaced all or nothing, without secrets; one that can't be read counts as none.
"""

import asyncio
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.model.digest import LAST_APPLIED
from mesh.v1.node_pb2 import Assignment
from nodeagent.wholefile import write_whole

log = structlog.get_logger()


GATHER = 0.02  # seconds between two writes


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
        write_whole(self._path, stripped(assignment).SerializeToString(), durable=True)


class Keeper:
    """Keeps the newest Assignment: many in a row are one write."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._newest: Assignment | None = None
        self._fresh = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def keep(self, assignment: Assignment) -> None:
        """To be written soon."""
        self._newest = assignment
        self._fresh.set()
        self._written.clear()

    async def kept(self) -> None:
        """Returns once the newest one is on disk, or could not be written."""
        await self._written.wait()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            if self._newest is not None:
                try:
                    await asyncio.to_thread(self._checkpoint.write, self._newest)
                except OSError as error:
                    log.error("checkpoint_not_written", why=str(error))
            if not self._fresh.is_set():
                self._written.set()
            await asyncio.sleep(GATHER)


def stripped(assignment: Assignment) -> Assignment:
    """The Assignment without what no restart needs, the manifests as they were applied, and without any Secret: not
    even a sealed one lies on a disk."""
    kept = Assignment()
    kept.CopyFrom(assignment)
    for name in ("sealed_secrets", "withheld_secrets", "signed"):
        kept.ClearField(name)
    for pod in kept.pods:
        if LAST_APPLIED in pod.metadata.annotations:
            del pod.metadata.annotations[LAST_APPLIED]
    return kept
