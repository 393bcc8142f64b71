"""`mesh run`: a pod from words alone."""

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient
    from mesh.v1.core_pb2 import Pod


@click.command("run", cls=Verb, short_help="Run an image in a pod.")
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENT…]")
@click.option("--image", required=True, metavar="IMAGE", help="What to run.")
@click.option("--command", "as_command", is_flag=True, help="The arguments are the command, not its arguments.")
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="An environment variable; may be repeated.")
@click.option("--labels", default="", metavar="KEY=VALUE,…", help="Labels of the pod.  [default: run=NAME]")
@click.option("--port", type=click.IntRange(1, 65535), metavar="NUMBER", help="A port that the container serves.")
@click.option("--restart", type=click.Choice(["Always", "OnFailure", "Never"]), default="Always", show_default=True,
              help="Whether the container is started again.")  # fmt: skip
@click.option("--image-pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), default=None,
              help="When to pull.  [default: by the tag]")  # fmt: skip
@click.option("-i", "--stdin", is_flag=True, help="Give it our input, and attach to it.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal, with -i ours.")
@click.option("--attach", "follow", is_flag=True, help="Follow its output until it ends.")
@click.option("--rm", "remove", is_flag=True, help="Follow its output until it ends, then delete it.")
@click.option("--dry-run", type=click.Choice(["none", "client", "server"]), default="none", is_flag=False,
              flag_value="client", help="client: only print the object; server: let the service check it.")  # fmt: skip
@click.option("-o", "--output", default="", metavar="FORMAT", help="name, yaml, json or jsonpath=TEMPLATE.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, name: str, arguments: tuple[str, ...], image: str, as_command: bool, env: tuple[str, ...],
    labels: str, port: int | None, restart: str, image_pull_policy: str | None, stdin: bool, tty: bool, follow: bool,
    remove: bool, dry_run: str, output: str,
) -> None:  # fmt: skip
    """Run an image in a pod of its own.

    \b
    mesh run web --image=localhost/web:1 --port=8080
    mesh run once --image=localhost/busybox:1 --restart=Never --rm -- date
    mesh run shell --image=localhost/busybox:1 --restart=Never --rm -it -- sh

    With -i, --attach or --rm, and --restart=Never, mesh ends with the container's exit code.
    """
    from mesh.cli.create import tell

    pod = pod_of(name, image, restart)
    container = pod.spec.containers[0]
    (container.command if as_command else container.args).extend(arguments)
    for key, value in _pairs(env, "--env").items():
        container.env.add(name=key, value=value)
    pod.metadata.labels.update(_pairs(tuple(filter(None, labels.split(","))), "--labels") or {"run": name})
    if port:
        container.ports.add(container_port=port)
    if image_pull_policy:
        container.image_pull_policy = image_pull_policy
    if stdin:
        container.stdin = container.stdin_once = True
    if tty:
        container.tty = True
    if dry_run == "client":
        tell(pod, dry_run, output)
        return
    async with session.client() as client:
        made = await client.create(pod, dry_run=dry_run == "server")
        if not (follow or remove or stdin) or dry_run != "none":
            tell(made, dry_run, output)
            return
        try:
            code = await _follow(client, name, restart, stdin, tty, session.request_timeout or 60.0)
        finally:
            if remove:
                await client.delete("Pod", name)
                click.echo(f'pod "{name}" deleted', err=True)
    if code:
        raise click.exceptions.Exit(code)


async def _follow(client: "AsyncClient", name: str, restart: str, stdin: bool, tty: bool, seconds: float) -> int:
    """Shows what the pod writes until it ends, and takes our input to it; the container's exit code, 0 for one that is
    started again."""
    from mesh.cli.attach import attach
    from mesh.errors import Conflict, NotFound
    from mesh.sdk.wait import Goal, Wait
    from mesh.v1.core_pb2 import Pod

    def phase(obj: "Object | None") -> str:
        return obj.status.phase if isinstance(obj, Pod) else ""

    begun = Goal("its start", lambda obj: phase(obj) not in ("", "Pending"))
    over = Goal("its end", lambda obj: phase(obj) in ("Succeeded", "Failed"))
    await Wait(client, "Pod", name, client.namespace, begun).run(seconds)
    talked = False
    if stdin and not over.met(await client.get(Pod, name)):
        with contextlib.suppress(Conflict, NotFound):  # it has ended meanwhile
            await attach(client, name, name, stdin=True, tty=tty, quiet=False)
            talked = True
    if not talked:
        async for data in client.log_bytes(name, follow=True):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    if restart != "Never":
        return 0
    await Wait(client, "Pod", name, client.namespace, over).run(seconds)
    status = (await client.get(Pod, name)).status
    return next((s.state.terminated.exit_code for s in status.container_statuses), 0)


def pod_of(name: str, image: str, restart: str) -> "Pod":
    """A pod of one container that is named as the pod is."""
    from mesh.v1.core_pb2 import Pod

    pod = Pod(api_version="v1", kind="Pod")
    pod.metadata.name = name
    pod.spec.restart_policy = restart
    pod.spec.containers.add(name=name, image=image)
    return pod


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.UsageError(f'{option} "{text}" should read KEY=VALUE')
        found[key] = value
    return found
