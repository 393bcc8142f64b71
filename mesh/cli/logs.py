"""`mesh logs`: what containers wrote, of one pod or of all that a selector chooses."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mesh.cli import complete
from mesh.cli.failure import report, say
from mesh.cli.session import Duration, Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.cli.logfollow import Show
    from mesh.cli.logmerge import Line, Source
    from mesh.sdk.client import AsyncClient
    from mesh.v1.core_pb2 import Pod

_SELECTED_TAIL = 10  # lines of each pod that -l shows, as kubectl


@click.command("logs", cls=Verb, short_help="Print what containers wrote.")
@click.argument("pod", required=False, default="", metavar="[POD]", shell_complete=complete.pods)
@click.argument("named", required=False, default="", metavar="[CONTAINER]", shell_complete=complete.containers)
@click.option("-f", "--follow", is_flag=True, help="Go on as the containers write.")
@click.option(
    "-c", "--container", default="", metavar="NAME", help="Which container.", shell_complete=complete.containers
)
@click.option("--all-containers", is_flag=True, help="All containers of the pods.")
@click.option("-p", "--previous", is_flag=True, help="Of the container's previous run.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Of all pods with these labels.")
@click.option("--tail", type=int, default=None, metavar="N", help="The last N lines.  [default: all; with -l 10]")
@click.option("--since", type=Duration(), default=None, metavar="TIME", help="Only what is newer: 30s, 5m, 2h.")
@click.option("--since-time", default="", metavar="TIME", help="Only what is newer: 2026-01-31T12:00:00Z.")
@click.option("--timestamps", is_flag=True, help="The time before each line.")
@click.option("--prefix", is_flag=True, help="Pod and container before each line.")
@click.option("--limit-bytes", type=click.IntRange(1), default=None, metavar="N", help="At most so many bytes.")
@click.option(
    "--max-log-requests",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many logs -f may follow at once.",
)
@click.pass_obj
@asynchronous
async def command(
    session: Session, pod: str, named: str, follow: bool, container: str, all_containers: bool, previous: bool,
    selector: str, tail: int | None, since: float | None, since_time: str, timestamps: bool, prefix: bool,
    limit_bytes: int | None, max_log_requests: int,
) -> None:  # fmt: skip
    """Print what containers wrote.

    \b
    mesh logs web                  mesh logs -f web -c app       mesh logs web --previous
    mesh logs web --since 5m       mesh logs -l app=web --prefix mesh logs web --all-containers
    mesh logs deployment/web -f    (and whatever replaces its pods)

    Lines of several containers come in the order of their times; on a terminal each pod has a colour.
    """
    from mesh.cli.logfollow import Follower, merged

    _check(pod, selector, (container, named), all_containers, tail)
    options = {
        "follow": follow, "previous": previous, "timestamps": timestamps, "limit_bytes": limit_bytes,
        "tail": _tail(tail, bool(selector)), **_since(since, since_time),
    }  # fmt: skip
    async with session.client() as client:
        if "/" in pod:
            pod, selector = await _workload(client, pod)
            options["tail"] = _tail(tail, bool(selector))
        pods = await _pods(client, pod, selector)

        def choose(found: "Pod") -> "list[Source]":
            return _sources(found, container or named, all_containers, quiet=bool(selector))

        sources = [source for found in pods for source in choose(found)]
        if not sources:
            say(f"No resources found in {client.namespace} namespace.")
        if follow and len(sources) > max_log_requests:
            raise click.UsageError(
                f"this would follow {len(sources)} logs; --max-log-requests {len(sources)} allows it"
            )
        show = _printer(prefix, session.color, timestamps)
        ordered = {**options, "timestamps": True}  # by which the lines are put in order
        if len(sources) == 1 and not (prefix or (selector and follow)):
            failed = await _alone(client, sources[0], options)
        elif follow:
            follower = Follower(client, choose, ordered, show, max_log_requests if selector else len(sources))
            failed = await follower.run(selector, pods)
        else:
            failed = await merged(client, sources, ordered, show)
        if failed:
            raise click.exceptions.Exit(1)


def _tail(tail: int | None, selected: bool) -> int | None:
    if tail is None:
        return _SELECTED_TAIL if selected else None
    return None if tail == -1 else tail


def _check(pod: str, selector: str, containers: Sequence[str], every: bool, tail: int | None) -> None:
    if bool(pod) == bool(selector):
        raise click.UsageError("say which pods: a name, or -l LABELS")
    if any(containers) and (every or all(containers)):
        raise click.UsageError("say one container, or --all-containers")
    if tail is not None and tail < -1:
        raise click.UsageError("--tail must be a number of lines, or -1 for all")


def _since(since: float | None, since_time: str) -> dict[str, Any]:
    import math
    from datetime import UTC, datetime

    from mesh.model.times import from_timestamp, parse_rfc3339

    if since is not None and since_time:
        raise click.UsageError("--since and --since-time can't be combined")
    if since_time:
        try:
            return {"since": datetime.fromtimestamp(from_timestamp(parse_rfc3339(since_time)) / 1e9, UTC)}
        except ValueError as error:
            raise click.UsageError(f"--since-time: {error}") from None
    if since is not None and since <= 0:
        raise click.UsageError("--since must be more than nothing")
    return {"since_seconds": math.ceil(since)} if since is not None else {}


async def _workload(client: "AsyncClient", word: str) -> tuple[str, str]:
    """A pod's name, or the labels of the pods of a workload; one of the two."""
    from mesh.cli import targets
    from mesh.errors import Invalid

    target = targets.one((word,))
    if target.kind.name == "Pod":
        return word, ""
    spec: Any = getattr(await client.get(target.kind.name, target.names[0]), "spec", None)
    chosen = getattr(spec, "selector", {})
    labels = dict(getattr(chosen, "match_labels", chosen) or {}) if target.kind.name != "Node" else {}
    if not labels:
        raise Invalid(f'"{word}" is a {target.kind.name}, which chooses no pods: say a pod\'s name, or -l LABELS')
    return "", ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


