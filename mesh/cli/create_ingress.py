"""`mesh create ingress`: hosts, paths and their backends from words alone."""

from typing import TYPE_CHECKING

import click

from mesh.cli.create import create, output_options
from mesh.cli.session import Session, Verb

if TYPE_CHECKING:
    from mesh.v1.net_pb2 import Ingress, IngressBackend


@click.command("ingress", cls=Verb)
@click.argument("name")
@click.option("--rule", "rules", multiple=True, metavar="HOST/PATH=SERVICE:PORT[,tls[=SECRET]]",
              help='A path, with "*" at its end everything below. No HOST: all hosts.')  # fmt: skip
@click.option("--default-backend", default="", metavar="SERVICE:PORT", help="Who gets what no rule matches.")
@click.option("--class", "class_", default="", metavar="NAME", help="The IngressClass.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="An annotation.")
@output_options
@click.pass_obj
def ingress(
    session: Session, name: str, rules: tuple[str, ...], default_backend: str, class_: str,
    annotations: tuple[str, ...], dry_run: str, output: str,
) -> None:  # fmt: skip
    """Create an Ingress: hosts and paths that lead to Services, at the hosts labelled mesh/ingress=true.

    \b
    mesh create ingress web --rule="shop.example/*=web:80,tls=shop-cert"
    mesh create ingress api --rule="/v1*=api-v1:http" --default-backend=web:80
    """
    from mesh.v1.net_pb2 import Ingress

    if not rules and not default_backend:
        raise click.UsageError("say where to: --rule HOST/PATH=SERVICE:PORT, or --default-backend SERVICE:PORT")
    made = Ingress(api_version="networking.k8s.io/v1", kind="Ingress")
    made.metadata.name = name
    for text in annotations:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--annotation {text}: must be KEY=VALUE")
        made.metadata.annotations[key] = value
    if class_:
        made.spec.ingress_class_name = class_
    if default_backend:
        _backend(made.spec.default_backend, default_backend, "--default-backend")
    for text in rules:
        _rule(made, text)
    create(session, made, dry_run, output)


def _rule(made: "Ingress", text: str) -> None:
    where, equals, rest = text.partition("=")
    host, slash, path = where.partition("/")
    if not equals or not slash:
        raise click.UsageError(f"--rule {text}: must be HOST/PATH=SERVICE:PORT, as in shop.example/*=web:80")
    target, *tls = rest.split(",")
    rule = next((r for r in made.spec.rules if r.host == host), None)
    if rule is None:
        rule = made.spec.rules.add()
        if host:
            rule.host = host
    below = path.endswith("*")
    one = rule.http.paths.add(path=f"/{path.removesuffix('*')}", path_type="Prefix" if below else "Exact")
    _backend(one.backend, target, f"--rule {text}")
    for word in tls:
        key, _, secret = word.partition("=")
        if key != "tls":
            raise click.UsageError(f'--rule {text}: what follows "," is tls or tls=SECRET, is "{word}"')
        entry = made.spec.tls.add()
        if host:
            entry.hosts.append(host)
        if secret:
            entry.secret_name = secret


def _backend(backend: "IngressBackend", text: str, option: str) -> None:
    service, colon, port = text.partition(":")
    if not service or not colon or not port:
        raise click.UsageError(f"{option}: a backend is SERVICE:PORT, as in web:80")
    backend.service.name = service
    if port.isdecimal():
        backend.service.port.number = int(port)
    else:
        backend.service.port.name = port
