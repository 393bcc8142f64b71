"""`mesh autoscale`: an autoscaler for a workload, from words alone."""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.create import output_options
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.v1.policy_pb2 import HorizontalPodAutoscaler


@click.command("autoscale", cls=Verb, short_help="Let a workload have as many pods as it needs.")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME | KIND NAME",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.option("--max", "most", type=click.IntRange(1), required=True, metavar="COUNT", help="At most so many pods.")
@click.option("--min", "least", type=click.IntRange(1), default=1, show_default=True, metavar="COUNT",
              help="At least so many.")  # fmt: skip
@click.option("--cpu", default="", metavar="PERCENT%|AMOUNT",
              help="Per cent of the cpu that each pod asks for, or an amount as 500m.  [default: 80%]")  # fmt: skip
@click.option("--memory", default="", metavar="PERCENT%|AMOUNT", help="The same of memory.")
@click.option("--cpu-percent", type=click.IntRange(1), default=None, metavar="PERCENT", help="As --cpu=PERCENT%.")
@click.option("--name", default="", metavar="NAME", help="The autoscaler's name.  [default: the workload's]")
@output_options
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], most: int, least: int, cpu: str, memory: str,
    cpu_percent: int | None, name: str, dry_run: str, output: str,
) -> None:  # fmt: skip
    """Let a workload have as many pods as it needs, by what they use.

    \b
    mesh autoscale deployment/web --min=2 --max=10 --cpu=50%
    mesh autoscale sts db --max=5 --memory=300Mi

    Other metrics, and how fast it may go: `mesh explain hpa.spec`, docs/workloads.md.
    """
    from mesh.cli import targets
    from mesh.cli.create import tell
    from mesh.model.kinds import kind_of

    if cpu and cpu_percent is not None:
        raise click.UsageError("--cpu and --cpu-percent say the same; give one of them")
    if least > most:
        raise click.UsageError(f"--max must be at least --min, {least}")
    target = targets.one(what)
    cpu = f"{cpu_percent}%" if cpu_percent is not None else cpu
    wishes = [(resource, text) for resource, text in (("cpu", cpu), ("memory", memory)) if text]
    async with session.client() as client:
        held = await client.get(target.kind.name, target.names[0])
        made = autoscaler(name or held.metadata.name, least, most, wishes or [("cpu", "80%")])
        kind = kind_of(held)
        ref = made.spec.scale_target_ref
        ref.api_version, ref.kind, ref.name = kind.api_version, kind.name, held.metadata.name
        tell(
            made if dry_run == "client" else await client.create(made, dry_run=dry_run == "server"),
            dry_run,
            output,
            "autoscaled",
        )


def autoscaler(name: str, least: int, most: int, wishes: list[tuple[str, str]]) -> "HorizontalPodAutoscaler":
    """The autoscaler that the words ask for; raises UsageError for what is neither per cent nor an amount."""
    from mesh.model import quantity
    from mesh.v1.policy_pb2 import HorizontalPodAutoscaler

    made = HorizontalPodAutoscaler(api_version="autoscaling/v2", kind="HorizontalPodAutoscaler")
    made.metadata.name = name
    made.spec.min_replicas, made.spec.max_replicas = least, most
    for resource, text in wishes:
        metric = made.spec.metrics.add(type="Resource")
        metric.resource.name = resource
        target = metric.resource.target
        share = text.removesuffix("%")
        if share.isdecimal() and int(share) and text.endswith("%"):
            target.type, target.average_utilization = "Utilization", int(share)
            continue
        try:
            quantity.parse(text)
        except ValueError:
            raise click.UsageError(f'--{resource} should read as 80% or 500m, not "{text}"') from None
        target.type, target.average_value = "AverageValue", text
    return made
