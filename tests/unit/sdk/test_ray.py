"""What a pod takes from Ray while it runs is what it requests, in Ray's units."""

import pytest

from mesh.errors import Invalid
from mesh.model.manifest import load
from mesh.model.pods import effective_requests
from mesh.sdk.ray import holding, pod_task
from mesh.v1.core_pb2 import Pod

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: POLICY
  containers:
  - name: one
    image: i
    resources: {requests: {cpu: 250m, memory: 64Mi}}
  - name: two
    image: i
    resources: {limits: {cpu: "1", memory: 64Mi}}
"""


def test_requests_in_rays_units() -> None:
    (pod,) = load(POD.replace("POLICY", "Never"), "test").objects
    assert isinstance(pod, Pod)
    taken = holding(effective_requests(pod))
    assert taken == {"num_cpus": 1.25, "memory": 128 << 20, "resources": {}}


def test_devices_and_others() -> None:
    taken = holding({"nvidia.com/gpu": 2, "example.com/dongle": 1, "ephemeral-storage": 1 << 30, "pods": 1})
    assert taken == {"num_cpus": 0, "num_gpus": 2, "resources": {"example.com/dongle": 1.0}}


def test_a_pod_that_never_ends_is_no_task() -> None:
    with pytest.raises(Invalid, match="never ends"):
        pod_task(POD.replace("POLICY", "Always"))
