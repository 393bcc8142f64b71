"""An event loop whose clock jumps to the next timer whenever nothing else is to be done.

Rule: time passes only while every task waits for time. Work for threads (`asyncio.to_thread`) is done at once, in no
time. Other processes and threads do not hold the clock, so a simulation uses bodies without them (MemoryStore, not
SqliteStore). Whatever asks for chance (uids, tokens, jitter) gets it from the seed, so that a failure repeats.
"""

import asyncio
import functools
import os
import random
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

EPOCH = 1_700_000_000  # seconds: what `now_ns` says when a loop begins


class _Selector(selectors.DefaultSelector):
    """Looks at real input without waiting; when there is none, the wait for the next timer is the jump."""

    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.jump(timeout)
        return ready


class BentLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.jump = self._jump
        self._now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor hands it on
            done.set_exception(error)
        return done

    def now_ns(self) -> int:
        """The wall clock of the simulation, in nanoseconds since the epoch."""
        return EPOCH * 1_000_000_000 + round(self._now * 1e9)

    def stall(self, seconds: float) -> None:
        """Time passes in which nobody is heard, as when something holds the loop."""
        self._jump(seconds)

    def _jump(self, seconds: float) -> None:
        self._now += seconds


def run(main: Coroutine[Any, Any, T], seed: int = 0) -> T:
    """Runs `main` on a bent loop of its own; its chance is that of the seed."""
    with _chance(seed), asyncio.Runner(loop_factory=BentLoop) as runner:
        return runner.run(main)


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """`random`, `uuid` and `secrets` say the same each time."""
    before = random.getstate()
    drawn = random.Random(f"bent time {seed}").randbytes
    random.seed(seed)
    try:
        with mock.patch.object(os, "urandom", drawn), mock.patch.object(random, "_urandom", drawn):
            yield
    finally:
        random.setstate(before)


def now_ns() -> int:
    """The running bent loop's wall clock: the `clock` to give to what is simulated."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, BentLoop)
    return loop.now_ns()


def bent(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Decorates an async test: it runs on a bent loop of its own (and cannot use async fixtures)."""

    @functools.wraps(test)
    def on_bent_loop(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return on_bent_loop
