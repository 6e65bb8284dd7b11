"""Textbook page 3: `grad` and `value_and_grad` as functions of functions, and derivatives of any order.

Articles that write autodiff by hand in a page of Python usually end where second derivatives begin: the backward pass
runs outside the system that it differentiates. Here a derivative is made of ordinary nodes, so `grad` applies to its
own result. The functions below turn a function of nodes into a compiled function of arrays, point by point.

`precision="polynomial"` takes sine and cosine from graphc itself instead of the C library: up to 1.5 units in float32's
last place, so the digits printed below do not depend on the system.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

import graphc as gc

Function = Callable[[gc.Node], gc.Node]
Array = npt.NDArray[np.float32]
POINTS = np.array([1, 2, 3], "float32")


def derivative(y: gc.Node, x: gc.Node) -> gc.Node:
    """Return dy/dx, element by element: y[i] depends on x[i] only, so the gradient of the sum holds the slopes."""
    slope: gc.Node = gc.grad(gc.sum(y), x)
    return slope


def grad(f: Function, order: int = 1) -> Callable[[Array], Array]:
    """Return the compiled derivative of `f` of some order, in float32."""
    x = gc.placeholder("x", shape=("n",), dtype="float32")
    y = f(x)
    for _ in range(order):
        y = derivative(y, x)
    return gc.function(x, y, name=f"derivative_{order}", precision="polynomial")


def value_and_grad(f: Function) -> Callable[[Array], tuple[Array, Array]]:
    """Return one compiled function for `f` and its derivative: what both need is computed once."""
    x = gc.placeholder("x", shape=("n",), dtype="float32")
    y = f(x)
    return gc.function(x, (y, derivative(y, x)), precision="polynomial")


def sin_cos(x: gc.Node) -> gc.Node:
    """Return sin(cos x)."""
    return gc.sin(gc.cos(x))


def sin_sin(x: gc.Node) -> gc.Node:
    """Return sin(sin x)."""
    return gc.sin(gc.sin(x))


def cos_sin_cos(x: gc.Node) -> gc.Node:
    """Return cos(sin(cos x))."""
    return gc.cos(gc.sin(gc.cos(x)))


def main() -> None:
    """Print the page's numbers."""
    print("at", POINTS)
    for f in (sin_cos, sin_sin, cos_sin_cos):
        value, slope = value_and_grad(f)(POINTS)
        print(f"{f.__name__:>11}:", value, "slope:", slope)
    print("derivatives of sin(cos x) of higher order:")
    for order in (1, 2, 3):
        print(f"{order:11}:", grad(sin_cos, order)(POINTS))


if __name__ == "__main__":
    main()
