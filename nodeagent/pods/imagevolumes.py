"""Volumes that are images (I7), seen as what they are to the puller: something with a name, an image and a policy.

Rule: pure. An image volume is resolved as a container's image is, under a subject that no container can have.
"""

from mesh.model.pods import container_named
from mesh.v1.core_pb2 import Container, Pod, PodSpec

PREFIX = "volume/"
ATTEMPT = 0  # volumes have no attempts


def image_volumes(spec: PodSpec) -> list[Container]:
    """Of each image volume what is to be resolved, by its subject as the name."""
    return [
        Container(name=PREFIX + v.name, image=v.image.reference, image_pull_policy=v.image.pull_policy)
        for v in spec.volumes
        if v.HasField("image")
    ]


def user_of_image(pod: Pod, subject: str) -> Container | None:
    """The container, or the volume in a container's shape, whose image is meant."""
    if not subject.startswith(PREFIX):
        return container_named(pod.spec, subject)
    return next((user for user in image_volumes(pod.spec) if user.name == subject), None)