async def _pods(client: "AsyncClient", word: str, selector: str) -> "Sequence[Pod]":
    from mesh.cli import targets
    from mesh.v1.core_pb2 import Pod

    if selector:
        return await client.list(Pod, labels=selector)
    return [await client.get(Pod, targets.one((word,)).names[0])]


def _sources(pod: "Pod", container: str, everything: bool, *, quiet: bool) -> "list[Source]":
    from mesh.cli.logmerge import Source
    from mesh.errors import NotFound
    from mesh.model import pods

    name, names = pod.metadata.name, [c.name for c in pods.containers(pod.spec)]
    if everything:
        return [Source(name, c) for c in names]
    if container and container not in names:
        raise NotFound(f'pod "{name}" has no container "{container}"; it has {", ".join(names)}')
    chosen = container or pods.default_container(pod)
    if not container and len(pod.spec.containers) > 1 and not quiet:
        say(f'Defaulted container "{chosen}" out of: {", ".join(names)}')
    return [Source(name, chosen)]


async def _alone(client: "AsyncClient", source: "Source", options: dict[str, Any]) -> bool:
    """Prints one log as it is; True when it could not be read, which has been told."""
    from mesh.errors import MeshError

    try:
        async for chunk in client.log_bytes(source.pod, container=source.container, **options):
            _write(chunk)
    except MeshError as error:
        report(error)
        return True
    return False


def _printer(prefix: bool, coloured: bool, timestamps: bool) -> "Show":
    def show(source: "Source", line: "Line") -> None:
        before = source.prefix(coloured) if prefix or coloured else b""
        _write(before + (line.stamp if timestamps else b"") + line.text + b"\n")

    return show


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
