"""A host whose certificate has ended is told so at once, with what to do."""

import time
from pathlib import Path

import pytest

from mesh import pki
from mesh.cli import ready
from mesh.errors import Forbidden
from mesh.supervision.layout import Layout


def test_an_expired_certificate_is_told_and_not_waited_for(tmp_path: Path) -> None:
    layout, long_ago = Layout(tmp_path), int(time.time()) - 40 * pki.DAY
    layout.pki.mkdir()
    pair = pki.issue(pki.make_ca("mesh", long_ago), pki.node("host3"), long_ago, days=30)
    layout.agent_certificate.write_bytes(pair.certificate)
    with pytest.raises(Forbidden, match=r"host3 expired at .*mesh token create --node host3.*mesh node join"):
        ready.by_itself(layout, "10.0.0.1:7444", "host3")
