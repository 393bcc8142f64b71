"""`mesh create deployment|job|cronjob`: workloads from words alone."""

from typing import TYPE_CHECKING

import click

from mesh.cli.create import create, output_options
from mesh.cli.session import Session, Verb

if TYPE_CHECKING:
    from mesh.v1.batch_pb2 import Job
    from mesh.v1.core_pb2 import PodTemplateSpec

_ARGUMENTS = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
_IMAGE = click.option("--image", required=True, metavar="IMAGE", help="What to run.")


@click.command("deployment", cls=Verb)
@click.argument("name")
@_ARGUMENTS
@click.option("--image", required=True, multiple=True, metavar="IMAGE", help="What to run; once for each container.")
@click.option(
    "--replicas", type=click.IntRange(0), default=1, show_default=True, metavar="COUNT", help="How many pods."
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="NUMBER", help="A port that the first container serves.")
@output_options
@click.pass_obj
def deployment(
    session: Session, name: str, arguments: tuple[str, ...], image: tuple[str, ...], replicas: int, port: int | None,
    dry_run: str, output: str,
) -> None:  # fmt: skip
    """Create a Deployment; its pods carry the label app=NAME.

    \b
    mesh create deployment web --image=localhost/web:1 --replicas=3 --port=8080
    """
    from mesh.v1.apps_pb2 import Deployment

    made = Deployment(api_version="apps/v1", kind="Deployment")
    made.metadata.name, made.metadata.labels["app"] = name, name
    made.spec.replicas = replicas
    made.spec.selector.match_labels["app"] = name
    made.spec.template.metadata.labels["app"] = name
    for each in image:
        made.spec.template.spec.containers.add(name=_name_of(each), image=each)
    first = made.spec.template.spec.containers[0]
    first.command.extend(arguments)
    if port:
        first.ports.add(container_port=port)
    create(session, made, dry_run, output)


@click.command("job", cls=Verb)
@click.argument("name")
@_ARGUMENTS
@click.option("--image", default="", metavar="IMAGE", help="What to run.")
@click.option("--from", "source", default="", metavar="cronjob/NAME", help="Run a CronJob's Job now.")
@output_options
@click.pass_obj
def job(
    session: Session, name: str, arguments: tuple[str, ...], image: str, source: str, dry_run: str, output: str
) -> None:  # fmt: skip
    """Create a Job.

    \b
    mesh create job once --image=localhost/busybox:1 -- date
    mesh create job now --from=cronjob/backup
    """
    from mesh.v1.batch_pb2 import Job

    if bool(image) == bool(source):
        raise click.UsageError("say what to run: --image=IMAGE or --from=cronjob/NAME")
    made = Job(api_version="batch/v1", kind="Job")
    if source:
        made.CopyFrom(_from_cron_job(session, source))
    else:
        _fill(made.spec.template, name, image, arguments)
    made.metadata.name = name
    create(session, made, dry_run, output)


@click.command("cronjob", cls=Verb)
@click.argument("name")
@_ARGUMENTS
@_IMAGE
@click.option("--schedule", required=True, metavar="'MINUTE HOUR DAY MONTH WEEKDAY'", help="When.")
@output_options
@click.pass_obj
def cron_job(
    session: Session, name: str, arguments: tuple[str, ...], image: str, schedule: str, dry_run: str, output: str
) -> None:  # fmt: skip
    """Create a CronJob.

    \b
    mesh create cronjob tick --image=localhost/busybox:1 --schedule='*/5 * * * *' -- date
    """
    from mesh.v1.batch_pb2 import CronJob

    made = CronJob(api_version="batch/v1", kind="CronJob")
    made.metadata.name = name
    made.spec.schedule = schedule
    _fill(made.spec.job_template.spec.template, name, image, arguments)
    create(session, made, dry_run, output)


def _fill(template: "PodTemplateSpec", name: str, image: str, arguments: tuple[str, ...]) -> None:
    template.spec.restart_policy = "Never"
    template.spec.containers.add(name=name, image=image).command.extend(arguments)


def _from_cron_job(session: Session, source: str) -> "Job":
    import asyncio

    from mesh.cli import targets
    from mesh.errors import Invalid
    from mesh.model.workloads import owner_reference
    from mesh.v1 import batch_pb2

    target = targets.one((source,), "CronJob")
    if target.kind.name != "CronJob":
        raise Invalid(f'--from takes a CronJob; "{source}" is a {target.kind.name}')

    async def held() -> batch_pb2.CronJob:
        async with session.client() as client:
            return await client.get(batch_pb2.CronJob, target.names[0])

    cron = asyncio.run(held())
    made = batch_pb2.Job(api_version="batch/v1", kind="Job", spec=cron.spec.job_template.spec)
    made.metadata.labels.update(cron.spec.job_template.metadata.labels)
    made.metadata.annotations.update(cron.spec.job_template.metadata.annotations)
    made.metadata.annotations["cronjob.kubernetes.io/instantiate"] = "manual"
    made.metadata.namespace = cron.metadata.namespace
    made.metadata.owner_references.append(owner_reference(cron))
    return made


def _name_of(image: str) -> str:
    """A container's name from its image: "localhost/my_web:1" -> "my-web"."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return "".join(c if c.isalnum() else "-" for c in last.lower()).strip("-") or "main"
