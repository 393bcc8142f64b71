"""Loads of `benchmarks/services.py` that wrk has not: `python service_loads.py udp|dns|rate IP:PORT SECONDS [RATE]`.

Prints one number: replies in a second, or (rate) requests that were answered, at RATE requests a second over 32
connections that stay open. A process of its own, so that its work is not counted as anybody else's.
"""

import select
import socket
import sys
import time

SOCKETS, WINDOW, KEPT = 8, 16, 32
NAME = b"\x03web\x07default\x03svc\x07cluster\x05local\x00"
QUESTION = b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + NAME + b"\x00\x01\x00\x01"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def datagrams(address: tuple[str, int], seconds: float, datagram: bytes) -> float:
    """Replies a second, with so many questions on their way at once; a lost one is asked again after a moment."""
    poll, socks, replies = select.epoll(), {}, 0
    for _ in range(SOCKETS):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(address)
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        for _ in range(WINDOW):
            sock.send(datagram)
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for fd, _ in poll.poll(0.05) or [(fd, 0) for fd in socks]:
            try:
                for _ in range(WINDOW):
                    socks[fd].recv(2048)
                    replies += 1
                    socks[fd].send(datagram)
            except BlockingIOError:
                continue
            except ConnectionRefusedError:
                return 0.0
        if not replies and now - began > 1:
            return 0.0
    return replies / seconds


def paced(address: tuple[str, int], seconds: float, rate: float) -> float:
    """Requests that were answered; each is sent when it is due, on the next connection that waits for none."""
    poll, idle, socks, answered, sent = select.epoll(), [], {}, 0, 0
    for _ in range(KEPT):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks[sock.fileno()] = sock
        idle.append(sock)
        poll.register(sock, select.EPOLLIN)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while idle and sent < passed * rate:
            idle.pop().send(REQUEST)
            sent += 1
        for fd, _ in poll.poll(max(0.0, (sent + 1) / rate - passed) if idle else 0.05):
            socks[fd].recv(4096)
            idle.append(socks[fd])
            answered += 1
    return answered


def main() -> None:
    """See the module."""
    what, where, seconds, *rate = sys.argv[1:]
    host, _, port = where.rpartition(":")
    address = host, int(port)
    if what == "rate":
        print(paced(address, float(seconds), float(rate[0])))
    else:
        print(datagrams(address, float(seconds), QUESTION if what == "dns" else b"x" * 64))


if __name__ == "__main__":
    main()
