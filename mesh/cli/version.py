"""`mesh version`: of this client, and of the service it reaches."""

import click

from mesh.cli.failure import report
from mesh.cli.session import Session, Verb, asynchronous


@click.command("version", cls=Verb, short_help="Print the versions of client and service.")
@click.option("--client", "alone", is_flag=True, help="Only of this client; asks nobody.")
@click.option(
    "-o", "--output", type=click.Choice(["", "json", "yaml"]), default="", metavar="FORMAT", help="For programs."
)
@click.pass_obj
@asynchronous
async def command(session: Session, alone: bool, output: str) -> None:
    """Print the versions of client and service."""
    import json

    from mesh import __version__
    from mesh.errors import MeshError

    versions = {"clientVersion": __version__}
    failure: MeshError | None = None
    if not alone:
        try:
            async with session.client() as client:
                versions["serverVersion"] = (await client.status()).version
        except MeshError as error:
            failure = error
    if output == "json":
        click.echo(json.dumps(versions, indent=2))
    elif output == "yaml":
        click.echo("".join(f"{k}: {v}\n" for k, v in versions.items()), nl=False)
    else:
        click.echo(f"Client Version: {__version__}")
        if "serverVersion" in versions:
            click.echo(f"Server Version: {versions['serverVersion']}")
    if failure is not None:
        raise click.exceptions.Exit(report(failure))
