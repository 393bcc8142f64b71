"""Where a mesh is and with which certificate to call it: the named contexts of ~/.mesh/config (or $MESHCONFIG).

Rule: the file is 0600 in a directory 0700 and is replaced whole, never half-written. Its form:

    current: local
    contexts:
      local:
        servers: ["127.0.0.1:7443"]
        ca: /var/lib/mesh/pki/ca.crt        # a path (relative to this file), or the PEM text itself
        certificate: /var/lib/mesh/pki/admin.crt
        key: /var/lib/mesh/pki/admin.key
        namespace: default
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mesh.errors import Invalid, NotFound
from mesh.files import whole_file

_HINT = "`mesh up` writes one on a mesh's first host; MESHCONFIG names another file"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # where a pod finds its token
_TEXTS = ("ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class Context:
    """How to reach one mesh. `ca`, `certificate` and `key` are paths, or PEM text."""

    servers: tuple[str, ...]
    ca: str
    certificate: str
    key: str = field(repr=False)
    namespace: str = "default"
    name: str = ""
    token: str = ""  # the file of a service account's token, instead of certificate and key

    @property
    def files(self) -> tuple[bytes, ...]:
        """What a connection is made with; raises Invalid when a file can't be read."""
        return tuple(self.pem(what) for what in (("ca",) if self.token else _TEXTS))

    def pem(self, what: str) -> bytes:
        """The PEM bytes of "ca", "certificate" or "key"; raises Invalid when the file can't be read."""
        value: str = getattr(self, what)
        if value.lstrip().startswith("-----BEGIN"):
            return value.encode()
        try:
            return Path(value).expanduser().read_bytes()
        except OSError as error:
            why = error.strerror or str(error)
            raise Invalid(f'cannot read the {what} of context "{self.name}", {value}: {why}') from error


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the file holds: contexts by name, and the name of the one in use."""

    contexts: Mapping[str, Context] = field(default_factory=dict)
    current: str = ""

    def choose(self, name: str = "") -> Context:
        """The named context, or the current one, or the only one; raises NotFound."""
        wanted = name or self.current or (next(iter(self.contexts)) if len(self.contexts) == 1 else "")
        if not wanted:
            raise NotFound(f"no context is current in {config_path()}: {_HINT}")
        if wanted not in self.contexts:
            known = ", ".join(sorted(self.contexts)) or "none"
            raise NotFound(f'there is no context "{wanted}" in {config_path()}; known: {known}')
        return self.contexts[wanted]

    def having(self, context: Context, current: bool = True) -> "Contexts":
        """These contexts with `context` added or replaced, and made the current one if so said."""
        return Contexts({**self.contexts, context.name: context}, context.name if current else self.current)

    def without(self, name: str) -> "Contexts":
        """These contexts without the named one."""
        rest = {n: c for n, c in self.contexts.items() if n != name}
        return Contexts(rest, "" if self.current == name else self.current)


def config_path() -> Path:
    """$MESHCONFIG, or ~/.mesh/config."""
    return Path(os.environ.get("MESHCONFIG") or "~/.mesh/config").expanduser()


def load(name: str = "", path: Path | None = None) -> Context:
    """The named, or current, context of the file; in a pod without a file, that of its service account. Raises
    NotFound or Invalid, each with what to do."""
    where = path or config_path()
    if not where.exists():
        if not name and path is None and (found := in_cluster()) is not None:
            return found
        raise NotFound(f"there is no context file at {where}: {_HINT}")
    return read(where).choose(name)


def in_cluster(directory: Path = Path(ACCOUNT)) -> Context | None:
    """How a pod reaches the mesh that it is in: the Service `kubernetes` and the token of its service account; None
    where there is neither."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token, ca, namespace = (directory / name for name in ("token", "ca.crt", "namespace"))
    if not host or not token.exists() or not ca.exists():
        return None
    own = namespace.read_text().strip() if namespace.exists() else "default"
    return Context((f"{host}:{port}",), str(ca), "", "", own, "in-cluster", str(token))


def read(path: Path | None = None) -> Contexts:
    """Everything that the file holds; nothing when there is no file."""
    import yaml  # noqa: PLC0415 - 25 ms that `--help` does not pay

    where = path or config_path()
    try:
        document = yaml.safe_load(where.read_text())
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Invalid(f"cannot read the context file {where}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the context file {where}: it is not YAML: {str(error).splitlines()[0]}") from error
    if document is None:
        return Contexts()
    if not isinstance(document, dict) or not isinstance(document.get("contexts") or {}, dict):
        raise Invalid(f'cannot read the context file {where}: it must be a mapping with "contexts"')
    found = {str(n): _context(str(n), c, where) for n, c in (document.get("contexts") or {}).items()}
    return Contexts(found, str(document.get("current") or ""))


def write(contexts: Contexts, path: Path | None = None) -> Path:
    """Replaces the file by `contexts`; returns where it is."""
    import yaml  # noqa: PLC0415 - 25 ms that `--help` does not pay

    where = path or config_path()
    document = {"current": contexts.current, "contexts": {n: _plain(c) for n, c in contexts.contexts.items()}}
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with whole_file(where) as file:
        file.write(yaml.safe_dump(document, sort_keys=False).encode())
    return where


def _context(name: str, value: Any, where: Path) -> Context:
    if not isinstance(value, dict):
        raise Invalid(f'cannot read the context file {where}: context "{name}" must be a mapping')
    servers = value.get("servers") or []
    if not isinstance(servers, list) or not servers or not all(isinstance(s, str) and ":" in s for s in servers):
        raise Invalid(f'cannot read the context file {where}: context "{name}": servers must list host:port')
    for what in _TEXTS:
        if not isinstance(value.get(what), str):
            raise Invalid(f'cannot read the context file {where}: context "{name}": {what} is missing')
    texts = {what: _resolved(value[what], where) for what in _TEXTS}
    context = Context(tuple(servers), **texts, name=name)
    return replace(context, namespace=str(value.get("namespace") or "default"))


def _resolved(value: str, where: Path) -> str:
    if value.lstrip().startswith("-----BEGIN"):
        return value
    return str(where.parent / Path(value).expanduser())


def _plain(context: Context) -> dict[str, Any]:
    return {
        "servers": list(context.servers),
        **{what: getattr(context, what) for what in _TEXTS},
        "namespace": context.namespace,
    }
