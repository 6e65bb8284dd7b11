"""The table of elementwise functions: the Array API standard's, and a few that numerics asks for.

Each record is one row: its NumPy meaning, its scalar code, its partial derivatives. The public functions below
the tables are named as in the standard. Placeholder row set: see `ops/pointwise.py` for the fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.node import Node
from graphc.ops.pointwise import elementwise, pointwise

_add = elementwise("add", numpy=np.add, code="{0} + {1}", partials=(1, 1), commutative=True)
_multiply = elementwise(
    "multiply",
    numpy=np.multiply,
    code="{0} * {1}",
    partials=(lambda out, x, y: y, lambda out, x, y: x),
    commutative=True,
)
_tanh = elementwise(
    "tanh", numpy=np.tanh, code="tanh({0})", accepts="float", partials=(lambda out, x: 1 - out * out,)
)


def add(x: Any, y: Any, /) -> Node:
    """Return `x + y`."""
    return pointwise(_add, x, y)
