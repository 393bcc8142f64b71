"""The service account `default`, which every namespace has (E14).

Rule: pure; whoever takes it away gets another one.
"""

import uuid
from collections.abc import Iterable

from mesh.admission.admit import Stamp, create
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.model.podtokens import DEFAULT_ACCOUNT
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Snapshot, Write
from mesh.v1.core_pb2 import Namespace, ServiceAccount
from mesh.view import View


class Accounts:
    """See the module."""

    name = "accounts"

    def keys(self, event: Event) -> Iterable[Key]:
        """The namespace."""
        if event.key.kind == "Namespace":
            return (event.key,)
        mine = event.key.kind == "ServiceAccount" and event.key.name == DEFAULT_ACCOUNT
        return (Key("Namespace", "", event.key.namespace),) if mine else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Makes the account that is missing."""
        held = view.namespace(key.name)
        if held is None or held.metadata.HasField("deletion_timestamp"):
            return NOTHING
        if view.get(Key("ServiceAccount", key.name, DEFAULT_ACCOUNT)) is not None:
            return NOTHING
        return Plan([account_of(held, now_ns)])


def account_of(namespace: Namespace, now_ns: int) -> Write:
    """The write that gives a namespace its account."""
    view = View(Snapshot(0, [namespace]))
    account = ServiceAccount(api_version="v1", kind="ServiceAccount")
    account.metadata.namespace, account.metadata.name = namespace.metadata.name, DEFAULT_ACCOUNT
    uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{namespace.metadata.uid}/{DEFAULT_ACCOUNT}/{now_ns}")
    return Write(key_of(account), create(account, view, Stamp(now_ns, str(uid), "")).object, 0)
