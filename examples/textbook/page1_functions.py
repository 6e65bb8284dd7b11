"""Textbook page 1: a variable, functions of it, and three ways to its derivative.

"Deep learning from scratch" begins with a Variable that holds a number, and Functions that compute the next Variable at
once. In the static form a variable is a placeholder and holds no number; a function returns a node, which says what is
to be computed. Values come at the end, when a compiled function is called.
"""

from collections.abc import Callable, Sequence

import numpy as np

import graphc as gc

Function = Callable[[gc.Node], gc.Node]


def square(x: gc.Node) -> gc.Node:
    """Return x**2: one node of the graph, for operands of any shape."""
    return x**2


def compose(functions: Sequence[Function]) -> Function:
    """Return the function that applies `functions` from first to last."""

    def composed(x: gc.Node) -> gc.Node:
        for f in functions:
            x = f(x)
        return x

    return composed


exp_of_square: Function = compose([square, gc.exp, square])  # (exp(x**2))**2


def value(f: Function, at: float) -> float:
    """Steps 1-3, forward: declare, build, compile, call."""
    x = gc.placeholder("x")
    return float(gc.function(x, f(x))(at))


def numerical_diff(f: Function, at: float, eps: float = 1e-4) -> float:
    """Step 4, the central difference: two calls of one compiled function."""
    x = gc.placeholder("x")
    compiled = gc.function(x, f(x))
    return float((compiled(at + eps) - compiled(at - eps)) / (2 * eps))


def manual_backward(at: float) -> tuple[float, float, float]:
    """Steps 5-6, the chain rule by hand through square, exp, square: the slopes of y by b, a and x.

    What is written by hand here is what `gc.grad` writes: further nodes of the same graph.
    """
    x = gc.placeholder("x")
    a = square(x)
    b = gc.exp(a)
    dy_db = 2 * b
    dy_da = gc.exp(a) * dy_db
    dy_dx = 2 * x * dy_da
    slopes = gc.function(x, [dy_db, dy_da, dy_dx])(at)
    return float(slopes[0]), float(slopes[1]), float(slopes[2])


def automatic_backward(f: Function, at: float) -> tuple[float, float]:
    """Steps 7-9, the value and the derivative that `gc.value_and_grad` builds."""
    x = gc.placeholder("x")
    y, dy = gc.function(x, gc.value_and_grad(f(x), x))(at)
    return float(y), float(dy)


def deep_chain(length: int, at: float) -> tuple[float, float]:
    """Step 8, "from recursion to loops": differentiate a chain longer than Python's stack is deep."""
    x = gc.placeholder("x")
    y = compose([gc.sin] * length)(x)
    values = gc.evaluate([y, gc.grad(y, x)], {x: at})  # the interpreter: nothing to compile for one call
    return float(values[0]), float(values[1])


def check_gradients() -> float:
    """Step 10, the unit test: every gradient against central differences; the largest relative error."""
    x = gc.placeholder("x", shape=("n",))
    points = {x: np.random.default_rng(0).uniform(-1, 1, 5)}
    return max(gc.check_grad(gc.sum(f(x)), x, points) for f in (square, gc.exp, exp_of_square))


def main() -> None:
    """Print the page's numbers."""
    print(f"square(10) = {value(square, 10.0):g}")
    print(f"(exp(x**2))**2 at 0.5 = {value(exp_of_square, 0.5)!r}")
    print(f"its derivative, numerically: {numerical_diff(exp_of_square, 0.5):.10f}")
    print("by hand, dy/db, dy/da, dy/dx:", *map(repr, manual_backward(0.5)))
    print(f"by gc.grad:                   {automatic_backward(exp_of_square, 0.5)[1]!r}")
    print(f"square'(3) = {automatic_backward(square, 3.0)[1]:g}")
    print("sin applied 3,000 times to 1, and the slope:", *(f"{v:.10g}" for v in deep_chain(3000, 1.0)))
    print(f"gradient checks passed, largest relative error {check_gradients():.1e}")


if __name__ == "__main__":
    main()
