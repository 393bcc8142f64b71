"""The image for one attempt of a container: found, or pulled with the pod's credentials, and what is told of it.

Rule: credentials are opened for the pull and kept by nobody; they go to the runtime's API alone, on no command line and
into no file.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mesh.v1.core_pb2 import Container
from nodeagent.credentials import credentials_for
from nodeagent.events import Events
from nodeagent.images import Images, Pulled, pull_policy, pulling_words
from nodeagent.pods import actions as do
from nodeagent.pods.failures import Failures
from nodeagent.pods.podstate import PodState
from nodeagent.runtime import translate
from nodeagent.runtime.port import Credentials, RuntimeFailure
from nodeagent.volumes.vault import Vault

HOSTS_OWN = "localhost/"  # images of this name have no registry: no policy pulls them, see docs/images.md
UNFOUND = "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed."


@dataclass(slots=True)
class Pulling:
    """A host's. `poke` wakes a worker."""

    images: Images
    events: Events
    vault: Vault
    failures: Failures
    poke: Callable[[str], None]

    async def resolve(self, action: do.ResolveImage, container: Container, state: PodState) -> None:
        """Finds the image, or begins to pull it. Raises RuntimeFailure."""
        policy, reference = pull_policy(container), container.image
        if reference.startswith(HOSTS_OWN) and policy == "Always":
            policy = "Never"
        image = None
        if policy != "Always":
            image = await self.images.find(reference)
        if image is not None:
            message = f'Container image "{reference}" already present on machine'
            self.events.normal(state.pod, "Pulled", message, container.name)
            state.memory = state.memory.with_image(container.name, do.ImageFact(action.attempt, reference, image))
            return
        if policy == "Never" or reference.startswith(HOSTS_OWN):
            words = f'Container image "{reference}" is not present with pull policy of Never'
            if reference.startswith(HOSTS_OWN):
                words = f'Container image "{reference}" is not on this host and has no registry: mesh image load'
            raise RuntimeFailure("ErrImageNeverPull", words)
        credentials, which = self._credentials(container, state)
        known = state.memory.images.get(container.name)
        self.events.normal(state.pod, "Pulling", pulling_words(reference), container.name)
        fact = do.ImageFact(action.attempt, reference, failure=known.failure if known else None, pulling=True)
        state.memory = state.memory.with_image(container.name, fact)
        told = lambda words: self._told(action, reference, state, words)  # noqa: E731
        self.images.pull(reference, credentials, which, told).add_done_callback(
            lambda pull: self._pulled(action, reference, state, pull) if not pull.cancelled() else None
        )

    def _credentials(self, container: Container, state: PodState) -> tuple[list[Credentials], str]:
        """What to try, and of which secrets it is. One that is not here, though it exists, is waited for (I4)."""
        names = list(dict.fromkeys(reference.name for reference in state.pod.spec.image_pull_secrets if reference.name))
        if not names:
            return [], ""
        refs = {name: state.given.secrets[name] for name in names if name in state.given.secrets}
        secrets = self.vault.open(state.pod.metadata.namespace, refs)
        if secrets.away:
            why = secrets.why(next(iter(secrets.away)))
            raise RuntimeFailure("CreateContainerConfigError", f"cannot pull image {container.image}: {why}")
        missing = [name for name in names if name not in refs]
        if missing:
            words = UNFOUND.format(", ".join(missing))
            self.events.warning(state.pod, "FailedToRetrieveImagePullSecret", words)
        credentials = credentials_for(translate.full_reference(container.image), names, secrets)
        return credentials, repr(refs) if credentials else ""

    def _told(self, action: do.ResolveImage, reference: str, state: PodState, words: str) -> None:
        if _is_pulling(action, reference, state):
            self.events.follow(state.pod, "Pulling", pulling_words(reference), words, action.container)

    def _pulled(self, action: do.ResolveImage, reference: str, state: PodState, pull: "asyncio.Future[Pulled]") -> None:
        result = pull.result()
        if not _is_pulling(action, reference, state):
            return
        if result.failure is not None:
            self.failures.note(action, state, result.failure)
        else:
            self.images.succeeded(state.uid, reference)
            self.events.normal(state.pod, "Pulled", result.words(reference), action.container)
            fact = do.ImageFact(action.attempt, reference, result.image)
            state.memory = state.memory.with_image(action.container, fact)
        self.poke(state.uid)


def _is_pulling(action: do.ResolveImage, reference: str, state: PodState) -> bool:
    """Whether the pod still waits for the pull that it began then."""
    fact = state.memory.images.get(action.container)
    return bool(fact and fact.pulling and (fact.attempt, fact.reference) == (action.attempt, reference))
