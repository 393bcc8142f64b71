"""Which credentials of pull secrets are for an image: the longest match of registry and path first (I4).

Rule: pure; what can't be read is no credential, and is never quoted.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nodeagent.runtime.port import Credentials
from nodeagent.secrets import Secrets

CONFIG_JSON, CONFIG = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
DOCKER_HUB = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")


def credentials_for(reference: str, names: Iterable[str], secrets: Secrets) -> list[Credentials]:
    """What to try for the image `reference` (with its registry), best first; each once."""
    found: list[tuple[int, Credentials]] = []
    for name in names:
        for place, entry in _entries(secrets.types.get(name, ""), secrets.get(name) or {}):
            length = _match(place, reference)
            credentials = _credentials(entry)
            if length and credentials is not None:
                found.append((length, credentials))
    ordered = sorted(found, key=lambda pair: -pair[0])
    return list(dict.fromkeys(credentials for _, credentials in ordered))


def _entries(kind: str, data: Mapping[str, bytes]) -> Iterable[tuple[str, Any]]:
    key = {CONFIG_JSON: ".dockerconfigjson", CONFIG: ".dockercfg"}.get(kind, "")
    try:
        parsed = json.loads(data.get(key, b"{}"))
    except ValueError:
        return ()
    entries = parsed.get("auths") if kind == CONFIG_JSON and isinstance(parsed, dict) else parsed
    return entries.items() if isinstance(entries, dict) else ()


def _match(place: str, reference: str) -> int:
    """How much of the image's name an entry's place covers; 0 for none. Labels of the host may hold wildcards."""
    host, _, path = place.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    if path in ("v1", "v2"):  # what clients of old wrote behind the host
        path = ""
    if host in DOCKER_HUB:
        host = "docker.io"
    of_image, _, rest = reference.partition("/")
    if not _same_host(host, of_image):
        return 0
    tagged = rest.partition("@")[0]
    repository = tagged.rpartition(":")[0] or tagged
    if path and repository != path and not repository.startswith(path + "/"):
        return 0
    return len(host) + len(path) + 1


def _same_host(pattern: str, host: str) -> bool:
    name, _, port = pattern.partition(":")
    real, _, real_port = host.partition(":")
    labels, real_labels = name.split("."), real.split(".")
    same = len(labels) == len(real_labels) and port == real_port
    return same and all(fnmatchcase(r, p) for p, r in zip(labels, real_labels, strict=True))


def _credentials(entry: Any) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            text = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = text.partition(":")
    return Credentials(str(username), str(password)) if username else None
