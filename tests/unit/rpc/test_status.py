"""Errors on the wire: one code for each kind, every field named, nothing longer than headers may be."""

import pytest
from google.rpc import code_pb2, error_details_pb2

from mesh.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    MeshError,
    NotFound,
    TooOld,
    Unavailable,
    Violation,
)
from mesh.rpc.gate import certified
from mesh.rpc.status import internal, status_of


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (NotFound, code_pb2.NOT_FOUND),
        (AlreadyExists, code_pb2.ALREADY_EXISTS),
        (Conflict, code_pb2.ABORTED),
        (TooOld, code_pb2.OUT_OF_RANGE),
        (Invalid, code_pb2.INVALID_ARGUMENT),
        (Forbidden, code_pb2.PERMISSION_DENIED),
        (Unavailable, code_pb2.UNAVAILABLE),
        (MeshError, code_pb2.UNKNOWN),
    ],
)
def test_each_kind_has_its_code_and_its_name(kind: type[MeshError], code: int) -> None:
    status = status_of(kind("cannot do x: y"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message, info.reason, info.domain) == (code, "cannot do x: y", kind.kind, "mesh")


def test_a_kind_made_finer_keeps_its_code() -> None:
    class Stale(TooOld):
        pass

    assert status_of(Stale("x")).code == code_pb2.OUT_OF_RANGE


def test_every_wrong_field_is_named() -> None:
    status = status_of(Invalid.of('Pod "p"', [Violation("spec.a", "is bad"), Violation("spec.b", "is worse")]))
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("spec.a", "is bad"), ("spec.b", "is worse")]


def test_what_is_too_long_for_headers_is_cut() -> None:
    status = status_of(Invalid.of("x", [Violation(f"f{i}", "é" * 50) for i in range(100)]))
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert bad.field_violations[0].field == "f0"
    assert bad.field_violations[-1].description == f"and {101 - len(bad.field_violations)} more"
    assert status.message.endswith("…")
    assert len(status.message.encode()) * 3 + status.ByteSize() * 4 // 3 < 8_000


def test_a_bug_shows_only_its_id() -> None:
    assert "abc123" in internal("abc123").message


def test_without_a_certificate_there_is_no_caller() -> None:
    with pytest.raises(Forbidden, match="certificate"):
        certified({})
    with pytest.raises(Invalid):
        certified({"x509_pem_cert": [b"nonsense"]})
