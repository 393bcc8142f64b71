"""`mesh create role`, `rolebinding` and `serviceaccount`, with kubectl's options."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Duration, Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object

Create = Callable[[Session, "Object", str, str], None]
Options = Callable[[Callable[..., None]], Callable[..., None]]


def add(group: click.Group, options: Options, create: Create) -> None:
    """Adds the verbs to `mesh create`; `options` are --dry-run and -o, `create` does it."""

    @group.command("serviceaccount", cls=Verb)
    @click.argument("name")
    @options
    @click.pass_obj
    def _account(session: Session, name: str, dry_run: str, output: str) -> None:
        """Create a service account, the identity of pods."""
        from mesh.v1.core_pb2 import ServiceAccount

        account = ServiceAccount(api_version="v1", kind="ServiceAccount")
        account.metadata.name = name
        create(session, account, dry_run, output)

    _add_token(group)
    _add_role(group, options, create)
    _add_binding(group, options, create)


def _add_role(group: click.Group, options: Options, create: Create) -> None:
    @group.command("role", cls=Verb)
    @click.argument("name")
    @click.option("--verb", "verbs", multiple=True, required=True, metavar="VERB", help="get, list, create, …; or *.")
    @click.option("--resource", "resources", multiple=True, required=True, metavar="KIND[/PART]",
                  help="As with `mesh get`, or a part: pods, deploy, pods/log; or *.")  # fmt: skip
    @click.option("--resource-name", "names", multiple=True, metavar="NAME", help="Only objects of this name.")
    @options
    @click.pass_obj
    def _role(
        session: Session, name: str, verbs: tuple[str, ...], resources: tuple[str, ...], names: tuple[str, ...],
        dry_run: str, output: str,
    ) -> None:  # fmt: skip
        """Create a role of one rule.

        mesh create role reader --verb get,list --resource pods,pods/log -n team
        """
        create(session, role(name, _split(verbs), _split(resources), _split(names)), dry_run, output)


def _add_binding(group: click.Group, options: Options, create: Create) -> None:
    @group.command("rolebinding", cls=Verb)
    @click.argument("name")
    @click.option("--role", default="", metavar="NAME", help="A Role of the namespace.")
    @click.option("--clusterrole", default="", metavar="NAME", help="A built-in one: view, edit, admin, cluster-admin.")
    @click.option("--user", "users", multiple=True, metavar="NAME", help="Who gets it.")
    @click.option("--group", "groups", multiple=True, metavar="NAME", help="Who gets it: all of a group.")
    @click.option("--serviceaccount", "accounts", multiple=True, metavar="NAMESPACE:NAME", help="Who gets it: pods.")
    @options
    @click.pass_obj
    def _binding(
        session: Session, name: str, role: str, clusterrole: str, users: tuple[str, ...], groups: tuple[str, ...],
        accounts: tuple[str, ...], dry_run: str, output: str,
    ) -> None:  # fmt: skip
        """Give a role to users, groups and service accounts, in a namespace.

        mesh create rolebinding ada-edits --clusterrole=edit --user=ada -n team
        """
        if bool(role) == bool(clusterrole):
            raise click.UsageError("say either --role or --clusterrole")
        if not (users or groups or accounts):
            raise click.UsageError("say who: --user, --group or --serviceaccount")
        create(session, binding(name, role, clusterrole, users, groups, accounts), dry_run, output)


def role(name: str, verbs: list[str], resources: list[str], names: list[str]) -> "Object":
    """A Role; kinds are grouped by their API group."""
    from mesh.access.rules import SERVICE, group_of
    from mesh.model.kinds import kind_for_word
    from mesh.v1.auth_pb2 import Role

    made = Role(api_version="rbac.authorization.k8s.io/v1", kind="Role")
    made.metadata.name = name
    by_group: dict[str, list[str]] = {}
    for what in resources:
        word, slash, part = what.partition("/")
        if word == "*":
            group, plural = "*", "*"
        elif word.endswith(f".{SERVICE}"):
            group, plural = SERVICE, word.removesuffix(f".{SERVICE}")
        else:
            kind = kind_for_word(word.partition(".")[0])
            group, plural = group_of(kind), kind.plural
        by_group.setdefault(group, []).append(plural + slash + part)
    for group, plurals in by_group.items():
        made.rules.add(verbs=verbs, api_groups=[group], resources=plurals, resource_names=names)
    return made


def binding(
    name: str, role: str, clusterrole: str, users: tuple[str, ...], groups: tuple[str, ...], accounts: tuple[str, ...]
) -> "Object":
    """A RoleBinding."""
    from mesh.v1.auth_pb2 import RoleBinding

    made = RoleBinding(api_version="rbac.authorization.k8s.io/v1", kind="RoleBinding")
    made.metadata.name = name
    made.role_ref.kind = "Role" if role else "ClusterRole"
    made.role_ref.name = role or clusterrole
    for kind, subjects in (("User", users), ("Group", groups)):
        for subject in subjects:
            made.subjects.add(kind=kind, name=subject)
    for account in accounts:
        namespace, colon, subject = account.partition(":")
        if not (colon and namespace and subject):
            raise click.UsageError(f'--serviceaccount "{account}" should read NAMESPACE:NAME')
        made.subjects.add(kind="ServiceAccount", namespace=namespace, name=subject)
    return made


def _add_token(group: click.Group) -> None:
    @group.command("token", cls=Verb)
    @click.argument("name")
    @click.option("--audience", "audiences", multiple=True, metavar="WHO", help="For whom; the mesh's API by default.")
    @click.option("--duration", type=Duration(), default="1h", show_default=True, metavar="TIME",
                  help="How long it counts: 10 minutes to 7 days.")  # fmt: skip
    @click.option("--bound-pod", "pod", default="", metavar="POD", help="It counts no longer than this pod is there.")
    @click.pass_obj
    @asynchronous
    async def _token(session: Session, name: str, audiences: tuple[str, ...], duration: float, pod: str) -> None:
        """Make a token of a service account, and print it.

        Pods need none made: their own is at /var/run/secrets/kubernetes.io/serviceaccount/token.
        """
        from mesh.sdk.access import Access
        from mesh.v1.access_pb2 import RequestTokenRequest

        async with session.client() as client:
            request = RequestTokenRequest(
                namespace=client.namespace, account=name, audiences=audiences, expiration_seconds=int(duration), pod=pod
            )
            click.echo((await Access(client.over).request_token(request)).token)


def _split(values: tuple[str, ...]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
