"""`python -m netproxy.knock SOCKET IP:PORT PKI ALLOWED`: waits for the first encrypted connection, then is the tunnel.

Rule: standard library alone, and little of it: a host whose Services ask for no encryption pays a few megabytes.
"""

import os
import select
import socket
import sys

BACKLOG = 4096
PATIENCE = 5.0  # seconds for the first byte


def main(path: str, address: str, pki: str, allowed: str) -> None:
    """Listens at both ends; never returns."""
    if os.path.lexists(path):
        os.unlink(path)  # noqa: PTH108 - pathlib would double the memory of this program
    local = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    local.bind(path)
    os.umask(mask)
    ip, _, port = address.rpartition(":")
    remote = socket.socket()
    remote.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    remote.bind((ip, int(port)))
    for sock in (remote, local):
        sock.listen(BACKLOG)
    first = None
    while first is None:
        ready, _, _ = select.select([local, remote], [], [])
        first = _speaker(ready[0])
    from netproxy import tunnel  # noqa: PLC0415 - asyncio and ssl, once they are needed

    tunnel.run(local, remote, first, pki, allowed)


def _speaker(listening: socket.socket) -> socket.socket | None:
    """The next connection, if it says something: who only looks whether we are here changes nothing."""
    sock, _ = listening.accept()
    sock.settimeout(PATIENCE)
    try:
        if sock.recv(1, socket.MSG_PEEK):
            return sock
    except OSError:
        pass
    sock.close()
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
