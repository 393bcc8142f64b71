"""Pods that ask for memory, and volumes that may hold only so much."""

from typing import Any

from mesh.v1.core_pb2 import EmptyDirVolumeSource, Pod, ResourceRequirements, Volume
from tests.harness.agents import a_container, a_pod


def asking(name: str, memory: str = "", priority: int = 0) -> Pod:
    resources = ResourceRequirements(requests={"memory": memory} if memory else {})
    return a_pod(name, containers=(a_container(resources=resources),), priority=priority)


def limited(name: str, size: str, **fields: Any) -> Volume:
    return Volume(name=name, empty_dir=EmptyDirVolumeSource(size_limit=size, **fields))
