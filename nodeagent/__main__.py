"""The host's own commands, run by supervisors and roles: prepare, podman, serve, shutdown, unprepare."""

import os
import subprocess
from pathlib import Path

import click

from mesh.errors import MeshError
from nodeagent import config as configuration
from nodeagent import prepare as host
from nodeagent.shutdown import Order, carry_out


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


@main.command()
@config_option
@click.option("--lock", required=True, type=int, help="The descriptor that holds the host's lock.")
@click.option("--door", required=True, type=int, help="The socket where Ray's actor knocks.")
def serve(config: configuration.AgentConfig, lock: int, door: int) -> None:
    """Be this host's agent without Ray, until Ray's actor comes; nodeagent.standby becomes this."""
    import asyncio  # noqa: PLC0415 - the other commands need none of it
    import socket  # noqa: PLC0415

    from nodeagent import alone  # noqa: PLC0415

    os.umask(0o077)
    alone.log_lines()
    asyncio.run(alone.serve_alone(config, lock, socket.socket(fileno=door)))


@main.command()
@config_option
@click.option("--seconds", type=click.IntRange(0), help="For all pods together; else what agent.toml says.")
@click.option("--critical", type=click.IntRange(0), help="Of these, how many are kept for critical pods.")
@click.option("--if-stopping", is_flag=True, help="Do nothing unless systemd is shutting this host down.")
def shutdown(config: configuration.AgentConfig, seconds: int | None, critical: int | None, if_stopping: bool) -> None:
    """End the pods of this host gracefully, and take no new ones until `mesh up` or the next boot."""
    if if_stopping and _systemd_says() != "stopping":
        return
    seconds = config.shutdown_grace_seconds if seconds is None else seconds
    kept = config.shutdown_grace_critical_seconds if critical is None else critical
    if seconds and not carry_out(config.run_dir, Order(seconds, min(kept, seconds))):
        raise click.ClickException("this host's agent did not end all pods in time: is it running?")


def _systemd_says() -> str:
    done = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _prepare(config: configuration.AgentConfig) -> None:
    try:
        chosen = host.prepare(config)
    except (OSError, RuntimeError) as error:
        raise click.ClickException(f"cannot prepare this host: {error}") from error
    click.echo(f"{chosen.name} ({chosen.why}), cgroup v{chosen.cgroup_version}")


if __name__ == "__main__":
    main()
