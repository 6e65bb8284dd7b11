"""The op that ends a call where a loop with a limit has not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.graph.errors import ArgumentError
from graphc.graph.node import Node
from graphc.graph.op import Composite, Cotangents, apply
from graphc.graph.types import INT64, Array, TensorType
from graphc.ops.indexing import Gather
from graphc.ops.pointwise import cast
from graphc.ops.shape import reshape_to


@dataclass(frozen=True)
class Limited(Composite):
    """A result of a loop, or an error where its condition, the second operand, still holds."""

    name = "while_loop"

    def infer(self, *types: TensorType) -> TensorType:
        return types[0]

    def evaluate(self, *arrays: Array) -> Array:
        if np.any(arrays[1]):
            raise ArgumentError(
                "the condition still holds after max_steps steps; give more, or use scan(until=...), which tells how"
                " many it ran"
            )
        return arrays[0]

    def vjp(self, g: Node, out: Node, *inputs: Node) -> Cotangents:
        return g, None

    def jvp(self, tangents: Sequence[Node | None], out: Node, *inputs: Node) -> Node | None:
        return tangents[0]

    def expand(self, *inputs: Node) -> Node:
        """Return the only row of the result, at an index that is out of bounds where the condition holds."""
        x, going = inputs
        return apply(Gather((0,)), reshape_to(x, (1, *x.shape)), cast(going, INT64))
