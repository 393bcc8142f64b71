"""Who a container's process is and what it may: from the security contexts of pod and container (E11).

Rule: pure; the container's own wishes win over the pod's. What a manifest asks and this image can't give is a
RuntimeFailure(CreateContainerConfigError) in words.
"""

from mesh.v1.core_pb2 import Container, Pod, SecurityContext
from nodeagent.runtime.port import Image, RuntimeFailure, Security


def security(pod: Pod, container: Container, image: Image, seccomp_root: str = "") -> Security:
    """Identity and confinement; `seccomp_root` is the host's directory of profiles."""
    of_pod, own = pod.spec.security_context, container.security_context
    user = own.run_as_user if own.HasField("run_as_user") else of_pod.run_as_user
    has_user = own.HasField("run_as_user") or of_pod.HasField("run_as_user")
    group = own.run_as_group if own.HasField("run_as_group") else of_pod.run_as_group
    has_group = own.HasField("run_as_group") or of_pod.HasField("run_as_group")
    non_root = own.run_as_non_root if own.HasField("run_as_non_root") else of_pod.run_as_non_root
    if non_root:
        _verify_non_root(container, user if has_user else None, image)
    identity = str(user) if has_user else ""
    if has_group:
        identity = f"{identity or image.user.split(':')[0] or '0'}:{group}"
    groups = [*of_pod.supplemental_groups, *([of_pod.fs_group] if of_pod.HasField("fs_group") else [])]
    return Security(
        user=identity,
        groups=tuple(dict.fromkeys(groups)),
        groups_alone=of_pod.supplemental_groups_policy == "Strict",
        privileged=own.privileged,
        read_only_root=own.read_only_root_filesystem,
        no_new_privileges=own.HasField("allow_privilege_escalation") and not own.allow_privilege_escalation,
        cap_add=tuple(own.capabilities.add),
        cap_drop=tuple(own.capabilities.drop),
        seccomp=_seccomp(pod, own, seccomp_root),
        app_armor=_app_armor(pod, own),
        selinux=_selinux(pod, own),
    )


def _verify_non_root(container: Container, user: int | None, image: Image) -> None:
    of_image = image.user.split(":")[0]
    if user == 0 or (user is None and of_image in ("", "0", "root")):
        why = "container has runAsNonRoot and image will run as root" if user is None else (
            "container's runAsUser breaks non-root policy"
        )  # fmt: skip
        raise RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {why}")
    if user is None and not of_image.isdigit():
        raise RuntimeFailure(
            "CreateContainerConfigError",
            f"cannot create container {container.name}: container has runAsNonRoot and image has non-numeric user "
            f"({of_image}), cannot verify user is non-root",
        )


def _seccomp(pod: Pod, own: SecurityContext, root: str) -> str:
    """As `Security.seccomp`; a privileged container is never confined."""
    profile = own.seccomp_profile if own.HasField("seccomp_profile") else pod.spec.security_context.seccomp_profile
    if own.privileged:
        return "unconfined"
    if profile.type == "RuntimeDefault":
        return "default"
    return f"{root}/{profile.localhost_profile}" if profile.type == "Localhost" else "unconfined"


def _app_armor(pod: Pod, own: SecurityContext) -> str:
    of_pod = pod.spec.security_context.app_armor_profile
    profile = own.app_armor_profile if own.HasField("app_armor_profile") else of_pod
    return {"Localhost": profile.localhost_profile, "Unconfined": "unconfined"}.get(profile.type, "")


def _selinux(pod: Pod, own: SecurityContext) -> tuple[str, ...]:
    of_pod = pod.spec.security_context.se_linux_options
    label = own.se_linux_options if own.HasField("se_linux_options") else of_pod
    words = {"user": label.user, "role": label.role, "type": label.type, "level": label.level}
    return tuple(f"{name}:{value}" for name, value in words.items() if value)
