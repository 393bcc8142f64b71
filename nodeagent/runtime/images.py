"""Images on this host, and getting them from registries.

Rule: an answer of "it is here" is remembered for half a minute, because every start of a container asks; a pull or a
failed create forgets it.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nodeagent.runtime import imagemounts, translate
from nodeagent.runtime.port import Credentials, Image, Progress, RuntimeFailure
from nodeagent.runtime.rest import Refused, Rest

REMEMBERED = 30.0  # seconds
BEGUN, DONE = frozenset({"Pulling fs layer"}), frozenset({"Download complete", "Already exists"})  # states of layers
DOWN = re.compile(
    r"connection refused|no such host|i/o timeout|no route to host|network is unreachable|connection reset by peer"
    r"|TLS handshake timeout|context deadline exceeded|\bEOF$|\b(?:status|status code):? 5\d\d\b"
)  # the registry's trouble, not the image's


class Images:
    """Podman's images."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._known: dict[str, tuple[float, Image]] = {}

    def forget(self) -> None:
        """Asks anew from now on."""
        self._known.clear()

    async def find(self, reference: str) -> Image | None:
        """See the port's `image`."""
        if not translate.is_reference(reference):
            why = "a name is lower-case words with an optional registry, tag and digest: registry/name:tag"
            raise RuntimeFailure("InvalidImageName", f'cannot read the image name "{reference}": {why}')
        asked, known = self._known.get(reference, (0.0, None))
        if known and time.monotonic() - asked < REMEMBERED:
            return known
        try:
            found = translate.image(await self._rest.ask("get", f"/images/{quote(reference)}/json"))
        except Refused as refused:
            if refused.status == 404:
                return None
            message = f"cannot look at image {reference}: {translate.words(refused.text)}"
            raise RuntimeFailure("ImageInspectError", message) from refused
        self._known[reference] = (time.monotonic(), found)
        return found

    async def all(self) -> list[Image]:
        """See the port's `images`."""
        return [translate.listed_image(row) for row in await self._rest.ask("get", "/images/json") or []]

    async def pull(self, reference: str, credentials: Credentials | None, told: Callable[[Progress], None]) -> Image:
        """See the port's `pull`."""
        if not translate.is_reference(reference):
            raise RuntimeFailure("InvalidImageName", f'cannot read the image name "{reference}"')
        headers = {"X-Registry-Auth": _authorization(credentials)} if credentials else {}
        full = translate.full_reference(reference)
        self.forget()
        loop = asyncio.get_running_loop()

        def tell(progress: Progress) -> None:
            loop.call_soon_threadsafe(told, progress)

        try:
            error = await self._rest.run_pull(
                lambda: follow_pull(self._rest.lines("/images/create", headers, compatible=True, fromImage=full), tell)
            )
        except Refused as refused:
            error = refused.text
        if error:
            raise pull_failure(reference, error)
        found = await self.find(full)
        if found is None:
            raise RuntimeFailure("ErrImagePull", f"cannot pull image {reference}: it is gone again")
        return found

    async def remove(self, image: Image) -> None:
        """See the port's `remove_image`. Name by name: Podman removes no image with several names by its id, but by
        force, which takes containers along."""
        self.forget()
        await self._refuse_if_used(image)
        tags = [name for name in image.names if "@" not in name]
        for which in tags or [image.id]:
            try:
                await self._rest.ask("delete", f"/images/{quote(which)}")
            except Refused as refused:
                if refused.status == 404:
                    continue
                why = f"cannot remove image {which}: {translate.words(refused.text)}"
                raise RuntimeFailure("ImageInUse" if refused.status == 409 else "ImageRemoveError", why) from refused

    async def _refuse_if_used(self, image: Image) -> None:
        """Podman itself would refuse only at the last name, and knows nothing of mounts."""
        if image.id in (await asyncio.to_thread(imagemounts.mounted)).values():
            raise RuntimeFailure("ImageInUse", f"cannot remove image {image.id}: a pod's volume shows it")
        filters = json.dumps({"ancestor": [image.id.removeprefix("sha256:")]})
        used = await self._rest.ask("get", "/containers/json", all="true", filters=filters)
        if used:
            who = (used[0].get("Names") or [used[0]["Id"][:12]])[0]
            raise RuntimeFailure("ImageInUse", f"cannot remove image {image.id}: container {who} uses it")

    async def mount(self, image: Image, target: Path) -> None:
        """See the port's `mount_image`."""
        try:
            inspected = await self._rest.ask("get", f"/images/{quote(image.id)}/json")
            found = imagemounts.layers(inspected["GraphDriver"])
            await asyncio.to_thread(imagemounts.mount, image.id, found, target)
        except Refused as refused:
            self.forget()
            why = f"cannot mount image {image.id}: {translate.words(refused.text)}"
            raise RuntimeFailure("FailedMount", why) from refused
        except OSError as error:
            raise RuntimeFailure("FailedMount", f"cannot mount image {image.id}: {error.strerror or error}") from error

    async def load(self, archive: Path) -> list[Image]:
        """See the port's `load_image`."""
        self.forget()
        try:
            answer = await self._rest.run_pull(lambda: self._rest.upload("/images/load", archive))
        except Refused as refused:
            why = f"cannot load images: {translate.words(refused.text)}"
            raise RuntimeFailure("ImageLoadError", why) from refused
        found = [await self.find(name) for name in answer["Names"]]
        return [image for image in found if image is not None]


def pull_failure(reference: str, error: str) -> RuntimeFailure:
    """A failed pull by its cause: what the registry said of the image, or the registry itself (S4)."""
    words = pull_words(error)
    if DOWN.search(words):
        return RuntimeFailure(
            "RegistryUnavailable", f"cannot pull image {reference}: the registry is unavailable: {words}"
        )
    return RuntimeFailure("ErrImagePull", f"cannot pull image {reference}: {words}")


def _authorization(credentials: Credentials) -> str:
    text = json.dumps({"username": credentials.username, "password": credentials.password})
    return base64.urlsafe_b64encode(text.encode()).decode()


def follow_pull(lines: Iterable[Mapping[str, Any]], tell: Callable[[Progress], None]) -> str:
    """Reads a pull to its end and tells whenever bytes have come; the last line's error, "" for none."""
    error = ""
    layers: dict[str, tuple[int, int, bool]] = {}  # received, expected, done; by id
    for line in lines:
        error = str(line.get("error") or "")
        layer = line.get("id", "")
        received, expected, _ = layers.get(layer, (0, 0, False))
        if line.get("status") == "Downloading":
            detail = line.get("progressDetail") or {}
            layers[layer] = (detail.get("current", 0), detail.get("total", 0), False)
            sums = [sum(column) for column in zip(*layers.values(), strict=True)]
            tell(Progress(sums[0], sums[1], len(layers), sums[2]))
        elif line.get("status") in BEGUN | DONE:
            is_done = line["status"] in DONE
            layers[layer] = (expected if is_done else received, expected, is_done)
    return error


def pull_words(error: str) -> str:
    """A registry's answer without Podman's wrapping: what the last clauses say."""
    text = " ".join(error.split())
    for prefix in ("initializing source ", "Error: "):
        text = text.removeprefix(prefix)
    head, separator, rest = text.partition(": ")
    return rest if separator and head.startswith("docker://") else text
