"""Holds the wire to what was released: `python tools/wire.py --check` compares proto/ with every schema that is kept in
tests/golden/wire; `--freeze N` keeps today's as that of protocol N (mesh/model/protocol.py), before its release.

Rule: what a released program may say keeps its meaning for ever. No number is given to another field or value, no field
changes its type, what goes away is reserved under its number, and what is reserved stays so.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "tests" / "golden" / "wire"


def current(protos: Path = ROOT / "proto") -> FileDescriptorSet:
    """The schema below a directory; raises SystemExit when it does not compile."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "set"
        include = [f"-I{protos}", f"-I{files('grpc_tools') / '_proto'}"]
        names = sorted(str(path) for path in (protos / "mesh" / "v1").glob("*.proto"))
        if protoc.main(["protoc", *include, f"--descriptor_set_out={out}", *names]):
            raise SystemExit("cannot read proto/: protoc failed")
        return FileDescriptorSet.FromString(out.read_bytes())


def faults(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """What of `new` a program that knows `old` would misunderstand, in words."""
    found: list[str] = []
    messages, enums, services = _messages(new), _enums(new), _services(new)
    for name, message in _messages(old).items():
        found += _message(name, message, messages[name]) if name in messages else [f"{name} is gone"]
    for name, enum in _enums(old).items():
        found += _enum(name, enum, enums[name]) if name in enums else [f"{name} is gone"]
    for name, service in _services(old).items():
        found += _service(name, service, services[name]) if name in services else [f"{name} is gone"]
    return found


def _message(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    fields = {field.number: field for field in new.field}
    reserved = {n for span in new.reserved_range for n in range(span.start, span.end)}  # the end is not in it
    for field in old.field:
        if field.number in fields:
            yield from _field(name, old, field, new, fields[field.number])
        elif field.number not in reserved:
            yield f"{name}.{field.name} is gone and its number {field.number} is not reserved"
    for span in old.reserved_range:
        for number in range(span.start, span.end):
            if number in fields:
                yield f"{name}.{fields[number].name} has number {number}, which was reserved"
            elif number not in reserved:
                yield f"{name}: number {number} is reserved no more"


def _field(
    name: str, before: DescriptorProto, old: FieldDescriptorProto, after: DescriptorProto, new: FieldDescriptorProto
) -> Iterator[str]:
    if old.name != new.name:
        yield f"{name}: number {old.number} was {old.name} and is {new.name}"
    elif (old.type, old.type_name, old.label) != (new.type, new.type_name, new.label):
        yield f"{name}.{old.name} was {_type(old)} and is {_type(new)}"
    elif _oneof(before, old) != _oneof(after, new):
        yield f"{name}.{old.name} was in oneof {_oneof(before, old) or 'none'} and is in {_oneof(after, new) or 'none'}"


def _type(field: FieldDescriptorProto) -> str:
    many = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    return many + (field.type_name.lstrip(".") or FieldDescriptorProto.Type.Name(field.type)[5:].lower())


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """Empty for a field with presence of its own, whose oneof exists on paper alone."""
    real = field.HasField("oneof_index") and not field.proto3_optional
    return message.oneof_decl[field.oneof_index].name if real else ""


def _enum(name: str, old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    values = {value.number: value.name for value in new.value}
    reserved = {n for span in new.reserved_range for n in range(span.start, span.end + 1)}  # the end is in it
    for value in old.value:
        if value.number in values and values[value.number] != value.name:
            yield f"{name}: {value.number} was {value.name} and is {values[value.number]}"
        elif value.number not in values and value.number not in reserved:
            yield f"{name}.{value.name} is gone and its number {value.number} is not reserved"
    for span in old.reserved_range:
        for number in range(span.start, span.end + 1):
            if number in values:
                yield f"{name}.{values[number]} has number {number}, which was reserved"


def _service(name: str, old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    methods = {method.name: method for method in new.method}
    for method in old.method:
        if method.name not in methods:
            yield f"{name}.{method.name} is gone"
        elif method != methods[method.name]:
            yield f"{name}.{method.name} takes or gives something else than before"


def _messages(schema: FileDescriptorSet) -> dict[str, DescriptorProto]:
    def below(prefix: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
        name = f"{prefix}.{message.name}"
        yield name, message
        for nested in message.nested_type:
            yield from below(name, nested)

    return dict(pair for file in schema.file for message in file.message_type for pair in below(file.package, message))


def _enums(schema: FileDescriptorSet) -> dict[str, EnumDescriptorProto]:
    own = {f"{file.package}.{enum.name}": enum for file in schema.file for enum in file.enum_type}
    nested = {f"{name}.{e.name}": e for name, message in _messages(schema).items() for e in message.enum_type}
    return own | nested


def _services(schema: FileDescriptorSet) -> dict[str, ServiceDescriptorProto]:
    return {f"{file.package}.{service.name}": service for file in schema.file for service in file.service}


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="fail when a released schema is not kept to")
    what.add_argument("--freeze", type=int, metavar="N", help="keep today's schema as that of protocol N")
    arguments = parser.parse_args()
    schema = current()
    bad = [f"{path.name}: {fault}" for path in sorted(RELEASED.glob("*.binpb"))
           for fault in faults(FileDescriptorSet.FromString(path.read_bytes()), schema)]  # fmt: skip
    for line in bad:
        print(line, file=sys.stderr)
    if bad:
        print("the wire is not what was released: see docs/upgrades.md", file=sys.stderr)
    elif arguments.freeze is not None:
        (RELEASED / f"{arguments.freeze}.binpb").write_bytes(schema.SerializeToString(deterministic=True))
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
