"""The second witness: while a host's agent says nothing, another program of the host is asked whether the host lives.

Rule: nobody is asked whose agent speaks. A host is asked once a second, and has as long to answer; it answers when the
tunnel's port, which needs no Ray, proves itself by the host's certificate. One unanswered question is none: only the
second in a row counts. What an answer means is `controllers.nodes`' to say.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable

EVERY = 1.0  # seconds between two questions to a host, and the time that it has for an answer
LASTS = 2.5  # seconds that an answer counts
LEAD = 1.5  # seconds before a host counts as silent at which it is asked first, so that the answer is there in time
Witness = Callable[[str, str], Awaitable[bool]]  # of a host's name and address: whether it lives


class Handshakes:
    """A Witness: a TLS handshake at `port`. `ca`: the authorities that certify hosts, PEM. No certificate is shown: the
    host has proved itself before it asks for one."""

    def __init__(self, ca: Callable[[], bytes], port: int) -> None:
        self._ca = ca
        self._port = port

    async def __call__(self, name: str, address: str) -> bool:
        """Whether who answers there is the host of this name."""
        if not address:
            return False
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(cadata=self._ca().decode())
            async with asyncio.timeout(EVERY):
                _, writer = await asyncio.open_connection(address, self._port, ssl=context, server_hostname=name)
        except (OSError, TimeoutError, ValueError):  # ssl.SSLError is an OSError
            return False
        writer.transport.abort()
        return True


class Witnesses:
    """Who answered last when; without a `witness` nobody is asked, and nothing is known."""

    def __init__(self, witness: Witness | None, tasks: asyncio.TaskGroup) -> None:
        self._witness = witness
        self._tasks = tasks
        self._asked: dict[str, float] = {}  # since when, by the loop's clock
        self._answered: dict[str, float] = {}
        self._pending: set[str] = set()

    def ask(self, hosts: Iterable[tuple[str, str]]) -> None:
        """Asks these, by name and address, and forgets all others; to be called as long as they are silent."""
        if self._witness is None:
            return
        now, wanted = asyncio.get_running_loop().time(), dict(hosts)
        for known in (self._asked, self._answered):
            for name in [n for n in known if n not in wanted]:
                del known[name]
        for name, address in wanted.items():
            self._asked.setdefault(name, now)
            if name not in self._pending:
                self._pending.add(name)
                self._tasks.create_task(self._question(name, address), name=f"witness {name}")

    def answers(self, name: str) -> bool | None:
        """Whether the host has answered lately; None when it is not asked."""
        if name not in self._asked:
            return None
        return asyncio.get_running_loop().time() - self._answered.get(name, float("-inf")) <= LASTS

    async def _question(self, name: str, address: str) -> None:
        assert self._witness is not None  # noqa: S101 - `ask` looked
        try:
            if await self._witness(name, address) and name in self._asked:
                self._answered[name] = asyncio.get_running_loop().time()
        finally:
            self._pending.discard(name)
