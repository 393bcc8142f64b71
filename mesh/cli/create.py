"""`mesh create`: new objects from files, or from words for the small kinds."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli import create_access, create_secret
from mesh.cli.apply import file_options
from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object

_DRY = click.Choice(["none", "client", "server"])


_ALIASES = {
    "ns": "namespace",
    "cm": "configmap",
    "sa": "serviceaccount",
    "deploy": "deployment",
    "cj": "cronjob",
    "ing": "ingress",
}
_LATER = {"deployment": "create_workloads.deployment", "job": "create_workloads.job",
          "cronjob": "create_workloads.cron_job", "ingress": "create_ingress.ingress"}  # fmt: skip


class _Creates(VerbGroup):
    """The verbs here, and those of workloads, which are loaded when they are named; with kubectl's short names."""

    aliases = _ALIASES

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb."""
        return [*super().list_commands(ctx), *_LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name or short name."""
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in _LATER:
            return super().get_command(ctx, name)
        module, _, attribute = _LATER[name].partition(".")
        command: click.Command = getattr(import_module(f"mesh.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb named first; a kind that words are too few for is said to need a file."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from mesh.model.kinds import kind_for_word

            if args[0].lower() in ("service", "svc"):
                raise click.UsageError("a Service is made by `mesh expose`, or from a file by -f", ctx)
            kind = kind_for_word(args[0])
            raise click.UsageError(
                f"{kind.plural} are made from a file by -f; `mesh explain {kind.name.lower()}` teaches the fields", ctx
            )
        return super().resolve_command(ctx, args)


def output_options(function: "click.decorators.FC") -> "click.decorators.FC":
    """-o and --dry-run."""
    for option in (
        click.option("-o", "--output", default="", metavar="FORMAT", help="name, yaml, json or jsonpath=TEMPLATE."),
        click.option("--dry-run", type=_DRY, default="none", is_flag=False, flag_value="client",
                     help="client: only print the object; server: let the service check it; neither creates anything."),
    ):  # fmt: skip
        function = option(function)
    return function


def _literal_options(function: "click.decorators.FC") -> "click.decorators.FC":
    for option in (
        click.option("--from-env-file", multiple=True, metavar="FILE", help="Lines of KEY=VALUE."),
        click.option(
            "--from-file",
            multiple=True,
            metavar="[KEY=]FILE",
            help="A file, or each regular file of a directory.",
        ),
        click.option("--from-literal", multiple=True, metavar="KEY=VALUE", help="A key and its value."),
    ):
        function = option(function)
    return function


@click.group("create", cls=_Creates, invoke_without_command=True, short_help="Create objects from files or from words.")
@file_options
@output_options
@click.pass_context
def command(ctx: click.Context, filename: tuple[str, ...], recursive: bool, dry_run: str, output: str) -> None:
    """Create objects; one that is there already is an error (`mesh apply` changes it instead).

    \b
    mesh create -f pod.yaml
    mesh create namespace test
    mesh create configmap settings --from-literal color=blue --from-file app.conf
    mesh create secret generic login --from-env-file login.env
    mesh create secret tls site --cert site.crt --key site.key
    mesh create secret docker-registry pull --docker-server r.example --docker-username ada --docker-password-file -
    mesh create ingress web --rule="shop.example/*=web:80,tls=shop-cert"
    mesh create rolebinding ada-edits --clusterrole=edit --user=ada -n team
    """
    if ctx.invoked_subcommand is not None:
        if filename:
            raise click.UsageError("-f and a kind can't be combined")
        return
    if not filename:
        raise click.UsageError("say what: -f FILE, namespace NAME, configmap NAME or secret generic NAME")
    _from_files(ctx.find_object(Session) or Session(), filename, recursive, dry_run, output)


@asynchronous
async def _from_files(
    session: Session, filename: tuple[str, ...], recursive: bool, dry_run: str, output: str
) -> None:  # fmt: skip
    from mesh.cli import files

    async with session.client() as client:
        found = files.read(filename, recursive, client.namespace, session.namespace)
        for obj in found.objects:
            with found.placed():
                made = obj if dry_run == "client" else await client.create(obj, dry_run=dry_run == "server")
            tell(made, dry_run, output)


@command.command("namespace", cls=Verb)
@click.argument("name")
@output_options
@click.pass_obj
def _namespace(session: Session, name: str, dry_run: str, output: str) -> None:
    """Create a namespace."""
    from mesh.v1.core_pb2 import Namespace

    namespace = Namespace(api_version="v1", kind="Namespace")
    namespace.metadata.name = name
    create(session, namespace, dry_run, output)


@command.command("configmap", cls=Verb)
@click.argument("name")
@_literal_options
@output_options
@click.pass_obj
def _config_map(
    session: Session, name: str, from_literal: tuple[str, ...], from_file: tuple[str, ...],
    from_env_file: tuple[str, ...], dry_run: str, output: str,
) -> None:  # fmt: skip
    """Create a ConfigMap from words and files."""
    from mesh.v1.core_pb2 import ConfigMap

    config = ConfigMap(api_version="v1", kind="ConfigMap")
    config.metadata.name = name
    for key, value in gather(from_literal, from_file, from_env_file).items():
        try:
            config.data[key] = value.decode()
        except UnicodeDecodeError:
            config.binary_data[key] = value
    create(session, config, dry_run, output)


@command.group("secret", cls=VerbGroup)
def _secret() -> None:
    """Create a Secret."""


@_secret.command("generic", cls=Verb)
@click.argument("name")
@_literal_options
@click.option("--type", "kind", default="Opaque", metavar="TYPE", help="The Secret's type.", show_default=True)
@output_options
@click.pass_obj
def _generic(
    session: Session, name: str, from_literal: tuple[str, ...], from_file: tuple[str, ...],
    from_env_file: tuple[str, ...], kind: str, dry_run: str, output: str,
) -> None:  # fmt: skip
    """Create a Secret from words and files.

    A value on the command line is seen by others on this host (ps) and kept in the shell's history: rather use
    --from-file or --from-env-file.
    """
    from mesh.v1.core_pb2 import Secret

    secret = Secret(api_version="v1", kind="Secret", type=kind)
    secret.metadata.name = name
    for key, value in gather(from_literal, from_file, from_env_file).items():
        secret.data[key] = value
    create(session, secret, dry_run, output)


def gather(literals: tuple[str, ...], files: tuple[str, ...], env_files: tuple[str, ...]) -> dict[str, bytes]:
    """Keys and values that the options name; a key named twice is a usage error."""
    pairs: list[tuple[str, bytes]] = []
    for literal in literals:
        key, equals, value = literal.partition("=")
        if not (key and equals):
            raise click.UsageError(f'--from-literal "{literal}" should read KEY=VALUE')
        pairs.append((key, value.encode()))
    for text in files:
        pairs += _file_pairs(text)
    for name in env_files:
        pairs += _env_pairs(name)
    found: dict[str, bytes] = {}
    for key, data in pairs:
        if key in found:
            raise click.UsageError(f'the key "{key}" is named twice')
        found[key] = data
    return found


def _file_pairs(text: str) -> list[tuple[str, bytes]]:
    key, equals, name = text.rpartition("=")
    path = Path(name).expanduser()
    if not equals and path.is_dir():
        return [(p.name, read_file(p)) for p in sorted(path.iterdir()) if p.is_file() and not p.is_symlink()]
    if equals and not key:
        raise click.UsageError(f'--from-file "{text}" should read FILE or KEY=FILE')
    return [(key or path.name, read_file(path))]


def _env_pairs(name: str) -> list[tuple[str, bytes]]:
    import os

    pairs = []
    for number, raw in enumerate(read_file(Path(name).expanduser()).decode(errors="replace").splitlines(), start=1):
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key or " " in key:
            raise click.UsageError(f'{name}, line {number}: "{line}" should read KEY=VALUE')
        pairs.append((key, (value if equals else os.environ.get(key, "")).encode()))
    return pairs


def read_file(path: Path) -> bytes:
    """The file's content; raises Invalid."""
    from mesh.errors import Invalid

    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror or error}") from error


@asynchronous
async def create(session: Session, obj: "Object", dry_run: str, output: str) -> None:
    """Checks the object, creates it unless it is only to be shown, and says so."""
    from mesh.errors import Invalid
    from mesh.model import rules
    from mesh.model.kinds import kind_of

    kind = kind_of(obj)
    violations = rules.check_object(obj)
    if violations:
        raise Invalid.of(f'{kind.name} "{obj.metadata.name}"', violations)
    if dry_run == "client":
        if session.namespace and kind.namespaced:
            obj.metadata.namespace = session.namespace
        tell(obj, dry_run, output)
        return
    async with session.client() as client:
        tell(await client.create(obj, dry_run=dry_run == "server"), dry_run, output)


def tell(obj: "Object", dry_run: str, output: str, done: str = "created") -> None:
    """Says that an object is made, or shows it as -o asks."""
    from mesh.cli import outputs
    from mesh.cli.targets import ref
    from mesh.model.kinds import kind_of

    form = outputs.parse(output)
    if form.name and not form.table:
        text = outputs.documents(form, [obj], single=True, show=dry_run == "client")
        click.echo(("---\n" if form.name == "yaml" and dry_run == "none" else "") + text, nl=False)
        return
    mark = {"client": " (dry run)", "server": " (server dry run)"}.get(dry_run, "")
    click.echo(f"{ref(kind_of(obj), obj.metadata.name)} {done}{mark}")


create_access.add(command, output_options, create)
create_secret.add(_secret, create_secret.Tools(create, output_options, read_file))
