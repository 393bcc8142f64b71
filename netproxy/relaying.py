"""Moves the bytes of TCP connections and ends them; how connections begin is `tcp`, which owns one of these.

Rules: edges, not levels: whoever is told of bytes reads them all or stays on the list of those to be read again. The
path of a read that is written whole is the only one that must be quick; all else is told in words. No descriptor is
made here, so that a number means one thing within a turn.
"""

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

from netproxy.balance import Counts
from netproxy.http import Lost
from netproxy.links import Link
from netproxy.relay import Side, hold, is_over, may_read, to_tell, took
from netproxy.turns import Event, Turns

IN, OUT, RDHUP, EDGE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP, select.EPOLLET
FAULT = select.EPOLLERR | select.EPOLLHUP
UNUSUAL = ~(IN | OUT)
CHUNK = 512 * 1024  # of a stream at full speed: with a quarter of it, HAProxy moves a third more bytes a second
READS = 16  # of one socket in one turn, before others have theirs
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Relaying:
    """See the module. `drained(counts)` is called when the last connection to a leaving backend is over,
    `connect(link)` when one wants a backend, `connected(link, events)` with the first events of a connect.
    `sides` are all that are watched, by descriptor; `connecting` has no backend yet; `retry` wants one in this turn."""

    def __init__(
        self, turns: Turns, drained: Callable[[Counts], None], connect: Callable[[Link], None],
        connected: Callable[[Link, int], None],
    ) -> None:  # fmt: skip
        self._drained = drained
        self._connect = connect
        self._connected = connected
        self._turns = turns
        self._epoll = turns.epoll
        self.sides: dict[int, Side] = {}
        self.connecting: set[Link] = set()
        self.again: list[Side] = []
        self.retry: list[Link] = []
        self.parking: list[Link] = []
        self._buffer = bytearray(CHUNK)
        self._view = memoryview(self._buffer)
        turns.relay, turns.more = self._relay, self._more

    def links(self) -> Iterator[Link]:
        """Every open connection."""
        seen = {id(side.link): side.link for side in self.sides.values()}
        seen.update((id(link), link) for link in self.connecting)
        return iter(seen.values())

    def leave(self, counts: Iterable[Counts]) -> None:
        """These backends serve no more: connections that are between two requests let go of them now."""
        leaving = set(counts)
        for link in list(self.links()) if leaving else ():
            if link.counts in leaving:
                self._park(link)

    def let_go(self) -> None:
        """Touches nothing any more of what there is."""
        for fd in self.sides:
            self._epoll.unregister(fd)
        self.sides.clear()
        self.connecting.clear()
        self.again, self.retry, self.parking = [], [], []

    def join(self, link: Link) -> None:
        """From now on what one side says is for the other."""
        client, server = link.client, link.server
        client.read, client.write = client.sock.recv_into, server.sock.send
        server.read, server.write = server.sock.recv_into, client.sock.send

    # ---- the turn

    def _relay(self, events: list[Event]) -> list[Event]:
        sides, buffer, view = self.sides, self._buffer, self._view
        others: list[Event] = []
        for fd, mask in events:
            if fd not in sides:
                others.append((fd, mask))
                continue
            side = sides[fd]
            if mask & UNUSUAL or not side.quick:
                self._slow(side, mask)
                continue
            try:
                number = side.read(buffer)
            except BlockingIOError:
                continue
            except OSError:
                self.abort(side.link)
                continue
            if not number:
                self._ended(side)
                continue
            side.count += number
            if side.tapped and self._tap(side, bytes(view[:number])):
                continue
            try:
                sent = side.write(view[:number])
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broken(side.peer)
                continue
            if sent != number:
                self._hold(side.peer, bytes(view[sent:number]))
            elif number == CHUNK:
                self.pump(side)
        return others

    def _more(self) -> None:
        """Carries on with what was left over by the turn's events."""
        if self.parking:
            links, self.parking = self.parking, []
            for link in links:
                self._park(link)
        self.connect_again()
        if self.again:
            sides, self.again = self.again, []
            for side in sides:
                if self.sides.get(side.fd) is side and side.link.counts is not None:
                    self.pump(side)

    def connect_again(self) -> None:
        """Those that want a backend are to get one."""
        links, self.retry = self.retry, []
        for link in links:
            self._connect(link)

    def _slow(self, side: Side, mask: int) -> None:
        link = side.link
        if mask & (RDHUP | FAULT):
            side.hup = True
        if link in self.connecting:
            if side is link.server:
                self._connected(link, mask)
            return  # a client that waits for its next backend is read when that is there
        if link.counts is None:
            self._wake(link)
            return
        if mask & (OUT | FAULT) and side.waiting and not self.flush(side):
            return
        if mask & (IN | RDHUP | FAULT):
            self.pump(side)
        side.quick = link.counts is not None and may_read(side) and not side.waiting

    def pump(self, side: Side) -> None:
        """Reads until there is no more, the other side is full, or others are to have their turn. What comes with the
        end of its direction is sent together with it (MSG_MORE): one packet less for each connection."""
        view = self._view
        for _ in range(READS):
            if not may_read(side):
                return
            try:
                number = side.read(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                self.abort(side.link)
                return
            if not number:
                self._ended(side)
                return
            side.count += number
            if side.tapped and self._tap(side, bytes(view[:number])):
                return
            try:
                sent = side.write(view[:number], socket.MSG_MORE if side.hup else 0)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broken(side.peer)
                return
            if sent != number:
                self._hold(side.peer, bytes(view[sent:number]))
                return
            if number < CHUNK and not side.hup:
                return
        self.again.append(side)
        self._turns.left = True

    def _hold(self, side: Side, rest: bytes) -> None:
        hold(side, rest)
        if not side.watched:
            side.watched = True
            self._epoll.modify(side.fd, IN | OUT | RDHUP | EDGE)

    def flush(self, side: Side) -> bool:
        """Sends what waits for `side`; whether the connection lives on."""
        try:
            all_sent = took(side, side.sock.send(side.waiting))
        except BlockingIOError:
            return True
        except OSError:
            return self._broken(side)
        if not all_sent:
            return True
        if to_tell(side):
            return self._tell(side)
        self.pump(side.peer)
        return self.sides.get(side.fd) is side

    # ---- between two requests

    def _tap(self, side: Side, data: bytes) -> bool:
        """Follows where requests end; whether the bytes go no further for now."""
        link = side.link
        tracker = link.tracker
        try:
            if side is link.client:
                if tracker.idle and link.counts.leaving and self._park(link):
                    self._renew(link, data)
                    return True
                tracker.asked(data)
            else:
                tracker.answered(data)
                if tracker.idle and link.counts.leaving:
                    self.parking.append(link)
                    self._turns.left = True
        except Lost:
            link.tracker = None
            link.client.tapped = link.server.tapped = False
        return False

    def _park(self, link: Link) -> bool:
        """Lets go of the backend, if that loses nothing; the client's next request goes to another."""
        client, server, counts, tracker = link.client, link.server, link.counts, link.tracker
        if tracker is None or not tracker.idle or counts is None or link in self.connecting:
            return False
        if client.waiting or server.waiting or client.ended or server.ended:
            return False
        del self.sides[server.fd]
        server.sock.close()
        server.sock, server.fd = None, -1
        self._part(link)
        client.quick = server.quick = False
        return True

    def _wake(self, link: Link) -> None:
        """The client of a connection without a backend has something to say: its next request, or its end."""
        client = link.client
        if link.first:
            return
        try:
            number = client.read(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            self.abort(link)
            return
        if not number:
            self.finish(link)
            return
        client.count += number
        self._renew(link, bytes(self._view[:number]))

    def _renew(self, link: Link, data: bytes) -> None:
        link.first = data
        try:
            if link.tracker is not None:
                link.tracker.asked(data)
        except Lost:
            link.tracker = None
            link.client.tapped = link.server.tapped = False
        self.retry.append(link)
        self._turns.left = True

    # ---- ends

    def _ended(self, side: Side) -> None:
        side.ended, side.quick = True, False
        if is_over(side):
            self.finish(side.link)
        elif to_tell(side.peer):
            self._tell(side.peer)

    def _tell(self, side: Side) -> bool:
        if is_over(side):
            self.finish(side.link)
            return False
        side.told = True
        with contextlib.suppress(OSError):
            side.sock.shutdown(socket.SHUT_WR)
        return True

    def _broken(self, side: Side) -> bool:
        """`side` takes nothing any more: what it has still said is delivered, then the other side learns of it."""
        side.waiting, side.hup = b"", True
        side.peer.ended, side.peer.quick = True, False
        self.pump(side)
        if self.sides.get(side.fd) is side:
            self.abort(side.link)
        return False

    def lose(self, link: Link) -> None:
        """The backend could not be reached: the connection wants another."""
        self._uncount(link)
        self.connecting.discard(link)
        del self.sides[link.server.fd]
        link.server.sock.close()
        link.server.sock = None
        self.retry.append(link)
        self._turns.left = True

    def _uncount(self, link: Link) -> None:
        counts, link.counts = link.counts, None
        if counts is not None:
            counts.open -= 1
            if counts.leaving and not counts.open:
                self._drained(counts)

    def _part(self, link: Link) -> None:
        """The connection to the backend is over: it is counted."""
        counts = link.counts
        if counts is None:
            return
        counts.bytes_in += link.client.count
        counts.bytes_out += link.server.count
        link.client.count = link.server.count = 0
        self._uncount(link)

    def finish(self, link: Link) -> None:
        """Ends it: what has been sent still arrives."""
        client, server = link.client, link.server
        if client.link is None:
            return
        self.sides.pop(client.fd, None)
        self.sides.pop(server.fd, None)
        self.connecting.discard(link)
        client.sock.close()
        if server.sock is not None:
            server.sock.close()
        self._part(link)
        client.link = server.link = None
        client.read = client.write = server.read = server.write = None
        client.peer = server.peer = client  # no cycle keeps what is over

    def abort(self, link: Link) -> None:
        """Ends it at once, both sides with RST."""
        for side in (link.client, link.server):
            if side.sock is not None:
                with contextlib.suppress(OSError):
                    side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.finish(link)
