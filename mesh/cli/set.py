"""`mesh set`: small changes of a workload's template, each of which is a rollout."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.label import split
from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.v1.core_pb2 import Container, PodSpec


@click.group("set", cls=VerbGroup, short_help="Change images, environment or resources.")
def command() -> None:
    """Change images, environment or resources of a workload's pods, or of a pod where that is possible."""


_CONTAINERS = click.option("-c", "--containers", default="*", metavar="NAME", show_default=True,
                           help="Which container; * is all.")  # fmt: skip


@command.command("image", cls=Verb)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME CONTAINER=IMAGE…",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.pass_obj
def _image(session: Session, words: tuple[str, ...]) -> None:
    """Let containers run other images.

    \b
    mesh set image deployment/web app=web:2      mesh set image ds/agent '*=agent:2'
    """
    what, pairs, removed = split(words)
    if removed:
        raise click.UsageError("an image can't be taken away")

    def edit(spec: "PodSpec") -> None:
        from mesh.model.pods import containers

        for name, image in pairs.items():
            for container in _named(list(containers(spec)), name):
                container.image = image

    _change(session, what, edit, "image updated")


@command.command("env", cls=Verb)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME KEY=VALUE… KEY-…",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.option("--list", "show", is_flag=True, help="Show what is set, change nothing.")
@_CONTAINERS
@click.pass_obj
def _env(session: Session, words: tuple[str, ...], show: bool, containers: str) -> None:
    """Change environment variables, or show them.

    \b
    mesh set env deployment/web COLOR=blue OLD-
    mesh set env deployment/web --list
    """
    if show:
        _show(session, list(words), containers)
        return
    what, pairs, removed = split(words)

    def edit(spec: "PodSpec") -> None:
        for container in _named(list(spec.containers), containers):
            kept = [e for e in container.env if e.name not in removed]
            del container.env[:]
            container.env.extend(kept)
            for key, value in pairs.items():
                held = next((e for e in container.env if e.name == key), None) or container.env.add(name=key)
                held.ClearField("value_from")
                held.value = value

    _change(session, what, edit, "env updated")


@command.command("resources", cls=Verb)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME", shell_complete=complete.kinds_and_names)
@click.option("--requests", default="", metavar="cpu=100m,memory=64Mi", help="What the containers ask for.")
@click.option("--limits", default="", metavar="cpu=1,memory=128Mi", help="What they may use.")
@_CONTAINERS
@click.pass_obj
def _resources(session: Session, what: tuple[str, ...], requests: str, limits: str, containers: str) -> None:
    """Change what containers ask for and may use; 0 takes a limit away."""
    asked, allowed = _amounts(requests), _amounts(limits)
    if not asked and not allowed:
        raise click.UsageError("say --requests or --limits")

    def edit(spec: "PodSpec") -> None:
        for container in _named(list(spec.containers), containers):
            for held, amounts in ((container.resources.requests, asked), (container.resources.limits, allowed)):
                for name, text in amounts.items():
                    if text == "0":
                        held.pop(name, None)
                    else:
                        held[name] = text

    _change(session, list(what), edit, "resource requirements updated")


def _amounts(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, amount = part.partition("=")
        if not equals or not amount:
            raise click.UsageError(f'"{part}" should read NAME=AMOUNT, such as cpu=100m')
        found[name] = amount
    return found


def _named(found: "list[Container]", name: str) -> "list[Container]":
    from mesh.errors import NotFound

    chosen = [c for c in found if name in ("*", c.name)]
    if not chosen:
        raise NotFound(f'there is no container "{name}"; there are {", ".join(c.name for c in found)}')
    return chosen


def _show(session: Session, what: list[str], containers: str) -> None:
    from mesh.model.kinds import kind_of
    from mesh.model.pods import containers as every

    @asynchronous
    async def run() -> None:
        from mesh.cli.changing import chosen

        async with session.client() as client:
            for held in await chosen(client, what):
                for container in _named(list(every(_spec_of(held))), containers):
                    click.echo(f"# {kind_of(held).name} {held.metadata.name}, container {container.name}")
                    for variable in container.env:
                        given = variable.HasField("value_from")  # of a ConfigMap, a Secret or a field of the pod
                        click.echo(f"# {variable.name} from {variable.value_from.ListFields()[0][0].json_name}"
                                   if given else f"{variable.name}={variable.value}")  # fmt: skip

    run()


def _spec_of(held: "Object") -> "PodSpec":
    """The pod's spec that an object has; raises Invalid."""
    from mesh.errors import Invalid
    from mesh.model.kinds import kind_of
    from mesh.model.workloads import WORKLOADS, template_of
    from mesh.v1.batch_pb2 import CronJob
    from mesh.v1.core_pb2 import Pod

    if isinstance(held, Pod):
        return held.spec
    if isinstance(held, (*WORKLOADS, CronJob)):
        return template_of(held).spec
    raise Invalid(f"a {kind_of(held).name} has no containers")


def _change(session: Session, what: list[str], edit: "Callable[[PodSpec], None]", done: str) -> None:
    @asynchronous
    async def run() -> None:
        from mesh.cli.changing import change_all, chosen

        async with session.client() as client:
            await change_all(
                client, await chosen(client, what), lambda held: edit(_spec_of(held)), done, same="unchanged"
            )

    run()
