"""The expression and the time of one element of a node."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.ir import Cast, Expr, Formula
from graphc.node import Node
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduction import Reduction
from graphc.passes.cost import is_expensive
from graphc.passes.frame import Framed
from graphc.types import short_name


def scalar_code(node: Node, operands: Sequence[Expr]) -> Expr:
    """Return the expression of one element of a pointwise node, cast to its dtype where Python would widen."""
    assert isinstance(node.op, Pointwise)
    dtypes = [x.dtype for x in node.inputs]
    kind = short_name(node.dtype)
    found = Formula(node.op.code(dtypes, node.dtype), tuple(operands), kind, short_name(dtypes[-1]) if dtypes else kind)
    exact = node.dtype.kind in "fb" or node.dtype.name == "int64"
    return found if exact or found.code == f"{kind}({{0}})" else Cast(kind, found)


def unit_ns(node: Node) -> float:
    """Return a rough estimate of the time of one element of a member."""
    if isinstance(node.op, Framed):
        return sum(unit_ns(n) for n in node.op.body.nodes if n not in node.op.body.inputs)
    own = node.op.unit_ns if isinstance(node.op, Pointwise) else 0.0
    return own or (1.0 if not isinstance(node.op, Reduction) and is_expensive(node) else 0.15)
