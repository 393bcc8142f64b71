"""`mesh doctor`: checks this host and says how to mend what is wrong.

Rule: it changes nothing; the exit code is 1 when something fails, 0 when there is nothing but warnings.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb
from mesh.cli.up import ROOT, host_of

if TYPE_CHECKING:
    from mesh.supervision.checks import Finding

_COLORS = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command("doctor", cls=Verb, short_help="Check this host and say how to mend what is wrong.")
@ROOT
@click.option("-o", "--output", type=click.Choice(["", "json"]), default="", help="json: for programs.")
@click.pass_obj
def command(session: Session, root: Path, output: str) -> None:
    """Check this host and say how to mend what is wrong.

    Looks at the machine (Podman, OCI runtime, cgroups, disk, swap, clock) and, when there is one, at the mesh on it
    (programs, ports, Ray, mounts, permissions, certificates).
    """
    findings = _look(root)
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings, session.color)
    if any(finding.state == "failure" for finding in findings):
        raise click.exceptions.Exit(1)


def _look(root: Path) -> "list[Finding]":
    from mesh.supervision import checks, up
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    layout = Layout(root.absolute())
    user = checks.as_root()
    findings = [user] if user else []
    findings += checks.safely(checks.machine_checks(layout), "machine")
    try:
        told = Told.read(layout)
    except Exception as error:  # noqa: BLE001 - what can't be read is a finding
        return [*findings, checks.Finding("mesh", "failure", str(error), "run it as root")]
    if told is None:
        return [*findings, checks.Finding("mesh", "ok", f"none below {layout.root} yet: `mesh up` starts one")]
    host = host_of(layout, told)
    return findings + checks.safely(checks.mesh_checks(host, up.supervisor_of(layout)), "mesh")


def _show(findings: "list[Finding]", color: bool) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        state = finding.state.ljust(8)
        if color:
            state = click.style(state, fg=_COLORS[finding.state])
        click.echo(f"{state} {finding.name.ljust(width)}  {finding.found}")
        if finding.mend:
            click.echo(f"{'':8} {'':{width}}  → {finding.mend}")
    wrong = [finding for finding in findings if finding.state != "ok"]
    if not wrong:
        click.echo("Everything is well.")
