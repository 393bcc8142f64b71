"""However many pods come and go, figures are of those that are there: the number of series does not grow."""

import random
from pathlib import Path

from tests.harness.bent_time import bent
from tests.harness.cluster import Cluster
from tests.harness.figures import parse
from tests.harness.objects import pod

PODS, ROUNDS = 8, 5


async def series(cluster: Cluster) -> dict[str, int]:
    """How many each endpoint tells."""
    figures = cluster.meshds[-1].figures
    texts = {path: (await figures.raw(path)).decode() for path in ("/metrics", "/metrics/cluster")}
    texts |= {name: await host.figures() for name, host in cluster.hosts.items()}
    return {where: len(parse(text).samples) for where, text in texts.items()}


@bent
async def test_pods_that_come_and_go_leave_no_series_behind(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, random.Random(3), hosts=1)
    await cluster.start()
    await cluster.until(lambda: not cluster.unsettled())
    told = []
    for number in range(ROUNDS):
        names = [f"pod-{number}-{i}" for i in range(PODS)]
        await cluster.apply(*(pod(name) for name in names))
        await cluster.settled()
        told.append(await series(cluster))
        for name in names:
            await cluster.delete(name, grace=1)
        await cluster.until(lambda: not cluster.view.pods())
    assert told[-1]["host0"] > 10 * PODS
    assert told[-1] == told[1]  # the first round brings what is counted but once
    await cluster.stop()
