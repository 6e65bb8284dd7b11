"""A cotangent that `where` masked out is a hard zero, in loops and branches as outside, in every order and mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc

Program = Callable[[gc.Node, gc.Node], gc.Node]
"""Of a vector whose first element is 0, and a number: what it computes is kept where the number is above 0."""

INSIDE: dict[str, Program] = {
    "no loop": lambda x, s: gc.sum(gc.log(x)),
    "scan": lambda x, s: gc.scan(lambda c, v: (c + gc.log(v), None), 0.0, x)[0],
    "stacked": lambda x, s: gc.sum(gc.scan(lambda c, v: (c, gc.sqrt(v) * c), 1.0 + s * s, x)[1]),
    "captured": lambda x, s: gc.fori_loop(0, 3, lambda i, c: c * gc.sqrt(x[0]) + gc.log(x[1]), s),
    "carried": lambda x, s: gc.scan(lambda c, v: (gc.sqrt(c) * v, None), x[0], x)[0],
    "map": lambda x, s: gc.sum(gc.map(gc.sqrt, x)),
    "cond": lambda x, s: gc.cond(x[0] < 1, lambda: gc.sum(gc.log(x)), lambda: s),
    "switch in scan": lambda x, s: gc.scan(lambda c, v: (gc.cond(v < 1, lambda: c + gc.log(v), lambda: c), None), s, x)[
        0
    ],
    "scan in scan": lambda x, s: gc.scan(
        lambda c, v: (gc.scan(lambda d, u: (d + gc.sqrt(v) * u, None), c, x)[0], None), s, x
    )[0],
    "until": lambda x, s: gc.scan(lambda c, v: (c + gc.log(v), None), s, x, until=lambda c: c > 1e6)[0],
    "in chunks": lambda x, s: gc.scan(lambda c, v: (c + gc.log(v), None), s, x, checkpoint=1)[0],
    "while": lambda x, s: gc.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] * gc.sqrt(x[0])), (0, s))[1],
}


@pytest.mark.parametrize("mode", ["compiled", "reference"])
@pytest.mark.parametrize("name", INSIDE)
def test_masked_outside(name: str, mode: Any) -> None:
    x, s, d = gc.placeholder("x", ("n",)), gc.placeholder("s"), gc.placeholder("d", ("n",))
    value = gc.where(s > 0, INSIDE[name](x, s), 0.0)
    slope = gc.jvp([value], [x], [d])[0]
    outputs = [slope, gc.jvp([slope], [x], [d])[0]]
    if name != "while":
        first = gc.grad(value, x)
        outputs += [first, gc.grad(gc.sum(first * d), x), gc.jvp([first], [x], [d])[0]]
    f = gc.function([x, s, d], outputs, mode=mode, on_unused="ignore")
    for number, found in enumerate(f([0.0, 2.0, 3.0], -1.0, [1.0, 1.0, 1.0])):
        np.testing.assert_array_equal(found, np.zeros(np.shape(found)), err_msg=f"output {number}")


def test_masked_by_the_step_before() -> None:
    """The mask is inside the body, what it absorbs by in another step: the cotangent goes round in a carry."""
    x = gc.placeholder("x", ("n",))
    loss = gc.scan(lambda c, v: (gc.where(v > 0, gc.sin(v), gc.sqrt(c) * 1.0), None), x[0], x)[0]
    wanted = [0.0, 0.0, np.cos(2.0)]
    np.testing.assert_allclose(gc.function([x], gc.grad(loss, x))([0.0, 0.0, 2.0]), wanted)


def test_products_stay_plain_where_nothing_masks() -> None:
    x = gc.placeholder("x", ("n",))
    loss = gc.scan(lambda c, v: (gc.tanh(c + v), None), 0.0, x)[0]
    gradient = gc.grad(loss, x)
    regions = [g for n in gc.Graph(gradient).nodes if hasattr(n.op, "regions") for g in n.op.regions()]
    assert regions and not any(n.op.name == "masked_multiply" for g in regions for n in g.nodes)
