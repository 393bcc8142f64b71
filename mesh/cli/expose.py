"""`mesh expose`: a Service for pods, for another Service's pods, or for a workload's."""

from typing import TYPE_CHECKING, Any

import click

from mesh.cli.create import output_options
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.model.kinds import Object
    from mesh.v1.net_pb2 import Service

_TYPES = click.Choice(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])


@click.command("expose", cls=Verb, short_help="Make a Service for pods or a workload.")
@click.argument("what", nargs=-1, required=True, metavar="KIND NAME | KIND/NAME")
@click.option("--port", type=click.IntRange(1, 65535), metavar="NUMBER",
              help="The Service's port.  [default: the ports of the containers]")  # fmt: skip
@click.option(
    "--target-port", default="", metavar="PORT", help="The pods' port, a number or a name.  [default: --port]"
)
@click.option("--protocol", type=click.Choice(["TCP", "UDP"]), default="TCP", show_default=True, help="Of the port.")
@click.option("--name", default="", metavar="NAME", help="The Service's name.  [default: that of what is exposed]")
@click.option("--type", "type_", type=_TYPES, default="ClusterIP", show_default=True, help="How it is reached.")
@click.option("--selector", default="", metavar="KEY=VALUE,…", help="Labels of the pods.  [default: by the object]")
@click.option("--cluster-ip", default="", metavar="ADDRESS", help="Its address; None for a headless Service.")
@click.option("--load-balancer-ip", default="", metavar="ADDRESS", help="Its address of the load balancers' pool.")
@click.option("--external-ip", default="", metavar="ADDRESS", help="An address of a host that it is reached at too.")
@click.option("--session-affinity", type=click.Choice(["None", "ClientIP"]), default=None,
              help="Whether a client keeps its pod.")  # fmt: skip
@output_options
@click.pass_obj
@asynchronous
async def command(session: Session, /, what: tuple[str, ...], dry_run: str, output: str, **wishes: Any) -> None:
    """Make a Service for pods, or for those of a workload or another Service.

    \b
    mesh expose pod web --port 80 --target-port 8080
    mesh expose deployment/web --port 80 --type NodePort
    """
    from mesh.cli import targets
    from mesh.cli.create import tell

    target = targets.one(what)
    async with session.client() as client:
        exposed = await client.get(target.kind.name, target.names[0])
        service = service_for(exposed, wishes)
        made = service if dry_run == "client" else await client.create(service, dry_run=dry_run == "server")
        tell(made, dry_run, output)


def service_for(exposed: "Object", wishes: "Mapping[str, Any]") -> "Service":
    """The Service that the words ask for; raises Invalid when the object has neither labels nor ports to go by."""
    from mesh.errors import Invalid
    from mesh.model.kinds import kind_of
    from mesh.v1.meta_pb2 import IntOrString
    from mesh.v1.net_pb2 import Service

    service = Service(api_version="v1", kind="Service")
    service.metadata.name = wishes["name"] or exposed.metadata.name
    service.metadata.labels.update(exposed.metadata.labels)
    subject = f"{kind_of(exposed).name.lower()}/{exposed.metadata.name}"
    spec = service.spec
    spec.type = wishes["type_"]
    spec.selector.update(_pairs(wishes["selector"]) or _selector(exposed))
    if not spec.selector:
        raise Invalid(f"cannot expose {subject}: it has no labels to choose pods by; say --selector KEY=VALUE")
    ports = [(wishes["port"], wishes["protocol"], "")] if wishes["port"] else _ports(exposed)
    if not ports:
        raise Invalid(f"cannot expose {subject}: its containers name no ports; say --port NUMBER")
    for number, protocol, name in ports:
        port = spec.ports.add(port=number, protocol=protocol)
        if len(ports) > 1:
            port.name = name or f"port-{number}-{protocol.lower()}"
        if text := wishes["target_port"]:
            target = IntOrString(int_value=int(text)) if text.isdecimal() else IntOrString(string_value=text)
            port.target_port.CopyFrom(target)
    for field, text in (("cluster_ip", wishes["cluster_ip"]), ("load_balancer_ip", wishes["load_balancer_ip"]),
                        ("session_affinity", wishes["session_affinity"])):  # fmt: skip
        if text:
            setattr(spec, field, text)
    if wishes["external_ip"]:
        spec.external_ips.append(wishes["external_ip"])
    return service


def _selector(exposed: "Object") -> dict[str, str]:
    """Labels by which the pods are found: a Service's or a workload's selector, a pod's own labels."""
    from mesh.v1.core_pb2 import Pod
    from mesh.v1.net_pb2 import Service

    if isinstance(exposed, Pod):
        return dict(exposed.metadata.labels)
    selector = getattr(getattr(exposed, "spec", None), "selector", None)
    if isinstance(exposed, Service):
        return dict(exposed.spec.selector)
    labels = getattr(selector, "match_labels", selector)
    return dict(labels) if labels else {}


def _ports(exposed: "Object") -> "list[tuple[int, str, str]]":
    from mesh.v1.core_pb2 import Pod
    from mesh.v1.net_pb2 import Service

    if isinstance(exposed, Service):
        return [(p.port, p.protocol or "TCP", p.name) for p in exposed.spec.ports]
    spec: Any = exposed.spec if isinstance(exposed, Pod) else None
    if spec is None:
        template = getattr(getattr(exposed, "spec", None), "template", None)
        spec = getattr(template, "spec", None)
    containers = getattr(spec, "containers", ())
    return [(p.container_port, p.protocol or "TCP", p.name) for c in containers for p in c.ports]


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise click.UsageError(f'--selector "{part}" should read KEY=VALUE')
        found[key] = value
    return found
