"""The command `mesh`: its verbs by name, each loaded when it is called.

Rule: `mesh --help` and completion import no verb, no gRPC, no rich.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from mesh.cli.failure import report
from mesh.cli.session import Session, global_options, without_equals

_SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "up": ("up", "Start a mesh on this host, or what of it is down."),
        "down": ("down", "Stop the mesh on this host; --purge removes its data too."),
        "status": ("status", "Show how the service, its hosts and Ray are."),
        "console": ("console", "Look at the mesh in a browser."),
        "doctor": ("doctor", "Check this host and say how to mend what is wrong."),
    },
    "Objects": {
        "apply": ("apply", "Create or change objects as files say."),
        "check": ("check", "Say what will become of every field of a manifest."),
        "create": ("create", "Create objects from files or from words."),
        "get": ("get", "List objects, or show some."),
        "describe": ("describe", "Tell everything about an object, with its events."),
        "delete": ("delete", "Delete objects."),
        "wait": ("wait", "Wait until objects are as wanted."),
        "events": ("events", "List what happened."),
        "diff": ("diff", "Say what applying files would change."),
        "edit": ("edit", "Change an object in your editor."),
        "patch": ("patch", "Change fields of an object."),
        "label": ("label", "Change labels of objects."),
        "annotate": ("annotate", "Change annotations of objects."),
    },
    "Workloads": {
        "run": ("run", "Run an image in a pod."),
        "scale": ("scale", "Say how many pods a workload should have."),
        "autoscale": ("autoscale", "Let a workload have as many pods as it needs."),
        "rollout": ("rollout", "Follow and steer rollouts."),
        "set": ("set", "Change images, environment or resources."),
    },
    "Services": {
        "expose": ("expose", "Make a Service for pods or a workload."),
        "proxy": ("proxy", "Show what the hosts' proxies carry."),
    },
    "Hosts": {
        "top": ("top", "Show what hosts and pods use."),
        "cordon": ("cordon", "Let a host take no new pods."),
        "uncordon": ("uncordon", "Let a host take new pods again."),
        "drain": ("drain", "Empty a host, so that it can be worked on."),
        "taint": ("taint", "Keep pods away from hosts, by taints."),
        "simulate": ("simulate", "Say what would happen, and touch nothing."),
    },
    "Pods": {
        "logs": ("logs", "Print what containers wrote."),
        "attach": ("attach", "Attach to a running container."),
        "exec": ("exec", "Run a command in a container."),
        "port-forward": ("port_forward", "Reach a pod's ports from here."),
    },
    "Images": {
        "image": ("image", "Load, list and remove images on hosts, without a registry."),
    },
    "Access": {
        "secrets": ("secrets", "Say where Secrets are, and prove where they are not."),
        "auth": ("auth", "Say who you are to the mesh and what you may do."),
        "login": ("login", "Become a user of a mesh by a token."),
        "token": ("token", "Let users and hosts in."),
        "certs": ("certs", "Show, renew and revoke certificates."),
        "control": ("control", "Let several hosts control the mesh."),
        "node": ("node", "Let hosts in, empty them, let them go."),
    },
    "More": {
        "api-resources": ("api_resources", "List the kinds of objects."),
        "explain": ("explain", "Explain the fields of a kind."),
        "backup": ("backup", "Write a copy of the store to a file."),
        "restore": ("restore", "Put a backup in the store's place, while meshd is stopped."),
        "store": ("store", "Move the store between a file and etcd."),
        "config": ("config", "Show and choose contexts."),
        "completion": ("completion", "Print a shell's completion script."),
        "version": ("version", "Print the versions of client and service."),
    },
}
_ELSEWHERE = {
    "api-versions": "`mesh api-resources` has them",
    "certificate": "`mesh token` lets users and hosts in, `mesh certs` shows and renews",
    "cluster-info": "`mesh status` tells it",
    "cp": "`mesh exec POD -- cat FILE > FILE` fetches one, `mesh exec -i POD -- sh -c 'cat > FILE' < FILE` brings it",
    "debug": "`mesh exec -it POD -- sh` goes into a container, `mesh describe pod` says what it waits for",
    "kustomize": "`kustomize build DIRECTORY | mesh apply -f -`",
    "options": "every verb's --help ends with them",
    "replace": "`mesh apply -f FILE`",
}  # kubectl's verbs that have another name here, or none
_VERBS = {name: entry for section in _SECTIONS.values() for name, entry in section.items()}


class Verbs(click.Group):
    """Loads a verb's module, and takes its `command`, when the verb is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`mesh help get` is `mesh get --help`; short options may have their values behind an equals sign."""
        args = [*args[1:], "--help"] if args[:1] == ["help"] else args
        return super().parse_args(ctx, without_equals(self.params, args))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every verb, in the order of the help."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command; None when there is none of this name."""
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"mesh.cli.{_VERBS[cmd_name][0]}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Runs the verb; a reader that went away is told from other ends before click takes it for a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise click.exceptions.Exit(report(error)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The help's list, without loading a verb."""
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb named first; a wrong one gets the nearest name as a hint."""
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            if args[0] in _ELSEWHERE:
                raise click.UsageError(f'there is no command "{args[0]}": {_ELSEWHERE[args[0]]}', ctx)
            near = get_close_matches(args[0], _VERBS, 1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise click.UsageError(f'unknown command "{args[0]}".{hint}', ctx)
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from mesh import __version__

        click.echo(f"mesh {__version__}")
        ctx.exit()


@click.group(
    cls=Verbs,
    params=[
        *global_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print this client's version; `mesh version` asks the service too.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Containers on your own hosts, with Kubernetes' manifests.",
    epilog="Short names as with kubectl: po, no, ns, cm, ev. A verb's options: mesh VERB --help.",
)
def mesh() -> None:
    """The root of all verbs."""


def run(args: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    session = Session()
    try:
        code = mesh.main(args=args, prog_name="mesh", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last place before the user
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 1
        return report(error, session.verbose)
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The console script."""
    sys.exit(run())
