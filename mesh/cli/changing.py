"""Changing objects that are there: read, change a copy, write it back unless somebody was faster; then again.

Rule: a change says what it does to the object it was given; it is asked again with the newer one after a conflict.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from mesh.cli import targets
from mesh.cli.failure import report
from mesh.errors import Conflict, MeshError
from mesh.model.fields import copy_of
from mesh.model.kinds import Object, kind_of

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient

O = TypeVar("O", bound=Object)  # noqa: E741 - an object
_TRIES = 5


async def change(client: "AsyncClient", held: O, edit: Callable[[O], None], *, dry_run: bool = False) -> tuple[O, bool]:
    """The object after `edit`, and whether that made a difference; raises what the service refuses."""
    for attempt in range(_TRIES):
        wanted = copy_of(held)
        edit(wanted)
        if wanted == held:
            return held, False
        try:
            return await client.update(wanted, dry_run=dry_run), True
        except Conflict:
            if attempt == _TRIES - 1:
                raise
            kind = kind_of(held)
            held = await client.get(type(held), held.metadata.name, namespace=held.metadata.namespace or None)
            if kind_of(held) is not kind:
                raise
    raise AssertionError("unreachable")


async def change_all(
    client: "AsyncClient", found: Sequence[Object], edit: Callable[[Object], None], done: str, *, same: str = "",
    dry_run: bool = False,
) -> None:  # fmt: skip
    """Changes each object and says so; one that is refused is reported and the others go on. Exits 1 then."""
    failed = False
    for held in found:
        name = targets.ref(kind_of(held), held.metadata.name)
        try:
            _, differs = await change(client, held, edit, dry_run=dry_run)
        except MeshError as error:
            report(error)
            failed = True
            continue
        mark = " (server dry run)" if dry_run else ""
        click.echo(f"{name} {done if differs else same or f'not {done}'}{mark}")
    if failed:
        raise click.exceptions.Exit(1)


async def chosen(
    client: "AsyncClient", words: Sequence[str], selector: str = "", *, everything: bool = False,
    namespace: str | None = None,
) -> list[Object]:  # fmt: skip
    """The objects that words, labels or --all name; a usage error when they name none or too much."""
    where = client.namespace if namespace is None else namespace
    found: list[Object] = []
    for target in targets.parse(words):
        if target.names and (selector or everything):
            raise click.UsageError("names can't be combined with -l or --all")
        if not target.names and not (selector or everything):
            raise click.UsageError(f"say which {target.kind.plural}: names, -l LABELS or --all")
        kind = target.kind.name
        found += [await client.get(kind, name, namespace=where or None) for name in target.names]
        if not target.names:
            found += await client.list(kind, namespace=where, labels=selector)
    return found
