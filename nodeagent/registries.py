"""Image registries of agent.toml, as Podman's own files: mirrors, private authorities, plain HTTP (I4).

Rule: pure. Plain HTTP is spoken only with a registry whose entry says so; an entry describes the registry that it
names, mirrors too, so that a mirror over plain HTTP or with an authority of its own has an entry of its own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from mesh.errors import Violation


@dataclass(frozen=True, slots=True)
class Registry:
    """One `[[registries]]` of agent.toml."""

    name: str  # "docker.io", "registry.example:5000", or with a path: "registry.example/team"
    mirrors: tuple[str, ...] = ()  # asked first, in this order
    plain_http: bool = False
    ca: str = ""  # a PEM file on this host: the authority of this registry's certificate


def parse(value: Any) -> tuple[tuple[Registry, ...], list[Violation]]:
    """The registries of a parsed TOML array of tables, and what is wrong with it, by field."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        return (), [Violation("registries", "must be tables: [[registries]]")]
    wrong: list[Violation] = []
    for number, table in enumerate(value):
        wrong += [Violation(f"registries[{number}].{name}", why) for name, why in _wrong(table)]
    if wrong:
        return (), wrong
    return tuple(Registry(**{**table, "mirrors": tuple(table.get("mirrors", ()))}) for table in value), []


def _wrong(table: dict[str, Any]) -> list[tuple[str, str]]:
    known = {field.name for field in fields(Registry)}
    wrong = [(name, "is not a key of a registry") for name in table if name not in known]
    if not isinstance(table.get("name"), str) or not table["name"]:
        wrong.append(("name", "is required: the registry's host, with its port"))
    if not isinstance(table.get("plain_http", False), bool):
        wrong.append(("plain_http", "must be true or false"))
    if not isinstance(table.get("ca", ""), str):
        wrong.append(("ca", "must be the path of a PEM file"))
    mirrors = table.get("mirrors", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, str) and mirror for mirror in mirrors):
        wrong.append(("mirrors", "must be a list of registries"))
    return wrong


def registries_conf(registries: Sequence[Registry]) -> str:
    """Podman's registries.conf. A name without a registry is Docker Hub's, as everywhere in Kubernetes."""
    plain = {registry.name for registry in registries if registry.plain_http}
    text = (
        '# Written by `python -m nodeagent prepare` from agent.toml.\nunqualified-search-registries = ["docker.io"]\n'
    )
    for registry in registries:
        text += f"\n[[registry]]\nprefix = {_quoted(registry.name)}\nlocation = {_quoted(registry.name)}\n"
        text += f"insecure = {_boolean(registry.plain_http)}\n"
        for mirror in registry.mirrors:
            text += f"[[registry.mirror]]\nlocation = {_quoted(mirror)}\n"
            text += f"insecure = {_boolean(any(_is_of(mirror, name) for name in plain))}\n"
    return text


def authorities(registries: Sequence[Registry]) -> dict[str, str]:
    """The PEM file by the registry's host, for Podman's certs.d."""
    return {registry.name.partition("/")[0]: registry.ca for registry in registries if registry.ca}


def _is_of(location: str, name: str) -> bool:
    return location == name or location.startswith((f"{name}/", f"{name}:"))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _boolean(value: bool) -> str:
    return "true" if value else "false"
