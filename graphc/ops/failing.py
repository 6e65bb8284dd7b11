"""What can end a call: an index out of bounds, a singular matrix, the largest of no elements.

It must not be computed where no step would.
"""

from __future__ import annotations

from graphc.graph.node import Node
from graphc.graph.op import Routine
from graphc.ops.control import Control
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.limits import Limited
from graphc.ops.losses import CrossEntropy
from graphc.ops.reduction import Reduction
from graphc.ops.spectral import Pinv


def can_fail(node: Node) -> bool:
    """Tell whether a value's check may fail; an op that holds graphs may where a value in them may."""
    if isinstance(node.op, Control):
        return any(can_fail(n) for region in node.op.regions() for n in region.nodes)
    if isinstance(node.op, Reduction):
        return node.op.needs_elements
    failing = (Gather, Scatter, Limited, CrossEntropy, Pinv)
    return isinstance(node.op, failing) or (isinstance(node.op, Routine) and bool(node.op.failure))
