"""What a mesh has from its first start on, and what each further start changes (A10)."""

import asyncio

from mesh.start import EPOCH, begin
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.v1.core_pb2 import Namespace, ServiceAccount
from mesh.view import View
from tests.harness.bent_time import bent

NOW = 1_790_000_000 * 10**9


def spaces(view: View) -> dict[str, Namespace]:
    return {space.metadata.name: space for space in view.of_kind("Namespace") if isinstance(space, Namespace)}


@bent
async def test_a_first_start_makes_the_namespaces_and_their_accounts_and_another_only_its_epoch() -> None:
    store = MemoryStore()
    feed = Feed(store)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(feed.run())
        epoch = await begin(store, feed, lambda: NOW)
        made = spaces(feed.view)
        assert sorted(made) == ["default", "kube-node-lease", "kube-public", "kube-system"]
        assert all(space.status.phase == "Active" and space.metadata.uid for space in made.values())
        accounts = [obj.metadata for obj in feed.view.of_kind("ServiceAccount") if isinstance(obj, ServiceAccount)]
        assert {(account.namespace, account.name) for account in accounts} == {(name, "default") for name in made}

        again = await begin(store, feed, lambda: NOW - 10**9)  # the clock went back
        assert again == epoch + 1
        after = spaces(feed.view)
        assert after["kube-system"].metadata.annotations[EPOCH] == str(again)
        assert {name: space.metadata.uid for name, space in after.items()} == {
            name: space.metadata.uid for name, space in made.items()
        }
        following.cancel()
