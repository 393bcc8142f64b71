"""`mesh check`: what will become of every field of a manifest, before anything is applied."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from mesh.cli.apply import file_options
from mesh.cli.session import Session, Verb, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.model.support import Finding

STATES = ("honoured", "approximated", "refused")


@click.command("check", cls=Verb, short_help="Say what will become of every field of a manifest.")
@file_options
@click.option("--all", "everything", is_flag=True, help="Fields too that are honoured as they are.")
@click.pass_obj
def command(session: Session, filename: tuple[str, ...], recursive: bool, everything: bool) -> None:
    """Say of every field in files whether it will be honoured, approximated (and how) or refused (and why).

    No service is asked and nothing is changed. The exit code is 1 when anything would be refused.

    \b
    mesh check -f pod.yaml              mesh check -f manifests/ -R
    mesh check -f pod.yaml --all        kubectl get pod web -o yaml | mesh check -f -
    """
    from mesh.cli import files
    from mesh.model.foretell import foretell
    from mesh.model.kinds import kind_of

    if not filename:
        raise click.UsageError("say which files: -f FILE, -f DIRECTORY or -f -")
    manifests = files.load(filename, recursive, session.namespace or "default")
    for warning in manifests.warnings:
        warn(warning)
    refused = False
    for obj in manifests.objects:
        subject = f'{kind_of(obj).name} "{obj.metadata.name or obj.metadata.generate_name}"'
        found = foretell(obj)
        count = Counter(f.state for f in found)
        refused = refused or bool(count["refused"])
        place = f" ({manifests.places[subject]})" if subject in manifests.places else ""
        click.echo(f"{subject}{place}: {', '.join(f'{count[s]} {s}' for s in STATES)}")
        _show([f for f in found if everything or f.state != "honoured"], session.color)
    if refused:
        raise click.exceptions.Exit(1)


def _show(found: "Sequence[Finding]", color: bool) -> None:
    from mesh.cli import tables
    from mesh.cli.printers import Table

    if found:
        rows = tuple((f"  {f.field}", f.state, f.why) for f in found)
        tables.show(Table(("  FIELD", "BECOMES", "WHY"), rows), color=color)
