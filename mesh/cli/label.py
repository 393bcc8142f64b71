"""`mesh label` and `mesh annotate`: words on objects, added, changed and taken away."""

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.apply import dry_run_option
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object


def split(words: tuple[str, ...]) -> tuple[list[str], dict[str, str], list[str]]:
    """What to change, the pairs to set, the keys to take away: "web", "a=b", "a-"."""
    what: list[str] = []
    pairs: dict[str, str] = {}
    removed: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            pairs[key] = value
        elif word.endswith("-") and what:
            removed.append(word[:-1])
        elif pairs or removed:
            raise click.UsageError(f'"{word}" should read KEY=VALUE or KEY-')
        else:
            what.append(word)
    if not pairs and not removed:
        raise click.UsageError("say what to change: KEY=VALUE, or KEY- to take one away")
    if both := pairs.keys() & set(removed):
        raise click.UsageError(f"{', '.join(sorted(both))} can't be both set and taken away")
    return what, pairs, removed


def make(name: str, field: str, done: str, example: str) -> click.Command:
    """The verb that changes one map of the metadata."""

    @click.command(name, cls=Verb, short_help=f"Change {field} of objects.")
    @click.argument("words", nargs=-1, required=True, metavar="KIND NAME… KEY=VALUE… KEY-…",
                    shell_complete=complete.kinds_and_names)  # fmt: skip
    @click.option("--overwrite", is_flag=True, help="Change a value that is there already.")
    @click.option("-l", "--selector", default="", metavar="LABELS", help="Every object of the kind with these labels.")
    @click.option("--all", "everything", is_flag=True, help="Every object of the kind.")
    @dry_run_option("check, and change nothing.")
    @click.pass_obj
    @asynchronous
    async def verb(
        session: Session, words: tuple[str, ...], overwrite: bool, selector: str, everything: bool, dry_run: str
    ) -> None:  # fmt: skip
        from mesh.cli.changing import change_all, chosen

        what, pairs, removed = split(words)
        async with session.client() as client:
            found = await chosen(client, what, selector, everything=everything)
            await change_all(client, found, _edit(field, pairs, removed, overwrite), done, dry_run=dry_run == "server")

    verb.help = f"Change {field} of objects.\n\n\b\n{example}"
    return verb


def _edit(field: str, pairs: dict[str, str], removed: list[str], overwrite: bool) -> "Callable[[Object], None]":
    from mesh.errors import Conflict

    def edit(held: "Object") -> None:
        texts: MutableMapping[str, str] = getattr(held.metadata, field)
        for key, value in pairs.items():
            if not overwrite and texts.get(key, value) != value:
                raise Conflict(f"{held.metadata.name} has {key}={texts[key]} already; --overwrite changes it")
            texts[key] = value
        for key in removed:
            texts.pop(key, None)

    return edit


command = make("label", "labels", "labeled", "mesh label pod web tier=front      mesh label pods --all tier-")
