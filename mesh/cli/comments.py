"""The comments of the proto files, as the generated type stubs carry them.

Rule: missing stubs or comments are no error; an explanation is then shorter.
"""

import ast
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor


def comment_of_message(message: Descriptor) -> str:
    """What the proto file says of a message; empty when nothing."""
    node = _classes(message.file.name).get(message.name)
    return _clean(ast.get_docstring(node) or "") if node is not None else ""


def comment_of_field(message: Descriptor, field: str) -> str:
    """What the proto file says of a message's field; empty when nothing."""
    node = _classes(message.file.name).get(message.name)
    if node is None:
        return ""
    named = ""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            named = item.target.id
        elif isinstance(item, ast.FunctionDef):
            if item.name == field:
                return _clean(ast.get_docstring(item) or "")
            named = ""
        elif isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and named == field:
            return _clean(str(item.value.value))
    return ""


@cache
def _classes(proto: str) -> dict[str, ast.ClassDef]:
    import mesh

    stub = Path(mesh.__file__).parent.parent / proto.replace(".proto", "_pb2.pyi")
    try:
        tree = ast.parse(stub.read_text())
    except (OSError, SyntaxError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _clean(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("----")]
    return " ".join(" ".join(lines).split())
