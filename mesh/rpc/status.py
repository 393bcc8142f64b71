"""Errors of the mesh as gRPC statuses: the one place that knows both.

Rule: each kind of mesh.errors has one code; details carry the kind (ErrorInfo, domain "mesh") and every field that
is wrong (BadRequest). What is no MeshError never reaches a client but as an id to look up in the log.
"""

from collections.abc import Sequence

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

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

DOMAIN = "mesh"

_CODES: dict[type, int] = {
    NotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    Conflict: code_pb2.ABORTED,
    TooOld: code_pb2.OUT_OF_RANGE,
    Invalid: code_pb2.INVALID_ARGUMENT,
    Forbidden: code_pb2.PERMISSION_DENIED,
    Unavailable: code_pb2.UNAVAILABLE,
}
# A status travels in HTTP/2 trailers, of which clients take 8 KiB: the message once plain and once in the status, the
# status in base64.
_MESSAGE = 1000  # bytes
_STATUS = 3600  # bytes


def status_of(error: MeshError) -> status_pb2.Status:
    """The status of an error, with its details."""
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), code_pb2.UNKNOWN)
    status = status_pb2.Status(code=code, message=_short(error.message, _MESSAGE))
    status.details.append(_packed(error_details_pb2.ErrorInfo(reason=error.kind, domain=DOMAIN)))
    if error.violations:
        status.details.append(_packed(_violations(error.violations, _STATUS - status.ByteSize())))
    return status


def _violations(violations: Sequence[Violation], room: int) -> error_details_pb2.BadRequest:
    """As many as there is room for, and how many there are more."""
    bad = error_details_pb2.BadRequest()
    for i, violation in enumerate(violations):
        said = {"field": _short(violation.field, 256), "description": _short(violation.reason, 512)}
        bad.field_violations.add(**said)
        if bad.ByteSize() > room - 100:
            del bad.field_violations[-1]
            bad.field_violations.add(description=f"and {len(violations) - i} more")
            break
    return bad


def internal(error_id: str) -> status_pb2.Status:
    """The status of a bug: the client learns only where to look."""
    message = f"meshd met an error it did not expect; its log has it under the id {error_id}"
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=message)
    info = error_details_pb2.ErrorInfo(reason="Internal", domain=DOMAIN, metadata={"id": error_id})
    status.details.append(_packed(info))
    return status


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    box = any_pb2.Any()
    box.Pack(detail)
    return box


def _short(text: str, longest: int) -> str:
    """The text in at most so many bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= longest else encoded[: longest - 3].decode(errors="ignore") + "…"


to_grpc = rpc_status.to_status
