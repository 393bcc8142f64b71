"""The claims of a StatefulSet's pods: one for each template and ordinal, kept when the pod goes (C8).

Rule: pure. A claim that is there is used as it is, whoever made it; only `whenScaled` and `whenDeleted` take one away.
"""

from mesh.controllers.children import Step
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.workloads import owner_reference
from mesh.v1.apps_pb2 import StatefulSet
from mesh.v1.core_pb2 import PersistentVolumeClaim


def claims_of(held: StatefulSet, ordinal: int) -> dict[str, str]:
    """The claims' names by the names of the volumes that they are."""
    return {
        t.metadata.name: f"{t.metadata.name}-{held.metadata.name}-{ordinal}" for t in held.spec.volume_claim_templates
    }


def ensure(held: StatefulSet, ordinal: int, step: Step) -> bool:
    """Plans to make the claims that are missing; says whether the pod may be made."""
    names = claims_of(held, ordinal)
    for template in held.spec.volume_claim_templates:
        name = names[template.metadata.name]
        there = step.view.get(Key("PersistentVolumeClaim", held.metadata.namespace, name))
        if there is not None:
            if there.metadata.HasField("deletion_timestamp"):
                return False
            continue
        claim = PersistentVolumeClaim()
        claim.CopyFrom(template)
        claim.metadata.name, claim.metadata.namespace = name, held.metadata.namespace
        claim.metadata.labels.update(held.spec.selector.match_labels)
        if held.spec.persistent_volume_claim_retention_policy.when_deleted == "Delete":
            claim.metadata.owner_references.append(owner_reference(held))
        if not step.make(held, claim, "claim"):
            return False
    return True


def retain(held: StatefulSet, step: Step) -> None:
    """Takes away claims of ordinals that are no more, and makes others follow the set, as the policy says."""
    policy = held.spec.persistent_volume_claim_retention_policy
    start = held.spec.ordinals.start
    for template in held.spec.volume_claim_templates:
        prefix = f"{template.metadata.name}-{held.metadata.name}-"
        for claim in step.view.of_kind("PersistentVolumeClaim", held.metadata.namespace):
            number = claim.metadata.name.removeprefix(prefix)
            if not claim.metadata.name.startswith(prefix) or not number.isdigit():
                continue
            pod = step.view.pod(held.metadata.namespace, f"{held.metadata.name}-{number}")
            if not start <= int(number) < start + held.spec.replicas:
                if policy.when_scaled == "Delete" and pod is None:
                    step.remove(held, claim, "claim")
            elif policy.when_deleted == "Delete" and not claim.metadata.owner_references:
                owned = copy_of(claim)
                owned.metadata.owner_references.append(owner_reference(held))
                step.put(claim, owned)
