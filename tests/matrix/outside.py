"""Rows: what the mesh leans on outside of it is away: a registry, the hosts' name servers."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.hosts import FakeHost, until
from tests.harness.pythonpod import REPOSITORY
from tests.matrix.nameserver import ANSWER
from tests.matrix.row import Row
from tests.matrix.stage import REGISTRY, SWITCH, Stage
from tests.matrix.workloads import ADDRESS

DNS = "10.96.0.10"
ASK = (
    "import sys, dns.message, dns.query; "
    "a = dns.query.udp(dns.message.make_query(sys.argv[2], 'A'), sys.argv[1], timeout=20); "
    "print(a.rcode().name if hasattr(a.rcode(), 'name') else a.rcode(), *(str(r[0]) for r in a.answer))"
)


@contextmanager
def beside(stage: Stage, *argv: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that runs meanwhile, once it has said that it is ready."""
    with subprocess.Popen(list(argv), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        try:
            yield program
        finally:
            program.kill()


def _names(stage: Stage) -> None:
    second = stage.hosts[1]
    with beside(stage, *stage.at_switch(sys.executable, "-m", "tests.matrix.nameserver", SWITCH)) as server:
        until(lambda: ANSWER in _asked(second, "before.test"), 30, "a name of the world is known")
        server.send_signal(signal.SIGSTOP)
        try:
            answers = [_asked(second, "web.default.svc.cluster.local") for _ in range(20)]
            assert all(ADDRESS in answer for answer in answers), answers
            assert "SERVFAIL" in _asked(second, "meanwhile.test")
        finally:
            server.send_signal(signal.SIGCONT)
        until(lambda: ANSWER in _asked(second, "after.test"), 30, "a name of the world is known again")


def _asked(host: FakeHost, name: str) -> str:
    return host.run(sys.executable, "-c", ASK, DNS, name)


def _registry(stage: Stage) -> None:
    """Its pod is on the third host, and so is the registry: the other images are on every host."""
    first, third = stage.first, stage.hosts[2]
    container = {"name": "main", "image": f"{REGISTRY}/hello:1", "imagePullPolicy": "Always"}
    spec = {"nodeName": third.name, "containers": [container], "terminationGracePeriodSeconds": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pulled"}, "spec": spec}
    first.mesh("apply", "-f", "-", text=json.dumps(pod))
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    first.mesh("wait", "pod/pulled", f"--for=jsonpath={reason}=ImagePullBackOff", "--timeout=60s")
    serving = ("nsenter", "-t", str(third.init), "-n", "--", sys.executable, "-m", "tests.harness.registry")
    with beside(stage, *serving, REGISTRY.rpartition(":")[2], str(stage.archive)):
        first.mesh("wait", "pod/pulled", "--for=condition=Ready", "--timeout=120s", timeout=150)
    first.mesh("delete", "pod", "pulled", "--now")


ROWS = (
    Row("registry down", "a pod with a new image waits and says why; it starts when the registry is back", _registry,
        before=Stage.configure),
    Row("name servers of the hosts down", "names of the mesh are known as ever; others fail with SERVFAIL", _names),
)  # fmt: skip
