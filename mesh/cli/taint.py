"""`mesh taint`: which pods a host keeps away (N2)."""

import re
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object

_TAINT = re.compile(r"([^=:]+?)(?:=([^:]*))?(?::(\w+))?(-)?")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@click.command("taint", cls=Verb, short_help="Keep pods away from hosts, by taints.")
@click.argument("words", nargs=-1, required=True, metavar="[node] NODE… KEY=VALUE:EFFECT… KEY:EFFECT-…",
                shell_complete=complete.nodes)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Change the value of a taint that is there already.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every node with these labels.")
@click.option("--all", "everything", is_flag=True, help="Every node.")
@click.pass_obj
@asynchronous
async def command(session: Session, words: tuple[str, ...], overwrite: bool, selector: str, everything: bool) -> None:
    """Keep pods away from hosts: NoSchedule, PreferNoSchedule, or NoExecute, which drives out those that are there.

    \b
    mesh taint node host1 dedicated=db:NoSchedule
    mesh taint node host1 dedicated-
    """
    from mesh.cli.changing import change_all, chosen
    from mesh.errors import Conflict
    from mesh.v1.core_pb2 import Taint

    if words[0].lower() in ("node", "nodes", "no"):
        words = words[1:]
    names = [w for w in words if not _is_taint(w)]
    changes = [_read(w) for w in words if _is_taint(w)]
    if not changes:
        raise click.UsageError("say which taint: KEY=VALUE:EFFECT, or KEY- to take one away")

    def edit(node: "Object") -> None:
        for key, value, effect, removed in changes:
            taints = node.spec.taints  # type: ignore[union-attr] # a Node
            same = [t for t in taints if t.key == key and effect in ("", t.effect)]
            for taint in same:
                if not removed and not overwrite and taint.value != value:
                    raise Conflict(
                        f"{node.metadata.name} has {key}={taint.value}:{effect} already; --overwrite changes it"
                    )
                taints.remove(taint)
            if not removed:
                taints.append(Taint(key=key, value=value, effect=effect))

    async with session.client() as client:
        found = await chosen(client, ["Node", *names], selector, everything=everything, namespace="")
        await change_all(client, found, edit, "tainted" if not all(c[3] for c in changes) else "untainted")


def _is_taint(word: str) -> bool:
    return ":" in word or "=" in word or word.endswith("-")


def _read(word: str) -> tuple[str, str, str, bool]:
    """Key, value, effect, and whether it goes."""
    match = _TAINT.fullmatch(word)
    if match is None or (not match[4] and match[3] not in EFFECTS) or match[3] not in (None, *EFFECTS):
        raise click.UsageError(f'"{word}" should read KEY=VALUE:EFFECT or KEY-; effects are {", ".join(EFFECTS)}')
    return match[1], match[2] or "", match[3] or "", bool(match[4])
