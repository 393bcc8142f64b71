"""What files a volume amounts to (V1, V4), what a pod's fields and resources read (E5)."""

import pytest

from mesh.model.digest import LAST_APPLIED
from mesh.v1.core_pb2 import ConfigMap, Pod, ResourceFieldSelector, ResourceRequirements, Volume
from nodeagent import fieldrefs
from nodeagent.fieldrefs import Allocatable, Around
from nodeagent.secrets import Secrets
from nodeagent.volumes.files import Content, File, content_of, contents_of
from tests.harness.agents import a_container, a_pod
from tests.harness.objects import config_map

CONFIGS = {"c": config_map("c", a="1", b="2"), "d": config_map("d", a="of d")}


def of(volume: Volume, pod: Pod | None = None, configs: dict[str, ConfigMap] | None = None) -> Content:
    return content_of(pod or a_pod("p"), volume, CONFIGS if configs is None else configs, Around())


def config(name: str, **fields: object) -> Volume:
    volume = Volume(name="v")
    volume.config_map.name = name
    for field, value in fields.items():
        setattr(volume.config_map, field, value)
    return volume


def test_all_keys_binary_ones_too() -> None:
    binary = config_map("c", a="1")
    binary.binary_data["raw"] = b"\xff\0"
    assert of(config("c"), configs={"c": binary}).files == {"a": File(b"1", 0o644), "raw": File(b"\xff\0", 0o644)}


def test_items_choose_paths_and_modes() -> None:
    volume = config("c", default_mode=0o640)
    volume.config_map.items.add(key="a", path="x/y", mode=0o400)
    volume.config_map.items.add(key="b", path="./z")
    assert of(volume).files == {"x/y": File(b"1", 0o400), "z": File(b"2", 0o640)}


def test_what_is_missing_is_told_unless_optional() -> None:
    assert of(config("none")).missing == 'configmap "none" not found'
    assert of(config("none", optional=True)) == Content()
    volume = config("c")
    volume.config_map.items.add(key="z", path="z")
    assert of(volume).missing == 'configmap "c" has no key "z"'
    volume.config_map.optional = True
    assert of(volume) == Content()
    assert of(config("none")).revision == ""


def of_secret(volume: Volume, secrets: Secrets) -> Content:
    return content_of(a_pod("p"), volume, CONFIGS, Around(), secrets)


def a_secret_volume(*, optional: bool = False) -> Volume:
    volume = Volume(name="v")
    volume.secret.secret_name, volume.secret.optional, volume.secret.default_mode = "s", optional, 0o600
    return volume


def test_a_secret_is_files_that_must_stay_in_memory() -> None:
    held = Secrets({"s": {"a": b"1", "b": b"\xff"}})
    assert of_secret(a_secret_volume(), held) == Content(
        {"a": File(b"1", 0o600), "b": File(b"\xff", 0o600)}, secret=True
    )
    volume = a_secret_volume()
    volume.secret.items.add(key="b", path="x/y", mode=0o400)
    assert of_secret(volume, held).files == {"x/y": File(b"\xff", 0o400)}
    volume.secret.items.add(key="none", path="z")
    assert of_secret(volume, held).missing == 'secret "s" has no key "none"'
    assert not of(config("c")).secret


def test_a_secret_that_is_not_here_is_waited_for_and_one_that_is_not_there_may_be_optional() -> None:
    assert of_secret(a_secret_volume(), Secrets()).missing == 'secret "s" not found'
    assert of_secret(a_secret_volume(optional=True), Secrets()) == Content(secret=True)
    away = Secrets(away={"s": "is withheld: because"})
    for optional in (False, True):
        assert of_secret(a_secret_volume(optional=optional), away).missing == 'secret "s" is withheld: because'


def test_a_projection_with_a_secret_is_secret() -> None:
    volume = Volume(name="v")
    volume.projected.sources.add().config_map.name = "c"
    volume.projected.sources.add().secret.name = "s"
    content = of_secret(volume, Secrets({"s": {"a": b"hush"}}))
    assert content.secret
    assert {p: f.data for p, f in content.files.items()} == {"a": b"hush", "b": b"2"}


