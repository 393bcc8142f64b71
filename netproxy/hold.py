"""`python -m netproxy.hold`: keeps the proxy's sockets while there is no proxy.

Rules: it knows nothing of what it holds. Listening sockets stay here as long as the proxy wants them, so that new
connections wait for the next proxy instead of failing; open connections are here only between two proxies, and for no
longer than `PATIENCE`. Standard library alone, so that it is small and has nothing to restart for. One proxy at a
time, of root or of its own user.
"""

import array
import json
import os
import resource
import selectors
import socket
import struct
import sys
import time
from typing import Any

PATIENCE = 30.0  # seconds that open connections wait for a proxy
LARGEST = 65536  # bytes of a message
MOST = 200  # descriptors in one message; the kernel takes 253


def send(sock: socket.socket, said: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """One message, and up to MOST descriptors with it."""
    body = json.dumps(said).encode()
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sock.sendmsg([body], extra)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors, or None at the end."""
    body, extra, _, _ = sock.recvmsg(LARGEST, socket.CMSG_SPACE(4 * 253))
    descriptors = array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // 4 * 4])
    return (json.loads(body), list(descriptors)) if body else None


class Holder:
    """What is held: listening sockets by name, and messages left for the next proxy."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._left: list[tuple[dict[str, Any], list[int]]] = []
        self._until = 0.0

    def take(self, said: dict[str, Any], descriptors: list[int], sock: socket.socket) -> None:
        """Does what a proxy says."""
        what = said.get("do")
        if what == "keep":
            for name, descriptor in zip(said["names"], descriptors, strict=True):
                self._drop(name)
                self._kept[name] = descriptor
        elif what == "drop":
            for name in said["names"]:
                self._drop(name)
        elif what == "leave":
            self._left.append((said["what"], descriptors))
            self._until = time.monotonic() + PATIENCE
        elif what == "give":
            self._give(sock)

    def _give(self, sock: socket.socket) -> None:
        names = list(self._kept)
        for start in range(0, len(names), MOST):
            part = names[start : start + MOST]
            send(sock, {"names": part}, [self._kept[name] for name in part])
        for what, descriptors in self._left:
            send(sock, {"left": what}, descriptors)
        self._forget()
        send(sock, {"done": True})

    def wait(self) -> float | None:
        """Seconds until what was left is given up."""
        return max(0.0, self._until - time.monotonic()) if self._left else None

    def expire(self) -> None:
        """Gives up what nobody has come for."""
        if self._left and time.monotonic() >= self._until:
            self._forget()

    def _drop(self, name: str) -> None:
        if name in self._kept:
            os.close(self._kept.pop(name))

    def _forget(self) -> None:
        for _, descriptors in self._left:
            for descriptor in descriptors:
                os.close(descriptor)
        self._left.clear()


def serve(path: str) -> None:
    """Runs until it is killed."""
    if os.path.lexists(path):
        os.unlink(path)  # noqa: PTH108 - pathlib would double the memory of this program
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    server.bind(path)
    os.umask(mask)
    server.listen(8)
    holder = Holder()
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(holder.wait()):
                sock: Any = key.fileobj
                if sock is server:
                    client = server.accept()[0]
                    if _trusted(client):
                        selector.register(client, selectors.EVENT_READ)
                    else:
                        client.close()
                elif not _heard(holder, sock):
                    selector.unregister(sock)
                    sock.close()
            holder.expire()


def _heard(holder: Holder, sock: socket.socket) -> bool:
    """Does all that was said: what one proxy has left must be here before the next one asks for it."""
    try:
        while True:
            sock.setblocking(False)
            message = receive(sock)
            if message is None:
                return False
            sock.settimeout(PATIENCE)
            holder.take(*message, sock)
    except BlockingIOError:
        return True
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"netproxy.hold: {error!r}\n")
        return False


def _trusted(sock: socket.socket) -> bool:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in {0, os.getuid()}


if __name__ == "__main__":
    _, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))
    serve(sys.argv[1])
