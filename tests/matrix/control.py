"""Rows: what is irreplaceable on the control host or ran out is gone, and is put back as the documentation says."""

import time
from pathlib import Path

from mesh import pki
from mesh.authority import Authority
from tests.harness.hosts import ROOT, Failed
from tests.matrix.network import LATE
from tests.matrix.row import Row
from tests.matrix.stage import Stage

# what docs/reliability.md says to keep, below the root
KEPT = ("install.json", "keys", "pki", "ray/token", "ray/tls", "meshd/meshd.toml", "agent/agent.toml")


def _disk_lost(stage: Stage) -> None:
    first = stage.first
    store, keys = str(stage.directory / "store.db"), str(stage.directory / "keys.tar")
    first.mesh("backup", "--overwrite", store)
    first.run("tar", "-C", str(ROOT), "-cf", keys, *KEPT)
    first.power_off()
    stage.new_disk(first)
    first.boot()
    stage.plug(first)
    first.run("tar", "-C", str(ROOT), "-xf", keys)
    first.mesh("restore", store)
    first.up()
    first.import_image(stage.archive, "localhost/mesh-hello:1")


def _expired(stage: Stage) -> None:
    """A host was off for so long that its certificate ran out."""
    first, _, third = stage.hosts
    third.mesh("down")
    held, directory = _authority(first.path(ROOT / "pki")), third.path(ROOT / "pki")
    wish = pki.wish((directory / "agent.key").read_bytes())
    ended = held.certify(pki.node(third.name), wish.certificate, int(time.time()) - 2 * pki.BACKDATE, pki.BACKDATE)
    (directory / "agent.crt").write_bytes(ended)
    try:
        third.mesh("up", timeout=180)
    except Failed as failure:
        assert "expired" in str(failure), failure
    first.mesh("wait", f"node/{third.name}", "--for=condition=Ready=Unknown", "--timeout=60s")
    stage.join(third)


def _authority(directory: Path) -> Authority:
    return Authority((directory / "ca.crt").read_bytes(), (directory / "ca.key").read_bytes())


ROWS = (
    Row("certificate of a host expired while it was off",
        "as for a host without power; `mesh up` there says why it stays away, a new token lets it in", _expired,
        failed=LATE, replaced=4, flips=None, asking=(0, 1)),
    Row("control host's disk lost, restored from a backup", "no `mesh` meanwhile; pods of other hosts run on",
        _disk_lost, failed=LATE, replaced=4, flips=None, asking=(1, 2)),
)  # fmt: skip
