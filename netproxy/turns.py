"""The program's one wait: an asyncio selector that lets the engines have their sockets' events without a detour.

Rules: engines' descriptors and asyncio's live in one epoll set. In each turn bytes are moved first, then what was
watched with a call is called, then asyncio has its own. An engine that has more to do than a turn allows says so, and
is asked again after a look at the others. A selector of asyncio's own would cost each event a Handle and a Context;
measured, moving bytes inside of the wait takes two thirds of the time that a nested epoll set under uvloop takes.
"""

import select
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

Event = tuple[int, int]  # descriptor, epoll's mask
EVENTS, ROUNDS = 512, 64  # events in one turn; turns before asyncio looks at its timers again
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class Turns(selectors.BaseSelector):
    """See the module. `relay` takes a turn's events and returns those that are not its own; `more` carries on with
    what was left over, when somebody has said that something is (`left`)."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.relay: Callable[[list[Event]], list[Event]] = lambda events: events
        self.more: Callable[[], None] = lambda: None
        self.left = False  # set by who leaves something for `more` to carry on with
        self._calls: dict[int, Callable[[], None]] = {}
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._leave = False

    # ---- for engines

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Calls whenever there is something to read, until `forget`."""
        self._calls[fd] = call
        self.epoll.register(fd, _READ)

    def forget(self, fd: int) -> None:
        """No more calls."""
        del self._calls[fd]
        self.epoll.unregister(fd)

    def leave(self) -> None:
        """A timer or task was made: the wait is to be computed anew."""
        self._leave = True

    # ---- for asyncio

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Moves bytes until asyncio has something to do, or `timeout` seconds have passed."""
        self._leave = False
        wait = 0.0 if self.left else -1.0 if timeout is None else max(timeout, 0.0)
        end = None if timeout is None else time.monotonic() + timeout
        poll, relay = self.epoll.poll, self.relay
        for _ in range(ROUNDS):
            others = relay(poll(wait, EVENTS))
            ready = self._others(others) if others else others
            if self.left:
                self.left = False
                self.more()
            if ready or self._leave or timeout == 0:
                return ready  # type: ignore[return-value]  # it is empty, or made by `_others`
            if end is not None and (left := end - time.monotonic()) <= 0:
                return []
            wait = 0.0 if self.left else (-1.0 if end is None else left)
        return []

    def _others(self, events: list[Event]) -> list[tuple[selectors.SelectorKey, int]]:
        """Calls who watches; what is asyncio's own is returned."""
        ready = []
        for fd, mask in events:
            call = self._calls.get(fd)
            if call is not None:
                call()
            elif fd in self._keys:
                ready.append(self._ready(self._keys[fd], mask))
        return ready

    @staticmethod
    def _ready(key: selectors.SelectorKey, mask: int) -> tuple[selectors.SelectorKey, int]:
        events = 0
        if mask & ~_READ:
            events |= selectors.EVENT_WRITE
        if mask & ~_WRITE:
            events |= selectors.EVENT_READ
        return key, events & key.events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        self.epoll.register(fd, _mask(events))
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        try:
            self.epoll.unregister(key.fd)
        except OSError:  # closed before: epoll has let go of it by itself
            return key
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        if events != key.events:
            self.epoll.modify(key.fd, _mask(events))
        fresh = self._keys[key.fd] = key._replace(events=events, data=data)
        return fresh

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd < 0:
            return next(key for key in self._keys.values() if key.fileobj is fileobj)
        return self._keys[fd]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self.epoll.close()
        self._keys.clear()
        self._calls.clear()


def _mask(events: int) -> int:
    return (_READ if events & selectors.EVENT_READ else 0) | (_WRITE if events & selectors.EVENT_WRITE else 0)
