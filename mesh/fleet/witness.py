"""The second witness: while a host's agent says nothing, another program of the host is asked whether the host lives.

Rule: nobody is asked whose agent speaks. A host is asked once a second, and has as long to answer; it answers when the
tunnel's port, which needs no Ray, proves itself by the host's certificate. One unanswered question is none: only the
second in a row counts. When many are silent they take turns: what asking costs has a bound, and so has its haste. What
an answer means is `controllers.nodes`' to say.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable

EVERY = 1.0  # seconds between two questions to a host, and the time that it has for an answer
MOST = 100  # questions a second, to all hosts together: a proof costs about a millisecond
ROUNDED = 0.9  # of a second: who was asked so long ago may be asked again, for clocks are not exact
LEAD = 1.5  # seconds before a host counts as silent at which it is asked first, so that the answer is there in time
Witness = Callable[[str, str], Awaitable[bool]]  # of a host's name and address: whether it lives


class Handshakes:
    """A Witness: a TLS handshake at `port`. `ca`: the authorities that certify hosts, PEM. No certificate is shown: the
    host has proved itself before it asks for one."""

    def __init__(self, ca: Callable[[], bytes], port: int) -> None:
        self._ca = ca
        self._port = port
        self._made: tuple[bytes, ssl.SSLContext] | None = None

    async def __call__(self, name: str, address: str) -> bool:
        """Whether who answers there is the host of this name."""
        if not address:
            return False
        try:
            async with asyncio.timeout(EVERY):
                _, writer = await asyncio.open_connection(
                    address, self._port, ssl=self._context(), server_hostname=name
                )
        except (OSError, TimeoutError, ValueError):  # ssl.SSLError is an OSError
            return False
        writer.transport.abort()
        return True

    def _context(self) -> ssl.SSLContext:
        ca = self._ca()
        if self._made is None or self._made[0] != ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(cadata=ca.decode())
            self._made = ca, context
        return self._made[1]


class Witnesses:
    """What the hosts' last answers amount to; without a `witness` nobody is asked, and nothing is known."""

    def __init__(self, witness: Witness | None, tasks: asyncio.TaskGroup) -> None:
        self._witness = witness
        self._tasks = tasks
        self._asked: dict[str, float] = {}  # when last, by the loop's clock
        self._missed: dict[str, int] = {}  # how many questions in a row
        self._lives: dict[str, bool] = {}
        self._pending: set[str] = set()
        self._left, self._counted = float(MOST), 0.0  # questions that may be asked now, and when that was reckoned

    def ask(self, hosts: Iterable[tuple[str, str]]) -> None:
        """Asks these, by name and address, whose turn it is, and forgets all others; to be called as long as they are
        silent."""
        if self._witness is None:
            return
        now, wanted = asyncio.get_running_loop().time(), dict(hosts)
        for known in (self._asked, self._missed, self._lives):
            for name in [n for n in known if n not in wanted]:
                del known[name]
        for name in self._due(wanted, now):
            self._left -= 1
            self._asked[name] = now
            self._pending.add(name)
            self._tasks.create_task(self._question(name, wanted[name]), name=f"witness {name}")

    def answers(self, name: str) -> bool | None:
        """Whether the host has answered lately; None as long as that is not known."""
        return self._lives.get(name)

    def _due(self, names: Iterable[str], now: float) -> list[str]:
        """Those who have waited longest, as many as may be asked now."""
        self._left = min(MOST, self._left + (now - self._counted) / EVERY * MOST)
        self._counted = now
        since = {n: now - self._asked.get(n, float("-inf")) for n in names if n not in self._pending}
        return sorted((n for n in since if since[n] >= ROUNDED * EVERY), key=lambda n: -since[n])[: int(self._left)]

    async def _question(self, name: str, address: str) -> None:
        assert self._witness is not None  # noqa: S101 - `ask` looked
        try:
            lives = await self._witness(name, address)
        finally:
            self._pending.discard(name)
        if name not in self._asked:
            return
        self._missed[name] = 0 if lives else self._missed.get(name, 0) + 1
        if lives or self._missed[name] > 1:
            self._lives[name] = lives
