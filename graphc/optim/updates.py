"""`Updates`: what an optimiser returns, a dict for `gc.function(..., updates=...)` that groups are joined by.

`SGD(0.1).updates(loss, a) | SGD(0.01).updates(loss, b)` is one step with two settings. A dict's own `|` would clip each
group by a norm of its own, and would let the later group win a parameter that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.graph.errors import ArgumentError, at
from graphc.graph.graph import Graph
from graphc.graph.node import Node, Shared
from graphc.ops import hypot

Norms = dict[Node, Node | None]
"""Global norms of gradients that a group is clipped by, and the loss that the gradients are of."""


class Updates(dict[Shared, Node]):
    """New values by shared node; `|` joins groups of parameters into one step.

    The gradients of one loss are then clipped by the norm of all groups that have a `clip_norm`, as PyTorch's
    `clip_grad_norm_` does. A parameter in two groups is an `ArgumentError`.
    """

    def __init__(self, values: Mapping[Shared, Node], params: Mapping[Shared, str], norms: Norms) -> None:
        super().__init__(values)
        self.params = dict(params)
        self.norms = norms

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Updates):
            joined = super().__or__(other)
            return joined if joined is NotImplemented else Updates(joined, self.params, self.norms)
        for p in self.params:
            if p in other.params:
                names = dict.fromkeys((self.params[p], other.params[p]))
                raise ArgumentError(f"updates: parameter {' or '.join(map(repr, names))} is in both groups{at()}")
        both = self.norms | other.norms
        values, norms = {**self, **other}, both
        for loss in set(both.values()) - {None}:
            parts = [norm for norm, of in both.items() if of is loss]
            if len(parts) > 1:
                values, whole = _clipped_together(values, parts)
                norms = {norm: of for norm, of in norms.items() if of is not loss} | {whole: loss}
        return Updates(values, self.params | other.params, norms)

    def __ror__(self, other: Any) -> Any:
        joined = super().__ror__(other)
        return joined if joined is NotImplemented else Updates(joined, self.params, self.norms)

    def __ior__(self, other: Any) -> Any:
        return self | other


def _clipped_together(values: dict[Shared, Node], norms: list[Node]) -> tuple[dict[Shared, Node], Node]:
    """Put the norm of all groups in place of each one's own."""
    whole = norms[0]
    for norm in norms[1:]:
        whole = hypot(whole, norm)
    graph, _ = Graph(list(values.values())).replace(dict.fromkeys(norms, whole))
    return dict(zip(values, graph.outputs, strict=True)), whole
