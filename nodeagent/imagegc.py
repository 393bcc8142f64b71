"""Which images to remove when the disk runs full, and their removal (I5).

Rule: at 85 % of the disk used, images that nobody uses go, least recently used first, until 80 %; one younger than two
minutes on this host stays. The numbers are agent.toml's. Nothing is removed before everyone in use is known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mesh.model.pods import containers
from mesh.v1.core_pb2 import Pod
from nodeagent.config import AgentConfig
from nodeagent.pods.imagevolumes import image_volumes
from nodeagent.runtime.port import Image, Runtime, RuntimeFailure
from nodeagent.vitals import Vitals

log = structlog.get_logger()

EVERY = 300.0  # seconds


@dataclass(slots=True)
class Known:
    """When an image was first seen, and last seen in use; nanoseconds, 0 for never."""

    first_seen: int
    last_used: int = 0


def used_percent(vitals: Vitals) -> float:
    """How full the images' disk is."""
    disk = vitals.image_disk
    return 100.0 * (1 - disk.available / disk.size) if disk.size else 0.0


def removable(
    images: Sequence[Image], known: Mapping[str, Known], in_use: Collection[str], now: int, least_age: int
) -> list[Image]:
    """The images that may go, in the order of going: least recently used, then first seen, then by id."""
    free = [i for i in images if i.id not in in_use and now - known[i.id].first_seen >= least_age]
    return sorted(free, key=lambda i: (known[i.id].last_used, known[i.id].first_seen, i.id))


def images_of(pods: Iterable[Pod]) -> set[str]:
    """The images that pods name: of their containers and volumes."""
    return {user.image for pod in pods for user in (*containers(pod.spec), *image_volumes(pod.spec))}


async def used_by(runtime: Runtime, references: Iterable[str]) -> set[str]:
    """The ids of images of every container and image volume there is, and of those that `references` name.

    Raises:
        RuntimeFailure: it can't be known.
    """
    used = {c.image_id for pod in (await runtime.pods()).values() for c in pod.containers}
    used |= await runtime.mounted_images()
    for reference in references:
        try:
            image = await runtime.image(reference)
        except RuntimeFailure as failure:
            if failure.transient:
                raise
            continue  # no such name: nothing to keep
        used |= {image.id} if image else set()
    return used


class ImageGc:
    """The host's images by their use. `in_use` tells the ids that pods use or will use; `vitals` reads the disk."""

    def __init__(
        self, config: AgentConfig, runtime: Runtime, clock: Callable[[], int], vitals: Callable[[], Vitals],
        in_use: Callable[[], Awaitable[Collection[str]]],
    ) -> None:  # fmt: skip
        self._config = config
        self._runtime = runtime
        self._clock = clock
        self._vitals = vitals
        self._in_use = in_use
        self._known: dict[str, Known] | None = None

    def saw(self, images: Sequence[Image]) -> dict[str, Known]:
        """Notes which images there are; those of the first look were there before us, who knows how long."""
        since = 0 if self._known is None else self._clock()
        known = self._known or {}
        self._known = {i.id: known.get(i.id, Known(since)) for i in images}
        return self._known

    async def run(self, may: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Collects for ever, when it `may`; says when images went."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                if may() and await self.collect():
                    changed()
            except RuntimeFailure as failure:
                log.warning("images_not_collected", why=failure.message)

    async def collect(self) -> list[Image]:
        """Looks once, removes what must go, and says what went. Raises RuntimeFailure when use can't be known."""
        if used_percent(self._vitals()) < self._config.image_gc_high_percent:
            await self._look()
            return []
        gone = await self._free(await self._look(), self._is_low)
        used = used_percent(self._vitals())
        if used > self._config.image_gc_low_percent:
            log.warning("disk_still_full", used_percent=round(used, 1), removed=len(gone))
        return gone

    async def reclaim(self, enough: Callable[[], bool]) -> list[Image]:
        """Removes what may go until it is `enough`, and says what went (R10); raises as `collect`."""
        return await self._free(await self._look(), enough)

    def _is_low(self) -> bool:
        return used_percent(self._vitals()) <= self._config.image_gc_low_percent

    async def _look(self) -> list[Image]:
        """Notes what is in use; the images that may go, in the order of going."""
        images = await self._runtime.images()
        known, now = self.saw(images), self._clock()
        in_use = await self._in_use()
        for image in images:
            if image.id in in_use:
                known[image.id].last_used = now
        least_age = self._config.image_gc_min_age_seconds * 1_000_000_000
        return removable(images, known, in_use, now, least_age)

    async def _free(self, images: Sequence[Image], enough: Callable[[], bool]) -> list[Image]:
        gone: list[Image] = []
        for image in images:
            if enough():
                break
            try:
                await self._runtime.remove_image(image)
            except RuntimeFailure as failure:
                if failure.transient:
                    raise
                log.warning("image_stays", image=image.id, names=image.names, why=failure.message)
            else:
                log.info("image_removed", image=image.id, names=image.names, bytes=image.size)
                gone.append(image)
        return gone
