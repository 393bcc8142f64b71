"""Who calls: a user, a host or a pod's service account, by what it proved.

Rule: pure. The name alone says which of the three it is: users can't have a name of the others' form.
"""

from dataclasses import dataclass

from mesh.access.builtin import AUTHENTICATED, EVERYWHERE
from mesh.errors import Forbidden
from mesh.pki import NODES, Identity
from mesh.v1.auth_pb2 import Subject

ACCOUNT = "system:serviceaccount:"
ACCOUNTS = "system:serviceaccounts"
HOST = "mesh:node:"
RESERVED = ("system:", "mesh:")  # beginnings of names and groups that no user may be given, but the four groups


@dataclass(frozen=True, slots=True)
class Who:
    """A caller. `by`: what it proved itself with, for the audit log ("certificate 3F…", "token a1b2c3")."""

    name: str
    groups: tuple[str, ...] = ()
    by: str = ""

    @property
    def host(self) -> str:
        """The host that this is, "" for everyone else."""
        return self.name.removeprefix(HOST) if self.name.startswith(HOST) and NODES in self.groups else ""


def of_certificate(identity: Identity) -> Who:
    """Whom a certificate names; raises Forbidden for a user with a name that is none of users. Groups that are not for
    users are left out."""
    by = f"certificate {identity.serial:X}" if identity.serial else "certificate"
    if identity.kind == "node":
        return Who(HOST + identity.name, (NODES, AUTHENTICATED), by)
    if identity.name.startswith(RESERVED):
        raise Forbidden(f'a user can\'t be called "{identity.name}": such names are not for users')
    groups = tuple(g for g in identity.groups if g in EVERYWHERE or not g.startswith(RESERVED))
    return Who(identity.name, (*groups, AUTHENTICATED), by)


def account(namespace: str, name: str, by: str = "") -> Who:
    """A pod's service account."""
    groups = (ACCOUNTS, f"{ACCOUNTS}:{namespace}", AUTHENTICATED)
    return Who(f"{ACCOUNT}{namespace}:{name}", groups, by)


def named(text: str, groups: tuple[str, ...] = ()) -> Who:
    """Who is meant by a name, for questions about others."""
    if text.startswith(ACCOUNT):
        namespace, _, name = text.removeprefix(ACCOUNT).partition(":")
        return account(namespace, name)
    if text.startswith(HOST):
        return Who(text, (NODES, AUTHENTICATED))
    return Who(text, (*groups, AUTHENTICATED))


def is_meant(subject: Subject, who: Who) -> bool:
    """Whether a binding's subject is, or has in it, this caller."""
    if subject.kind == "User":
        return subject.name == who.name
    if subject.kind == "Group":
        return subject.name in who.groups
    if subject.kind == "ServiceAccount":
        return who.name == f"{ACCOUNT}{subject.namespace}:{subject.name}"
    return False
