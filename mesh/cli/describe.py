"""`mesh describe`: everything about an object, with its events."""

import time
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.failure import report
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.cli.servicedetails import ServiceFacts
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient
    from mesh.v1.net_pb2 import Service


@click.command("describe", cls=Verb, short_help="Tell everything about an object, with its events.")
@click.argument(
    "what", nargs=-1, required=True, metavar="KIND [NAME…] | KIND/NAME…", shell_complete=complete.kinds_and_names
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every object with these labels.")
@click.option("--show-events/--no-show-events", default=True, help="Tell the events too.  [default: yes]")
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], all_namespaces: bool, selector: str, show_events: bool
) -> None:  # fmt: skip
    """Tell everything about an object, with its events. A name may be the beginning of several.

    \b
    mesh describe pod web     mesh describe node/host1     mesh describe pods -l app=web
    """
    from mesh.cli import targets
    from mesh.cli.get import nothing_found
    from mesh.errors import NotFound

    wanted = targets.parse(what)
    failed = False
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        found: list[Object] = []
        for target in wanted:
            kind = target.kind.name
            if not target.names:
                found += await client.list(kind, namespace=namespace, labels=selector)
            for name in target.names:
                try:
                    found += await _named(client, kind, name, namespace)
                except NotFound as error:
                    report(error)
                    failed = True
        for index, obj in enumerate(found):
            click.echo(("\n\n" if index else "") + await _described(client, obj, show_events), nl=False)
        if not found and not failed:
            nothing_found([t.kind for t in wanted], namespace)
    if failed:
        raise click.exceptions.Exit(1)


async def _named(client: "AsyncClient", kind: str, name: str, namespace: str) -> "Sequence[Object]":
    """The object of this name, or as kubectl has it all whose names begin so; raises NotFound."""
    from mesh.errors import NotFound

    try:
        return [await client.get(kind, name, namespace=namespace)]
    except NotFound:
        similar = [o for o in await client.list(kind, namespace=namespace) if o.metadata.name.startswith(name)]
        if not similar:
            raise
        return similar


async def _described(client: "AsyncClient", obj: "Object", show_events: bool) -> str:
    from mesh.cli.details import describe
    from mesh.cli.servicedetails import ServiceFacts
    from mesh.model.kinds import kind_of
    from mesh.v1.core_pb2 import Event, Node, Pod
    from mesh.v1.net_pb2 import EndpointSlice, Ingress, Service

    kind, name = kind_of(obj), obj.metadata.name
    events: Sequence[Event] = []
    if show_events and kind.name != "Event":
        fields = f"involvedObject.kind={kind.name},involvedObject.name={name}"
        where = obj.metadata.namespace if kind.namespaced else ""
        listed = await client.list(Event, namespace=where, fields=fields)
        events = [e for e in listed if e.involved_object.uid in ("", obj.metadata.uid, name)]
    related = await client.list(Pod, namespace="", fields=f"spec.nodeName={name}") if isinstance(obj, Node) else []
    facts = ServiceFacts()
    if isinstance(obj, Service):
        facts = await _service(client, obj)
    elif isinstance(obj, Ingress):
        namespace = obj.metadata.namespace
        services = await client.list(Service, namespace=namespace)
        facts = ServiceFacts(await client.list(EndpointSlice, namespace=namespace), services=services)
    return describe(obj, events, related, time.time(), facts)


async def _service(client: "AsyncClient", service: "Service") -> "ServiceFacts":
    from mesh.cli.servicedetails import ServiceFacts
    from mesh.errors import Forbidden
    from mesh.model.services import SERVICE_LABEL
    from mesh.v1.net_pb2 import EndpointSlice

    meta = service.metadata
    slices = await client.list(EndpointSlice, namespace=meta.namespace, labels=f"{SERVICE_LABEL}={meta.name}")
    try:
        hosts = await client.proxy_flows(f"{meta.namespace}/{meta.name}")
    except Forbidden:
        hosts = ()  # who may see the Service need not be one who may ask hosts
    return ServiceFacts(slices, hosts)
