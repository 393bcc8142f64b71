"""What tools/wire.py refuses: every way in which a schema could be misunderstood by a program that knows the former."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parent.parent.parent
OLD = """
message Pet { string name = 1; repeated Toy toys = 2; reserved 3; oneof what { bool barks = 4; bool purrs = 5; } Mood mood = 6;
  optional int32 age = 7; }
message Toy { string name = 1; }
enum Mood { CALM = 0; WILD = 1; reserved 5; }
service Pets { rpc Stroke(Pet) returns (Toy); rpc Watch(Pet) returns (stream Toy); }
"""  # noqa: E501 - a line of its own for each message


@pytest.fixture(scope="module")
def wire() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wire", ROOT / "tools" / "wire.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema(wire: ModuleType, directory: Path, text: str) -> FileDescriptorSet:
    path = directory / "mesh" / "v1" / "pets.proto"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'syntax = "proto3";\npackage p;\n{text}')
    found: FileDescriptorSet = wire.current(directory)
    return found


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        ("string name = 1; repeated", "bytes name = 1; repeated", "p.Pet.name was string and is bytes"),
        ("repeated Toy toys", "Toy toys", "p.Pet.toys was repeated p.Toy and is p.Toy"),
        ("repeated Toy toys", "repeated Pet toys", "p.Pet.toys was repeated p.Toy and is repeated p.Pet"),
        ("string name = 1; repeated", "repeated", "p.Pet.name is gone and its number 1 is not reserved"),
        ("string name = 1; repeated", "string title = 1; repeated", "p.Pet: number 1 was name and is title"),
        ("reserved 3;", "", "p.Pet: number 3 is reserved no more"),
        ("reserved 3;", "string back = 3;", "p.Pet.back has number 3, which was reserved"),
        ("Mood mood = 6;", "reserved 6; Mood mood = 60;", ""),
        ("oneof what { bool barks = 4; bool purrs = 5; }", "oneof what { bool purrs = 5; } bool barks = 4;",
         "p.Pet.barks was in oneof what and is in none"),
        ("WILD = 1", "TAME = 1", "p.Mood: 1 was WILD and is TAME"),
        ("WILD = 1; reserved 5", "reserved 5", "p.Mood.WILD is gone and its number 1 is not reserved"),
        ("reserved 5", "BACK = 5", "p.Mood.BACK has number 5, which was reserved"),
        ("message Toy { string name = 1; }", "message Toy { string name = 1; uint32 size = 2; }", ""),
        ("returns (stream Toy)", "returns (Toy)", "p.Pets.Watch takes or gives something else than before"),
        ("rpc Stroke(Pet) returns (Toy);", "", "p.Pets.Stroke is gone"),
        ("optional int32 age", "int32 age", ""),  # the bytes are the same
    ],
)  # fmt: skip
def test_each_fault_is_named_and_what_is_new_is_none(
    wire: ModuleType, tmp_path: Path, was: str, becomes: str, fault: str
):
    assert was in OLD
    old = schema(wire, tmp_path / "old", OLD)
    new = schema(wire, tmp_path / "new", OLD.replace(was, becomes, 1))
    assert wire.faults(old, old) == []
    assert wire.faults(old, new) == ([fault] if fault else [])


def test_a_message_that_is_gone(wire: ModuleType, tmp_path: Path):
    old = schema(wire, tmp_path / "old", OLD + "message Rare { }")
    assert wire.faults(old, schema(wire, tmp_path / "new", OLD)) == ["p.Rare is gone"]
