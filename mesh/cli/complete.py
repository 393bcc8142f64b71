"""What the shell may complete: contexts, namespaces, kinds, names.

Rule: completion asks meshd for a second at most and is silent about whatever goes wrong.
"""

from typing import Any

import click

_PATIENCE = 1.0  # seconds


def contexts(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Contexts of the context file."""
    from mesh.sdk import context

    try:
        return [name for name in context.read().contexts if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a shell's prompt is no place for errors
        return []


def namespaces(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Namespaces of the mesh."""
    return _names(ctx, "Namespace", incomplete)


def kinds(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Plurals of the kinds that are served."""
    from mesh.model.kinds import served_kinds

    return [k.plural for k in served_kinds() if k.plural.startswith(incomplete)]


def pods(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Pods of the namespace."""
    return _names(ctx, "Pod", incomplete.removeprefix("pod/"))


def nodes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Hosts."""
    return _names(ctx, "Node", incomplete)


def kinds_and_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """A kind first, then names of that kind; "pod/we" becomes "pod/web"."""
    given = ctx.params.get(param.name or "") or ()
    if "/" in incomplete:
        word, _, start = incomplete.partition("/")
        return [f"{word}/{name}" for name in _names(ctx, word, start)]
    if not given:
        return kinds(ctx, param, incomplete)
    return [] if "/" in given[0] else _names(ctx, given[0], incomplete)


def containers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Containers of the pod that is already named."""
    named = ctx.params.get("pod") or next(iter(ctx.params.get("pods") or ()), "")

    async def ask(client: Any) -> list[str]:
        pod = await client.get("Pod", named.removeprefix("pod/"))
        return [c.name for c in (*pod.spec.init_containers, *pod.spec.containers)]

    return [name for name in _asked(ctx, ask) if name.startswith(incomplete)] if named else []


def _names(ctx: click.Context, word: str, incomplete: str) -> list[str]:
    async def ask(client: Any) -> list[str]:
        return [obj.metadata.name for obj in await client.list(word)]

    return [name for name in _asked(ctx, ask) if name.startswith(incomplete)]


def _asked(ctx: click.Context, ask: Any) -> list[str]:
    import asyncio

    async def run() -> list[str]:
        session = ctx.find_root().obj  # a Session
        async with asyncio.timeout(_PATIENCE), session.client() as client:
            found: list[str] = await ask(client)
            return found

    try:
        return asyncio.run(run())
    except Exception:  # noqa: BLE001 - a shell's prompt is no place for errors
        return []
