"""Waiting until a host is ready for pods: asked of meshd as a user, or by the host's own certificate.

Rule: a Node may still say Ready of its agent's last life; a user who may ask for more asks who is connected, too.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from mesh import pki
from mesh.errors import Forbidden, NotFound, Unavailable

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.supervision.layout import Layout

_SECONDS = 300.0  # an agent on a busy or emulated machine takes minutes
_AGAIN = 0.2  # seconds between questions of a host, which may not watch


def by_meshd(context: str, name: str) -> str:
    """ "Ready", once it is; raises Unavailable."""
    return asyncio.run(_seen_by_user(context, name))


def by_itself(layout: "Layout", control: str, name: str) -> str:
    """ "Ready", once meshd says so to this host; raises Unavailable, and Forbidden when its certificate has ended."""
    ended = pki.expires(layout.agent_certificate.read_bytes())
    if ended < time.time():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ended))
        raise Forbidden(
            f"the certificate of {name} expired at {when}: `mesh token create --node {name}` on the control host makes "
            "a token, `mesh node join` here takes it; what runs here runs on meanwhile"
        )
    return asyncio.run(_seen_by_host(layout, control, name))


async def _seen_by_user(context: str, name: str) -> str:
    from mesh.sdk.client import AsyncClient
    from mesh.sdk.wait import Goal, Wait

    async with AsyncClient(context, timeout=_SECONDS) as client:
        until = time.monotonic() + _SECONDS
        while not any(h.name == name and h.connected for h in (await client.status()).hosts):
            if time.monotonic() > until:
                raise Unavailable(f"the agent of {name} does not come: `mesh status` and `mesh doctor` tell more")
            await asyncio.sleep(_AGAIN / 2)
        goal = Goal("condition Ready", _is_ready, absent=True)
        await Wait(client, "Node", name, "", goal).run(_SECONDS)
    return "Ready"


async def _seen_by_host(layout: "Layout", control: str, name: str) -> str:
    from mesh.sdk.client import AsyncClient
    from mesh.sdk.context import Context
    from mesh.v1.core_pb2 import Node

    files = [str(path) for path in (layout.ca_certificate, layout.agent_certificate, layout.agent_key)]
    until, why = time.monotonic() + _SECONDS, "the mesh does not know it yet"
    async with AsyncClient(Context(tuple(control.split(",")), *files), timeout=_SECONDS) as client:
        while time.monotonic() < until:
            try:
                if _is_ready(node := await client.get(Node, name)):
                    return "Ready"
                why = next((c.message for c in node.status.conditions if c.type == "Ready"), "it says nothing yet")
            except NotFound:
                pass
            except (Forbidden, Unavailable) as error:
                why = error.message
            await asyncio.sleep(_AGAIN)
    raise Unavailable(f"{name} does not become ready: {why}; `mesh doctor` here and `mesh status` there tell more")


def _is_ready(found: "Object | None") -> bool:
    from mesh.v1.core_pb2 import Node

    conditions = found.status.conditions if isinstance(found, Node) else ()
    return any(c.type == "Ready" and c.status == "True" for c in conditions)
