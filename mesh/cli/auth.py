"""`mesh auth`: who I am to the mesh, and what I may do."""

from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.v1.access_pb2 import CanIRequest, GrantedRule

_FORMAT = click.option(
    "-o", "--output", type=click.Choice(["", "json", "yaml"]), default="", metavar="FORMAT", help="json or yaml."
)


@click.group("auth", cls=VerbGroup, short_help="Say who you are to the mesh and what you may do.")
def command() -> None:
    """Say who you are to the mesh and what you may do.

    \b
    mesh auth whoami
    mesh auth can-i create pods -n team
    mesh auth can-i get pods/log
    mesh auth can-i --list -n team
    """


@command.command("whoami", cls=Verb)
@_FORMAT
@click.pass_obj
@asynchronous
async def _whoami(session: Session, output: str) -> None:
    """Say whom meshd takes you for, and by what."""
    from mesh.cli import tables
    from mesh.cli.columns import NONE
    from mesh.cli.printers import Table
    from mesh.sdk.access import Access

    async with session.client() as client:
        who = await Access(client.over).whoami()
    if output:
        click.echo(_document(who, output), nl=False)
        return
    rows = (("Name", who.name), ("Groups", ", ".join(who.groups) or NONE), ("By", who.by))
    tables.show(Table(("ATTRIBUTE", "VALUE"), rows), color=session.color)


@command.command("can-i", cls=Verb)
@click.argument("verb", required=False)
@click.argument("what", required=False, metavar="KIND[/NAME]")
@click.option("--subresource", default="", metavar="PART", help="A part of the object: log, exec, portforward, status.")
@click.option("--as", "user", default="", metavar="USER", help="Ask about somebody else (needs the verb impersonate).")
@click.option("--as-group", "groups", multiple=True, metavar="GROUP", help="A group of that somebody.")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("--list", "listed", is_flag=True, help="List everything that is allowed.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@_FORMAT
@click.pass_obj
@asynchronous
async def _can_i(
    session: Session, verb: str | None, what: str | None, subresource: str, user: str, groups: tuple[str, ...],
    all_namespaces: bool, listed: bool, quiet: bool, output: str,
) -> None:  # fmt: skip
    """Say whether something is allowed: yes (exit code 0) or no (1), and why.

    KIND is as with `mesh get`, or a part such as pods/log; `*` is every kind.
    """
    from mesh.sdk.access import Access

    if listed == bool(verb):
        raise click.UsageError("say VERB KIND, or --list")
    if verb and not what:
        raise click.UsageError(f"say which kind: mesh auth can-i {verb} pods")
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        if listed:
            _show(session, await Access(client.over).grants(namespace, user, groups), output)
            return
        request = _question(verb or "", what or "", subresource, namespace)
        request.user = user
        request.groups.extend(groups)
        answer = await Access(client.over).can_i(request)
    if output:
        click.echo(_document(answer, output), nl=False)
    elif not quiet:
        click.echo(f"{'yes' if answer.allowed else 'no'} - {answer.why}")
    if not answer.allowed:
        raise click.exceptions.Exit(1)


@command.command("review-token", cls=Verb)
@click.option("--audience", "audiences", multiple=True, metavar="WHO", help="Who asks; the mesh's API by default.")
@_FORMAT
@click.pass_obj
@asynchronous
async def _review(session: Session, audiences: tuple[str, ...], output: str) -> None:
    """Say whose service account's token is on standard input, and whether it counts (exit code 1: no).

    mesh auth review-token < token
    """
    from mesh.sdk.access import Access

    with click.open_file("-") as stdin:
        token = stdin.read()
    async with session.client() as client:
        answer = await Access(client.over).review_token(token, audiences)
    if output:
        click.echo(_document(answer, output), nl=False)
    else:
        click.echo(f"yes - {answer.name}" if answer.authenticated else f"no - {answer.why}")
    if not answer.authenticated:
        raise click.exceptions.Exit(1)


def _question(verb: str, what: str, subresource: str, namespace: str) -> "CanIRequest":
    """ "pods", "pods/log", "pod/web", "tokens.mesh" and "*" as a wish."""
    from mesh.access.rules import SERVICE, group_of
    from mesh.errors import NotFound
    from mesh.model.kinds import kind_for_word
    from mesh.v1.access_pb2 import CanIRequest

    word, _, rest = what.partition("/")
    part, name = (rest, "") if rest in _PARTS else ("", rest)
    part = subresource or part
    tail = f"/{part}" if part else ""
    if word == "*":
        return CanIRequest(verb=verb, group="*", resource="*" + tail, namespace=namespace, name=name)
    plural, dot, group = word.partition(".")
    if dot and group == SERVICE:
        return CanIRequest(verb=verb, group=SERVICE, resource=plural, name=name)
    if word in ("users", "groups"):
        return CanIRequest(verb=verb, resource=word, name=name)
    try:
        kind = kind_for_word(plural)
    except NotFound:
        raise NotFound(f'there is no kind "{word}"; of the service itself there are: {_SERVICE_WORDS}') from None
    return CanIRequest(
        verb=verb, group=group_of(kind), resource=kind.plural + tail, namespace=namespace if kind.namespaced else "",
        name=name,
    )  # fmt: skip


_PARTS = ("log", "exec", "attach", "portforward", "status", "eviction", "token", "scale")
_SERVICE_WORDS = "images.mesh, backups.mesh, status.mesh, metrics.mesh, tokens.mesh, certificates.mesh"


def _show(session: Session, rules: "Sequence[GrantedRule]", output: str) -> None:
    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.v1.access_pb2 import GrantsResponse

    if output:
        click.echo(_document(GrantsResponse(rules=rules), output), nl=False)
        return
    rows = tuple(
        (", ".join(f"{r}.{g}" if g else r for g in rule.groups for r in rule.resources), ", ".join(rule.names) or "*",
         ", ".join(rule.verbs), rule.namespace or "*", rule.source)
        for rule in rules
    )  # fmt: skip
    tables.show(Table(("RESOURCES", "NAMES", "VERBS", "NAMESPACE", "BY"), rows), color=session.color)


def _document(message: object, output: str) -> str:
    import json

    import yaml
    from google.protobuf import json_format

    plain = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)  # type: ignore[arg-type]
    return json.dumps(plain, indent=4) + "\n" if output == "json" else yaml.safe_dump(plain, sort_keys=False)
