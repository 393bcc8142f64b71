"""`mesh config`: the contexts of the context file."""

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, VerbGroup


@click.group("config", cls=VerbGroup, short_help="Show and choose contexts.")
def command() -> None:
    """Show and choose contexts: which mesh is meant, and with which certificate."""


@command.command("get-contexts", cls=Verb)
@click.option(
    "-o", "--output", type=click.Choice(["", "name"]), default="", metavar="FORMAT", help="name: print the names alone."
)
@click.pass_obj
def _get_contexts(session: Session, output: str) -> None:
    """List the contexts."""
    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.sdk import context

    held = context.read()
    if output == "name":
        click.echo("".join(f"{name}\n" for name in held.contexts), nl=False)
        return
    rows = tuple(
        ("*" if name == held.current else "", name, ",".join(c.servers), c.namespace)
        for name, c in held.contexts.items()
    )
    tables.show(Table(("CURRENT", "NAME", "SERVERS", "NAMESPACE"), rows), color=session.color)


@command.command("current-context", cls=Verb)
def _current_context() -> None:
    """Print the context in use."""
    from mesh.sdk import context

    click.echo(context.load().name)


@command.command("use-context", cls=Verb)
@click.argument("name", shell_complete=complete.contexts)
def _use_context(name: str) -> None:
    """Use this context from now on."""
    from mesh.sdk import context

    held = context.read()
    context.write(held.having(held.choose(name)))
    click.echo(f'Switched to context "{name}".')


@command.command("set-namespace", cls=Verb)
@click.argument("name", shell_complete=complete.namespaces)
def _set_namespace(name: str) -> None:
    """Work in this namespace from now on, in the context in use."""
    _work_in(name)


@command.command("set-context", cls=Verb)
@click.option("--current", is_flag=True, help="The context in use.")
@click.pass_obj
def _set_context(session: Session, current: bool) -> None:
    """As kubectl's: `mesh config set-context --current --namespace=NAME` is `mesh config set-namespace NAME`."""
    if not current or not session.namespace:
        raise click.UsageError("say --current --namespace=NAME; contexts come from `mesh login` and `mesh up`")
    _work_in(session.namespace)


def _work_in(name: str) -> None:
    from dataclasses import replace

    from mesh.errors import Invalid
    from mesh.model import formats
    from mesh.sdk import context

    reason = formats.dns_label(name)
    if reason:
        raise Invalid(f'"{name}" is no name of a namespace: {reason}')
    held = context.read()
    current = held.choose()
    context.write(held.having(replace(current, namespace=name)))
    click.echo(f'Context "{current.name}" now works in namespace "{name}".')


@command.command("delete-context", cls=Verb)
@click.argument("name", shell_complete=complete.contexts)
def _delete_context(name: str) -> None:
    """Forget a context; its certificate's files stay."""
    from mesh.sdk import context

    held = context.read()
    held.choose(name)
    context.write(held.without(name))
    click.echo(f'Deleted context "{name}".')
