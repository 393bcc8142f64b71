"""When and where the console is served: from the first ticket on, until nobody is signed in any more.

Rule: until somebody asks for it nothing of it is loaded, and no port is open. Its port is TLS with certificates of the
mesh on both sides, so that browsers come through `mesh console` alone.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import structlog

from mesh.access.who import Who
from mesh.console.sessions import Sessions
from mesh.errors import Unavailable
from mesh.exposition.web import Files, tls_context
from mesh.pki import Identity

if TYPE_CHECKING:
    from mesh.console.app import Console

LOOK = 60.0  # seconds between two looks at whether somebody is still signed in
_OPENING = 10.0
_log = structlog.get_logger("mesh.console")


class ConsoleDoor:
    """`listen` is "host:port"; `make` gives the console once it is wanted."""

    def __init__(self, listen: str, files: Files | None, make: "Callable[[Sessions], Console]") -> None:
        self._listen = listen
        self._files = files
        self._make = make
        self._sessions = Sessions(lambda: secrets.token_urlsafe(32))
        self._wanted = asyncio.Event()
        self._port: asyncio.Future[int] | None = None

    async def ticket(self, who: Who, identity: Identity | None) -> tuple[str, int]:
        """A ticket, and the port where it is good; raises Unavailable."""
        if not self._listen or self._files is None:
            raise Unavailable("this meshd serves no console: meshd.toml has no console_listen")
        word = self._sessions.ticket(who, identity, time.time())
        if self._port is None or (self._port.done() and self._port.exception()):
            self._port = asyncio.get_running_loop().create_future()
            self._wanted.set()
        try:
            async with asyncio.timeout(_OPENING):
                return word, await asyncio.shield(self._port)
        except (OSError, TimeoutError) as error:
            raise Unavailable(
                f"cannot open the console at {self._listen}: {str(error) or 'it took too long'}"
            ) from error

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            assert self._port is not None  # noqa: S101 - set before `_wanted`
            opened = self._port
            try:
                await self._serve(opened)
            except OSError as error:
                _log.warning("console_not_offered", address=self._listen, why=str(error))
                if not opened.done():
                    opened.set_exception(error)
                    opened.exception()  # told to whoever asks; nobody asking is no error
            else:
                self._port = None

    async def _serve(self, opened: "asyncio.Future[int]") -> None:
        import uvicorn  # noqa: PLC0415 - see the module

        class Server(uvicorn.Server):
            """Signals are the program's."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        assert self._files is not None  # noqa: S101 - asked by `ticket`
        host, _, port = self._listen.rpartition(":")
        context = tls_context(self._files)
        config = uvicorn.Config(
            self._make(self._sessions).app(), log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=1, server_header=False, http="h11",
        )  # fmt: skip
        listening = socket.create_server((host, int(port)), reuse_port=False)
        config.load()
        config.ssl = context
        server = Server(config)
        found = listening.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # uvicorn tells nobody when it listens
            _log.info("console_offered", host=host, port=found)
            opened.set_result(found)
            while not self._sessions.empty(time.time()) and not serving.done():  # noqa: ASYNC110 - time ends them
                await asyncio.sleep(LOOK)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            _log.info("console_closed")
