"""A pod on a real host calls the mesh's API by the Service `kubernetes`, with the token of its service account."""

import json
import os
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import FakeHost, until
from tests.harness.pythonpod import REPOSITORY, python_pod

pytestmark = pytest.mark.timeout(600)

READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
"""
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def client_pod() -> str:
    """A pod that runs the SDK of this repository."""
    packages = sysconfig.get_paths()["purelib"]
    pod = json.loads(python_pod("asker", "pod_client.py", packages, str(REPOSITORY), serviceAccountName="reader"))
    for name, path in (("packages", packages), ("repository", str(REPOSITORY))):
        pod["spec"]["volumes"].append({"name": name, "hostPath": {"path": path}})
        mount = {"name": name, "mountPath": path, "readOnly": True}
        pod["spec"]["containers"][0]["volumeMounts"].append(mount)
    return json.dumps(pod) + "\n"


def test_a_pod_reads_pods_of_its_namespace_and_of_no_other(host: FakeHost, archive: Path) -> None:
    host.up()
    host.import_image(archive, IMAGE)
    host.mesh("wait", f"node/{host.name}", "--for=create", "--timeout=60s")
    host.mesh("apply", "-f", "-", text=READER)
    host.mesh("apply", "-f", "-", "--wait", "--timeout=60s", text=client_pod())
    said = until(lambda: host.mesh("logs", "asker"), 60, "the pod asked")
    told = json.loads(said.splitlines()[0])
    assert (told["context"], told["server"], told["pods"]) == ("in-cluster", "10.96.0.1:443", ["asker"])
    assert told["refused"].startswith('Forbidden: "system:serviceaccount:default:reader" may not list pods')

    token = host.mesh("exec", "asker", "--", "cat", TOKEN)
    known = "yes - system:serviceaccount:default:reader\n"
    assert host.mesh("auth", "review-token", text=token) == known

    host.mesh("delete", "pod", "asker", "--now", "--timeout=90s")
    gone = host.mesh("auth", "review-token", check=False, text=token)
    assert gone.startswith("no - the token was for the pod")
    walked = os.walk(host.state / "run")  # which takes no offence at what goes away meanwhile
    assert not [where for where, _, files in walked if "token" in files]
