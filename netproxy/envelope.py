"""What the proxy and its hands say to each other: Python values, and descriptors beside them.

Rules: both ends are one program's, parent and child, over a socket pair that nobody else has; so values travel pickled.
They lie in memory files, for they may be larger than a message.
"""

import array
import os
import pickle
import socket
from collections.abc import Sequence
from typing import Any

MOST = 200  # descriptors beside one message; the kernel takes 253, one is the values' own


def send(sock: socket.socket, values: Any, descriptors: Sequence[int] = ()) -> None:
    """One message; raises OSError."""
    words = os.memfd_create("words", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(words), "wb") as file:
            pickle.dump(values, file)
        sock.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [words, *descriptors]))])
    finally:
        os.close(words)


def receive(sock: socket.socket) -> tuple[Any, list[int]] | None:
    """The next message, None at the end; raises OSError."""
    body, extra, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4 * 253))
    if not body:
        return None
    descriptors = array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // 4 * 4])
    words, *others = descriptors
    with os.fdopen(words, "rb") as file:
        file.seek(0)
        return pickle.load(file), others  # noqa: S301 - of our own parent or child
