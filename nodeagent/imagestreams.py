"""Images as streams: an archive comes in and is taken, or an image goes (docs/images.md).

Rule: an archive on its way lies in a file without a name, on disk: whatever ends the agent or the stream, it is gone.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from mesh.v1.node_pb2 import Channel
from nodeagent.runtime.port import Image, Runtime, RuntimeFailure

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]


class Finish(Protocol):
    """Ends a stream; see `streams.Stream.finish`."""

    def __call__(self, *, exit_code: int | None = None, error: str = "") -> None: ...


class ImageStreams:
    """What such streams need of their host; `scratch` is a directory on disk."""

    def __init__(self, runtime: Runtime, scratch: Path, changed: Callable[[], None]) -> None:
        self._runtime = runtime
        self._scratch = scratch
        self._changed = changed

    def load(self, put: Put, finish: Finish) -> "LoadSource":
        """Takes in an archive."""
        return LoadSource(put, finish, self._runtime, self._changed, self._scratch)

    def remove(self, put: Put, finish: Finish, image: str) -> "ImageSource":
        """Removes an image."""
        return ImageSource(put, finish, self._changed, partial(_remove, self._runtime, image))


class ImageSource:
    """`work` does it, once there is input where it needs some, and answers whose images these were."""

    def __init__(
        self, put: Put, finish: Finish, changed: Callable[[], None], work: Callable[[], Awaitable[list[Image]]]
    ) -> None:
        self._changed = changed
        self._put = put
        self._finish = finish
        self._work = work
        self.ended = False

    async def begin(self) -> None:
        """Nothing to find."""

    async def run(self) -> None:
        """Does it, and hands on the names."""
        try:
            images = await self._work()
        except RuntimeFailure as failure:
            self._finish(error=failure.message)
            return
        self._changed()
        names = dict.fromkeys(name for image in images for name in (_tags(image) or [image.id]))
        await self._put(Channel.STDOUT, "".join(f"{name}\n" for name in names).encode())
        self._finish(exit_code=0)

    async def write(self, data: bytes) -> None:
        """Takes input, or not."""

    async def close_input(self) -> None:
        """The input's end."""

    def resize(self, rows: int, columns: int) -> None:
        """There is no terminal."""

    def end(self) -> None:
        """Nobody is interested any more."""
        self.ended = True


class LoadSource(ImageSource):
    """An archive that comes in."""

    def __init__(self, put: Put, finish: Finish, runtime: Runtime, changed: Callable[[], None], scratch: Path) -> None:
        super().__init__(put, finish, changed, self._load)
        self._runtime = runtime
        self._scratch = scratch
        self._whole = asyncio.Event()
        self._file: IO[bytes] | None = None

    async def begin(self) -> None:
        """Makes room for it."""
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115 - `end` closes it

    async def write(self, data: bytes) -> None:
        """The next piece; a disk that is full ends the stream."""
        if self._file is None:
            return
        try:
            await asyncio.to_thread(_write_all, self._file, data)
        except OSError as error:
            self._finish(error=f"cannot keep the archive: {error.strerror or error}")
            self.end()

    async def close_input(self) -> None:
        """That was all of it."""
        self._whole.set()

    async def _load(self) -> list[Image]:
        await self._whole.wait()
        if self._file is None:
            return []
        return await self._runtime.load_image(Path(f"/proc/self/fd/{self._file.fileno()}"))

    def end(self) -> None:
        """The file goes with its descriptor."""
        super().end()
        self._whole.set()
        file, self._file = self._file, None
        if file is not None:
            file.close()


async def _remove(runtime: Runtime, reference: str) -> list[Image]:
    image = await runtime.image(reference)
    if image is None:
        raise RuntimeFailure("ImageNotFound", f"there is no image {reference} on this host")
    used = [c for pod in (await runtime.pods()).values() for c in pod.containers if c.image_id == image.id]
    if used:
        raise RuntimeFailure("ImageInUse", f"cannot remove image {reference}: container {used[0].name} uses it")
    await runtime.remove_image(image)
    return [image]


def _tags(image: Image) -> list[str]:
    return [name for name in image.names if "@" not in name]


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
