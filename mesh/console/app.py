"""The console as a Starlette application: who asks, which page, and pages that are sent again when they change.

Rule: nothing is changed by any request. Every answer but the sign-in is for a session whose certificate is not revoked;
what the caller may not see is not there. A page that is looked at is made anew when the view has moved, at most once in
SETTLE, less often in a large mesh, and sent only when it differs.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from mesh.access.asks import on_service
from mesh.access.decide import decide
from mesh.access.revoked import is_revoked
from mesh.console import flowpage, podpage
from mesh.console.html import Html, frame, join, tag
from mesh.console.pages import PAGES, hosts_shown
from mesh.console.reader import Known, Reader
from mesh.console.sessions import Session, Sessions
from mesh.errors import MeshError
from mesh.fleet.port import AgentPort
from mesh.fleet.streams import batches, close_stream, measured
from mesh.model import pods
from mesh.store.feed import Feed
from mesh.v1 import node_pb2
from mesh.v1.control_pb2 import AlertStatus
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import Flows, FlowsRequest, SecretReceipt
from mesh.v1.stats_pb2 import History

COOKIE = "mesh-console"
SETTLE, CLOCK = 0.3, 15.0  # seconds that changes gather; until ages are shown anew
REST, LONGEST = 20, 1.5  # times what a page took to make: so long the next one waits; and at most, in seconds
TAIL = 200  # lines of a log
_HISTORY_SECONDS, _POINTS, _FRESH = 3600, 60, 15.0
_FLOWS_FRESH = 3.0
_PATIENCE = 2.0  # for a host that is asked while a page waits


@dataclass(slots=True)
class Console:
    """What the pages are made of; see `mesh.meshd`."""

    feed: Feed
    sessions: Sessions
    agent: Callable[[str], AgentPort | None] = lambda _name: None
    alerts: Callable[[], Sequence[AlertStatus]] = tuple
    receipts: Callable[[str, str], Sequence[SecretReceipt]] = lambda _host, _uid: ()
    _known: Known = field(default_factory=Known)
    _histories: dict[str, tuple[float, History]] = field(default_factory=dict)
    _carried: tuple[float, dict[str, Flows | str]] = (float("-inf"), {})

    def app(self) -> Starlette:
        """The application."""
        found = [Route(path, self._page) for path in (*PAGES, "/flows")]
        return Starlette(routes=[
            Route("/sign-in", self._sign_in), *found, Route("/pods/{namespace}/{name}", self._page),
        ])  # fmt: skip

    # ---- who

    async def _sign_in(self, request: Request) -> Response:
        word = self.sessions.redeem(request.query_params.get("ticket", ""), time.time())
        if not word:
            return _answer(_plain("This ticket was used or is too old: run `mesh console` again."), 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, word, httponly=True, samesite="strict")
        return answer

    def _session(self, request: Request) -> Session | None:
        session = self.sessions.of(request.cookies.get(COOKIE, ""), time.time())
        if session is None or (session.identity is not None and is_revoked(session.identity, self.feed.view)):
            return None
        return session

    # ---- pages

    async def _page(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _answer(_plain("Nobody is signed in here: run `mesh console`."), 401)
        if request.query_params.get("live"):
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(self._live(request), media_type="text/event-stream", headers=headers)
        nonce = secrets.token_urlsafe(12)
        body = await self._body(request, session)
        at = "/pods" if "name" in request.path_params else request.url.path
        page = frame(at.strip("/").title() or "Overview", body or _missing(), session.who.name, nonce, at)
        return _answer(page, 200 if body is not None else 404, nonce)

    async def _body(self, request: Request, session: Session) -> Html | None:
        path = request.url.path
        reader = Reader(self.feed.view, session.who, time.time(), self.alerts, self.receipts, pods=self._known)
        self._known.forget(self.feed.view)
        if "name" in request.path_params:
            return await self._pod(request, reader)
        reader.history = await self._histories_of(
            node.metadata.name for node in hosts_shown(reader, path, request.query_params)
        )
        if path == "/flows":
            if not decide(session.who, on_service("get", "flows"), self.feed.view).allowed:
                return None
            return flowpage.page(reader, await self._flows())
        return PAGES[path](reader, request.query_params)

    async def _pod(self, request: Request, reader: Reader) -> Html | None:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        pod = reader.one("Pod", namespace, name)
        if not isinstance(pod, Pod):
            return None
        container = request.query_params.get("container", "")
        if pods.container_named(pod.spec, container) is None:
            container = pods.default_container(pod)
        log = "you may not read logs here"
        if reader.may("get", "Pod", namespace, "log"):
            try:
                async with asyncio.timeout(_PATIENCE):
                    log = await self._log(pod, container)
            except (MeshError, TimeoutError) as error:
                log = f"no log: {str(error) or 'the host did not answer in time'}"
        if pod.spec.node_name:
            reader.history = await self._histories_of((pod.spec.node_name,))
        return podpage.page(reader, pod, log, container)

    async def _log(self, pod: Pod, container: str) -> str:
        agent = self.agent(pod.spec.node_name)
        if agent is None:
            return "no log: its host cannot be reached"
        options = node_pb2.LogOptions(container=container, tail_lines=TAIL)
        stream = (await agent.open_stream(node_pb2.StreamOpen(pod_uid=pod.metadata.uid, logs=options))).id
        parts: list[bytes] = []
        try:
            async with aclosing(batches(agent, stream)) as found:  # type: ignore[type-var]  # a generator
                async for batch in found:
                    parts += [chunk.data for chunk in batch.chunks]
        finally:
            await close_stream(agent, stream)
        return b"".join(parts)[-100_000:].decode(errors="replace")

    async def _flows(self) -> dict[str, Flows | str]:
        """What every host's proxy carries, asked anew at most every few seconds."""
        now = time.monotonic()
        if self._carried[0] + _FLOWS_FRESH < now:
            names = [node.metadata.name for node in self.feed.view.nodes()]
            said = await asyncio.gather(*(self._ask_flows(name) for name in names))
            self._carried = now, dict(zip(names, said, strict=True))
        return self._carried[1]

    async def _ask_flows(self, host: str) -> Flows | str:
        agent = self.agent(host)
        if agent is None:
            return "cannot be reached"
        try:
            async with asyncio.timeout(_PATIENCE):
                return await agent.flows(FlowsRequest(connections=True))
        except (MeshError, TimeoutError) as error:
            return str(error) or "did not answer in time"

    async def _histories_of(self, hosts: Iterable[str]) -> dict[str, History]:
        names = list(hosts)
        await asyncio.gather(*(self._ask_history(name) for name in names))
        return {name: self._histories[name][1] for name in names if name in self._histories}

    async def _ask_history(self, host: str) -> None:
        now = time.monotonic()
        if host in self._histories and self._histories[host][0] + _FRESH > now:
            return
        options = node_pb2.MeasureOptions(history_seconds=_HISTORY_SECONDS, points=_POINTS)
        with suppress(MeshError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                self._histories[host] = now, History.FromString(await measured(host, self.agent(host), options))

    # ---- live

    async def _live(self, request: Request) -> AsyncIterator[str]:
        """The page's body, whenever it differs from the one before, as server-sent events."""
        moved = asyncio.Event()
        leave = self.feed.on_events(lambda _events: moved.set())
        before = ""
        try:
            while (session := self._session(request)) is not None:
                began = time.thread_time()
                body = await self._body(request, session)
                took = time.thread_time() - began
                text = str(body if body is not None else _missing())
                if text != before:
                    before = text
                    yield f"data: {json.dumps(text)}\n\n"
                else:
                    yield ": still here\n\n"
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOCK):
                        await moved.wait()
                await asyncio.sleep(max(SETTLE, min(REST * took, LONGEST)))
                moved.clear()
        finally:
            leave()


def _missing() -> Html:
    return join([tag("h1", "Not here"), tag("p", "It is gone, or you may not see it.")])


def _plain(words: str) -> str:
    return f"<!doctype html><title>mesh</title>{tag('p', words)}"


def _answer(page: str, status: int, nonce: str = "") -> Response:
    only = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
    headers = {
        "Content-Security-Policy": only + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    }  # fmt: skip
    return HTMLResponse(page, status, headers)
