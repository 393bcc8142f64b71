"""Images for containers: found on the host or pulled, few at a time, with back-off (I1, I2, I3).

Rule: nobody waits here for a pull. `resolve` answers at once with what is known; a pull goes on in the background and
pokes the pod when it ends. One pull per reference at a time serves everyone who asks.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model import poddefaults
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import Container
from nodeagent.runtime.port import PULL_FAILURES, Credentials, Image, Progress, Runtime, RuntimeFailure

FIRST, LONGEST = 10 * SECOND, 300 * SECOND  # I2
FRESH = 0.5  # seconds that the answer to "is this image here" serves others who ask
TRANSIENT = SECOND
PROGRESS = 5 * SECOND  # between two words about one pull


def pull_policy(container: Container) -> str:
    """The container's policy; without one, what its image's tag says (I1)."""
    return container.image_pull_policy or poddefaults.pull_policy(container.image)


@dataclass(slots=True)
class _Backoff:
    delay: int
    failed_at: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """A pull that ended: what it took, or why it failed."""

    image: Image | None
    failure: RuntimeFailure | None
    seconds: float
    waited: float = 0.0  # seconds before it began: others were being pulled

    def words(self, reference: str) -> str:
        """What the event says, as Kubernetes says it: the pull, and with the wait for other pulls."""
        size = f" Image size: {self.image.size} bytes." if self.image else ""
        including = f"{_seconds(self.seconds + self.waited)} including waiting"
        return f'Successfully pulled image "{reference}" in {_seconds(self.seconds)} ({including}).{size}'


def progress_words(reference: str, progress: Progress) -> str:
    """What the event says while a pull goes on."""
    received, expected = progress.received / 1e6, progress.expected / 1e6
    layers = f"{progress.layers} layer{'s' if progress.layers != 1 else ''} begun, {progress.done} complete"
    return f"{pulling_words(reference)}: {received:.1f} of {expected:.1f} MB have come ({layers})"


def pulling_words(reference: str) -> str:
    """What the event says first."""
    return f'Pulling image "{reference}"'


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


class Images:
    """The host's images, and the pulls going on, `at_once` at most (I3). `clock` gives nanoseconds since the epoch."""

    def __init__(
        self, runtime: Runtime, clock: Callable[[], int], spawn: Callable[[Coroutine[Any, Any, None]], None],
        at_once: int = 4,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._clock = clock
        self._spawn = spawn  # starts a coroutine in the agent's task group
        self._slots = asyncio.Semaphore(at_once)
        self._pulls: dict[tuple[str, str], asyncio.Future[Pulled]] = {}
        self._told: dict[tuple[str, str], list[Callable[[str], None]]] = {}  # who wants to know how far a pull is
        self._looks: dict[str, asyncio.Future[Image | None]] = {}
        self._backoffs: dict[tuple[str, str], _Backoff] = {}

    async def find(self, reference: str) -> Image | None:
        """The local image of that name; many who ask at once cost one look. Raises RuntimeFailure."""
        loop = asyncio.get_running_loop()
        look = self._looks.get(reference)
        if look is None:
            look = self._looks[reference] = loop.create_future()
            try:
                look.set_result(await self._runtime.image(reference))
            except RuntimeFailure as failure:
                look.set_exception(failure)
                del self._looks[reference]
            except BaseException:
                look.cancel()
                del self._looks[reference]
                raise
            else:
                loop.call_later(FRESH, self._looks.pop, reference, None)
        return await asyncio.shield(look)

    def forget(self, reference: str) -> None:
        """What was known of that name is doubtful."""
        self._looks.pop(reference, None)

    def pull(
        self, reference: str, credentials: Sequence[Credentials] = (), which: str = "",
        told: Callable[[str], None] = lambda _: None,
    ) -> "asyncio.Future[Pulled]":  # fmt: skip
        """Begins to pull, or joins the pull that goes on with the same credentials, which `which` names. A pull that
        takes longer than a few seconds is `told` in words how far it is, now and then."""
        key = (reference, which)
        going_on = self._pulls.get(key)
        if going_on is None:
            going_on = self._pulls[key] = asyncio.get_running_loop().create_future()
            self._spawn(self._pull(key, credentials, going_on))
        self._told.setdefault(key, []).append(told)
        return going_on

    async def _pull(
        self, key: tuple[str, str], credentials: Sequence[Credentials], result: "asyncio.Future[Pulled]"
    ) -> None:
        reference = key[0]
        asked = self._clock()
        async with self._slots:
            begun = self._clock()
            image, failure = None, None
            tell = self._teller(key, begun)
            for one in credentials or (None,):
                try:
                    image, failure = await self._runtime.pull(reference, one, tell), None
                except RuntimeFailure as raised:
                    failure = raised
                if failure is None or failure.transient:
                    break
        del self._pulls[key], self._told[key]
        self.forget(reference)
        if not result.cancelled():
            result.set_result(Pulled(image, failure, (self._clock() - begun) / SECOND, (begun - asked) / SECOND))

    def _teller(self, key: tuple[str, str], begun: int) -> Callable[[Progress], None]:
        """Hears how far a pull is, tells it at most every PROGRESS."""
        last = begun

        def tell(progress: Progress) -> None:
            nonlocal last
            now = self._clock()
            if now - last >= PROGRESS:
                last = now
                for told in self._told.get(key, ()):
                    told(progress_words(key[0], progress))

        return tell

    # ---- back-off

    def failed(self, uid: str, reference: str, failure: RuntimeFailure) -> int:
        """Notes a failure; nanoseconds until it is tried again: 10, 20 … 300 s for pulls (I2)."""
        if failure.transient:
            return TRANSIENT
        if failure.reason not in PULL_FAILURES:
            return FIRST
        now = self._clock()
        known = self._backoffs.get((uid, reference))
        expired = known is None or now - known.failed_at > 2 * LONGEST
        delay = FIRST if known is None or expired else min(known.delay * 2, LONGEST)
        self._backoffs[uid, reference] = _Backoff(delay, now)
        return delay

    def succeeded(self, uid: str, reference: str) -> None:
        """A pull worked: the next failure begins anew."""
        self._backoffs.pop((uid, reference), None)

    def drop(self, uid: str) -> None:
        """A pod is gone."""
        for key in [k for k in self._backoffs if k[0] == uid]:
            del self._backoffs[key]
