"""What the bundle pins: what is needed to run, by the versions and hashes of constraints.txt, and nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bundle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle", ROOT / "tools" / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_runs_is_in_it_and_what_only_tests_need_is_not(bundle: ModuleType, python: str) -> None:
    needed = bundle.needed(python)
    assert {"ray", "grpcio", "protobuf", "cryptography"} <= needed
    assert not {"pytest", "mypy", "ruff", "grpcio-tools"} & needed


def test_every_package_comes_with_its_hashes(bundle: ModuleType) -> None:
    pins = bundle.pinned(ROOT / "constraints.txt", bundle.needed("3.13"))
    assert pins.keys() == bundle.needed("3.13")
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins.values())
    assert pins["ray"].startswith("ray==2.60.0 ")


def test_an_entry_ends_where_the_next_begins(bundle: ModuleType, tmp_path: Path) -> None:
    text = "One_A==1 \\\n    --hash=sha256:aa\ntwo==2 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    (tmp_path / "pins").write_text(text)
    assert bundle.pinned(tmp_path / "pins", {"one-a"}) == {"one-a": "One_A==1 \\\n    --hash=sha256:aa\n"}
    assert bundle.pinned(tmp_path / "pins", {"two"})["two"].count("--hash") == 2


def test_what_is_not_pinned_is_named(bundle: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("one==1 --hash=sha256:aa\n")
    with pytest.raises(SystemExit, match="does not pin other"):
        bundle.pinned(tmp_path / "pins", {"one", "other"})


def test_hosts_are_told_of_the_system_packages_that_the_role_installs(bundle: ModuleType) -> None:
    assert "podman" in bundle.debs()
    assert "python3-venv" in bundle.debs()