def test_a_projection_merges_and_the_later_source_wins() -> None:
    volume = Volume(name="v")
    volume.projected.default_mode = 0o600
    volume.projected.sources.add().config_map.name = "c"
    volume.projected.sources.add().config_map.name = "d"
    item = volume.projected.sources.add().downward_api.items.add(path="of/pod")
    item.field_ref.field_path = "metadata.name"
    files = of(volume).files
    assert {p: f.data for p, f in files.items()} == {"a": b"of d", "b": b"2", "of/pod": b"p"}
    assert {f.mode for f in files.values()} == {0o600}


def test_a_file_can_not_be_a_directory_too() -> None:
    volume = config("c")
    volume.config_map.items.add(key="a", path="x")
    volume.config_map.items.add(key="b", path="x/y")
    assert of(volume).missing == '"x" would be a file and a directory'


def test_fs_group_may_read() -> None:  # as in Kubernetes: of what can only be read, the group reads
    pod = a_pod("p")
    pod.spec.security_context.fs_group = 7
    content = of(config("c", default_mode=0o400), pod)
    assert content.group == 7
    assert {f.mode for f in content.files.values()} == {0o440}


def test_the_revision_follows_bytes_modes_paths_and_group() -> None:
    base = Content({"a": File(b"1")})
    others = [Content({"a": File(b"2")}), Content({"b": File(b"1")}), Content({"a": File(b"1", 0o600)}),
              Content({"a": File(b"1")}, 5), Content()]  # fmt: skip
    assert len({c.revision for c in [base, *others]}) == 6
    assert base.revision == Content({"a": File(b"1")}).revision


def test_only_volumes_with_content_have_some() -> None:
    pod = a_pod("p", volumes=[Volume(name="e"), config("c")])
    pod.spec.volumes[0].empty_dir.SetInParent()
    assert set(contents_of(pod, CONFIGS, Around())) == {"v"}


def test_labels_as_a_file() -> None:
    pod = a_pod("p")
    pod.metadata.annotations.update({"b": 'say "hi"\n\\', "a": "é\x01\u200b", LAST_APPLIED: "{}"})
    assert fieldrefs.pod_field(pod, "metadata.annotations", Around()) == (
        'a="é\\x01\\u200b"\nb="say \\"hi\\"\\n\\\\"'
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "", "2"), ("limits.cpu", "1m", "1500"), ("requests.cpu", "", "1"), ("requests.cpu", "1m", "250"),
        ("limits.memory", "", str(64 << 20)), ("limits.memory", "1Mi", "64"), ("limits.memory", "1M", "68"),
        ("requests.memory", "1Mi", "64"), ("limits.ephemeral-storage", "1Gi", "10"),
        ("requests.ephemeral-storage", "", "0"), ("limits.gpu", "", None), ("limits", "", None),
    ],
)  # fmt: skip
def test_resources(resource: str, divisor: str, expected: str | None) -> None:  # E5
    bounds = ResourceRequirements(limits={"cpu": "1500m", "memory": "64Mi"}, requests={"cpu": "250m"})
    pod = a_pod("p", containers=(a_container(resources=bounds),))
    selector = ResourceFieldSelector(resource=resource, divisor=divisor)
    allocatable = Allocatable(4000, 8 << 30, 10 << 30)
    assert fieldrefs.resource(pod, selector, "main", allocatable) == expected


def test_a_limit_that_is_not_set_is_what_the_host_could_give() -> None:  # E5
    pod = a_pod("p")
    found = [
        fieldrefs.resource(pod, ResourceFieldSelector(resource=name), "main", Allocatable(3900, 8 << 30))
        for name in ("limits.cpu", "limits.memory", "requests.cpu")
    ]
    assert found == ["4", str(8 << 30), "0"]


def test_a_limit_of_the_whole_pod_stands_for_a_containers_own() -> None:  # E5, R3
    own = ResourceRequirements(limits={"memory": "64Mi"})
    limited = a_container("b", resources=ResourceRequirements(limits={"memory": "1Mi"}))
    pod = a_pod("p", containers=(a_container(), limited), resources=own)
    selectors = [("main", "limits.memory"), ("main", "limits.cpu"), ("b", "limits.memory")]
    found = [
        fieldrefs.resource(pod, ResourceFieldSelector(resource=name), container, Allocatable(3900, 8 << 30))
        for container, name in selectors
    ]
    assert found == [str(64 << 20), "4", str(1 << 20)]
