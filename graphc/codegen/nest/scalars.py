"""The expression and the time of one element of a node."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.nest.ir import Cast, Expr, Formula
from graphc.graph.node import Node
from graphc.graph.types import short_name
from graphc.ops.pointwise import Pointwise


def scalar_code(node: Node, operands: Sequence[Expr]) -> Expr:
    """Return the expression of one element of a pointwise node, cast to its dtype where Python would widen."""
    assert isinstance(node.op, Pointwise)
    dtypes = [x.dtype for x in node.inputs]
    kind = short_name(node.dtype)
    found = Formula(node.op.code(dtypes, node.dtype), tuple(operands), kind, short_name(dtypes[-1]) if dtypes else kind)
    exact = node.dtype.kind in "fb" or node.dtype.name == "int64"
    return found if exact or found.code == f"{kind}({{0}})" else Cast(kind, found)
