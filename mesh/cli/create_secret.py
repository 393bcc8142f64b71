"""`mesh create secret`: generic, tls and docker-registry Secrets, from words and files.

Rule: a value on the command line is seen by everybody on the host; each of them can come from a file instead.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from mesh.cli.session import Session, Verb


def registry_config(server: str, username: str, password: str, email: str) -> bytes:
    """The text of a Secret of type kubernetes.io/dockerconfigjson, as docker and kubectl write it."""
    import base64
    import json

    entry = {"username": username, "password": password, "email": email}
    entry["auth"] = base64.b64encode(f"{username}:{password}".encode()).decode()
    return json.dumps({"auths": {server: {key: value for key, value in entry.items() if value}}}).encode()


class Tools(NamedTuple):
    """What all verbs of `mesh create` share."""

    create_object: Callable[..., None]
    output_options: Callable[[Any], Any]
    read_file: Callable[[Path], bytes]


def add(group: click.Group, tools: Tools) -> None:
    """Adds the typed ones to `mesh create secret`."""
    _add_tls(group, tools)
    _add_registry(group, tools)


def _add_tls(group: click.Group, tools: Tools) -> None:
    create_object, output_options, read_file = tools

    @group.command("tls", cls=Verb)
    @click.argument("name")
    @click.option("--cert", required=True, metavar="FILE", help="The certificate, PEM, with those that lead to its CA.")
    @click.option("--key", required=True, metavar="FILE", help="Its private key, PEM.")
    @output_options
    @click.pass_obj
    def _tls(session: Session, name: str, cert: str, key: str, dry_run: str, output: str) -> None:
        """Create a Secret of a certificate and its key."""
        from mesh.v1.core_pb2 import Secret

        secret = Secret(api_version="v1", kind="Secret", type="kubernetes.io/tls")
        secret.metadata.name = name
        secret.data["tls.crt"], secret.data["tls.key"] = read_file(Path(cert)), read_file(Path(key))
        _check_pair(secret.data["tls.crt"], secret.data["tls.key"])
        create_object(session, secret, dry_run, output)


def _add_registry(group: click.Group, tools: Tools) -> None:
    create_object, output_options, read_file = tools

    @group.command("docker-registry", cls=Verb)
    @click.argument("name")
    @_account_options
    @click.option("--from-file", "config", default="", metavar="FILE", help="docker's config.json, as it is.")
    @output_options
    @click.pass_obj
    def _registry(
        session: Session, name: str, server: str, username: str, password: str, password_file: str, email: str,
        config: str, dry_run: str, output: str,
    ) -> None:  # fmt: skip
        """Create a Secret with which images are pulled (imagePullSecrets)."""
        from mesh.v1.core_pb2 import Secret

        if password_file:
            with click.open_file(password_file) as file:
                password = file.readline().rstrip("\n")
        if not config and not (username and password):
            raise click.UsageError("say --docker-username and --docker-password-file, or --from-file")
        secret = Secret(api_version="v1", kind="Secret", type="kubernetes.io/dockerconfigjson")
        secret.metadata.name = name
        text = read_file(Path(config)) if config else registry_config(server, username, password, email)
        secret.data[".dockerconfigjson"] = text
        create_object(session, secret, dry_run, output)


def _account_options(verb: Any) -> Any:
    """Who pulls, and from where."""

    def option(flag: str, name: str, default: str, metavar: str, words: str) -> Any:
        return click.option(flag, name, default=default, metavar=metavar, help=words, show_default=bool(default))

    for add_option in reversed((
        option("--docker-server", "server", "https://index.docker.io/v1/", "HOST", "The registry."),
        option("--docker-username", "username", "", "NAME", "Who pulls."),
        option("--docker-password", "password", "", "WORD",
               "Seen by others on this host: rather use --docker-password-file."),
        option("--docker-password-file", "password_file", "", "FILE",
               "A file whose first line is the password; - for standard input."),
        option("--docker-email", "email", "", "ADDRESS", "Few registries want one."),
    )):  # fmt: skip
        verb = add_option(verb)
    return verb


def _check_pair(certificate: bytes, key: bytes) -> None:
    """Raises Invalid unless the key is the certificate's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    from mesh.errors import Invalid

    try:
        of_certificate = x509.load_pem_x509_certificate(certificate).public_key()
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise Invalid(
            "cannot read the certificate or its key: both must be PEM, the key without a passphrase"
        ) from None
    if private.public_key() != of_certificate:
        raise Invalid("the key is not the certificate's")
