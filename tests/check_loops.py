"""Whether a program of loops means what it says: its value against NumPy, its derivatives against differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import graphc as gc
from tests.loop_backends import Plain, Traced
from tests.loop_programs import Program


def total(xp: Any, values: Sequence[Any]) -> Any:
    """Return a bounded number that depends on every element of some values."""
    return sum((0.3 + 0.1 * k) * xp.sum(xp.sin(v + k)) for k, v in enumerate(values))


def check(program: Program, mode: Any, *, together: bool = False) -> str:
    """Check a program, and return "" or why its gradient could not be told from differences.

    With `together`, values and gradient are one compiled function; without, one of each and, for some, the tangent.
    """
    given = program.arrays()
    with np.errstate(all="ignore"):
        wanted = program.build(Plain(), given)
    inputs = program.placeholders()
    values = program.build(Traced(), inputs)
    loss = total(gc, values)
    together = together and program.reversible
    gradient = list(gc.grad(loss, inputs, disconnected="zero")) if program.reversible else []
    f = gc.function(inputs, [loss, *values, *(gradient if together else [])], mode=mode, on_unused="ignore")
    found = f(*given)
    for k, (got, value) in enumerate(zip(found, [total(np, wanted), *wanted], strict=not together)):
        np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-9, err_msg=f"value {k - 1}")
    rng = np.random.default_rng([program.seed, 1])
    towards = [rng.normal(size=a.shape) for a in given]
    slopes = {}
    if program.reversible:
        arrays = found[1 + len(values) :]
        if not together:
            g = gc.function(inputs, [loss, *gradient], mode=mode, on_unused="ignore")
            value, *arrays = g(*given)
            np.testing.assert_allclose(value, found[0], rtol=1e-9, atol=1e-9, err_msg="value beside the gradient")
        slopes["gradient"] = sum(float(np.sum(a * t)) for a, t in zip(arrays, towards, strict=True))
    if not together and (not program.reversible or program.seed % 6 == 1):
        tangents = [gc.placeholder(f"d{x.name}", shape=x.shape) for x in inputs]
        slope = gc.jvp([loss], inputs, tangents)[0]
        h = gc.function([*inputs, *tangents], slope, mode=mode, on_unused="ignore")
        slopes["tangent"] = float(h(*given, *towards))
    if len(slopes) == 2:
        np.testing.assert_allclose(slopes["gradient"], slopes["tangent"], rtol=1e-9, atol=1e-9, err_msg="jvp, vjp")

    def moved(step: float) -> float:
        return float(f(*(a + step * t for a, t in zip(given, towards, strict=True)))[0])

    steps = (1e-4, 5e-5)
    rough, fine = ((moved(h) - moved(-h)) / (2 * h) for h in steps)
    slope = (4 * fine - rough) / 3
    if not abs(rough - fine) < 1e-3 * (1 + abs(fine)):
        return f"differences do not converge: {rough} {fine}, {slopes}"
    for name, value in slopes.items():
        np.testing.assert_allclose(value, slope, rtol=1e-5, atol=1e-6, err_msg=f"{name} and differences")
    return ""
