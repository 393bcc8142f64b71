"""The name server when others do not answer it."""

import asyncio
import socket
from collections.abc import Callable

import dns.message
import dns.rcode

from netproxy.dns.server import DATAGRAMS, WAITING, NameServer
from netproxy.routes import Listen
from netproxy.turns import Turns


class Watched(Turns):
    """Calls nobody by itself."""

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        self.call = call

    def forget(self, fd: int) -> None: ...


def udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind(("127.0.0.1", 0))
    return made


async def test_one_question_asked_without_end_waits_in_a_bounded_number() -> None:
    turns, listen = Watched(), Listen("UDP", "127.0.0.1", 53)
    server, ours = NameServer(turns, asyncio.get_running_loop()), udp()
    query = dns.message.make_query("www.example.org", "A").to_wire()
    with udp() as silent, udp() as client:
        server.configure("cluster.local", ["{}:{}".format(*silent.getsockname())], {})
        server.open(listen, ours)
        client.connect(ours.getsockname())

        def ask(number: int) -> int:
            """How many of so many questions are answered at once; each is a failure then."""
            for _ in range(number):
                client.send(query)
            turns.call()
            for answered in range(number):
                try:
                    answer = dns.message.from_wire(client.recv(4096))
                except BlockingIOError:
                    return answered
                assert answer.rcode() == dns.rcode.SERVFAIL
            return number

        for _ in range(WAITING // DATAGRAMS):
            assert ask(DATAGRAMS) == 0
        assert ask(5) == 5
        server.close(listen)
