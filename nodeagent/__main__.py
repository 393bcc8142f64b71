"""The host's own commands, run by supervisors and roles: prepare, podman, unprepare."""

from pathlib import Path

import click

from mesh.errors import MeshError
from nodeagent import config as configuration
from nodeagent import prepare as host


def _read(_: click.Context, __: click.Parameter, path: Path) -> configuration.AgentConfig:
    try:
        return configuration.parse(path.read_text())
    except (OSError, MeshError) as error:
        raise click.ClickException(str(error)) from error


config_option = click.option(
    "--config", required=True, type=click.Path(path_type=Path), envvar="MESH_AGENT_CONFIG", callback=_read,
    help="The agent's configuration, agent.toml.",
)  # fmt: skip


@click.group()
def main() -> None:
    """Commands of one host."""


@main.command()
@config_option
def prepare(config: configuration.AgentConfig) -> None:
    """Make this host ready for pods; again after every reboot, before Podman starts."""
    _prepare(config)


@main.command()
@config_option
def podman(config: configuration.AgentConfig) -> None:
    """Prepare, then become the Podman service of the mesh, in the foreground."""
    _prepare(config)
    try:
        host.exec_podman(config)
    except OSError as error:
        raise click.ClickException(f"cannot start Podman: {error}") from error


@main.command()
@config_option
def unprepare(config: configuration.AgentConfig) -> None:
    """End every container of the mesh on this host and undo `prepare`; Podman's service must be stopped before."""
    host.unprepare(config)


def _prepare(config: configuration.AgentConfig) -> None:
    try:
        chosen = host.prepare(config)
    except (OSError, RuntimeError) as error:
        raise click.ClickException(f"cannot prepare this host: {error}") from error
    click.echo(f"{chosen.name} ({chosen.why}), cgroup v{chosen.cgroup_version}")


if __name__ == "__main__":
    main()
