"""Textbook page 2: variables used twice, repeated backward passes, and graphs that are no chains.

A framework that runs backward through live objects needs an order of generations, so that no function passes its
gradient on before all of it has arrived, and `clear_grad`, because gradients add up in the variables. In the static
form gradients are nodes like any others: `gc.grad` visits the graph once in topological order, and nothing is stored
between calls.
"""

from collections.abc import Callable

import graphc as gc


def slopes(f: Callable[..., gc.Node], *at: float) -> tuple[float, ...]:
    """Return the value of `f` and its partial derivatives."""
    xs = [gc.placeholder(f"x{i}") for i in range(len(at))]
    y, grads = gc.function(xs, gc.value_and_grad(f(*xs), xs))(*at)
    return float(y), *(float(g) for g in grads)


def twice(x: gc.Node) -> gc.Node:
    """Use one variable twice in an addition."""
    return x + x


def three_times(x: gc.Node) -> gc.Node:
    """Use it once more."""
    return x + x + x


def diamond(x: gc.Node) -> gc.Node:
    """Branch and join: (x**2)**2 + (x**2)**2, in which a = x**2 must wait for gradients from both sides."""
    a = x**2
    return a**2 + a**2


def sum_of_squares(x: gc.Node, y: gc.Node) -> gc.Node:
    """Take two variables: x**2 + y**2."""
    return x**2 + y**2


def called_twice(f: Callable[[gc.Node], gc.Node], at: float) -> tuple[float, float]:
    """Call the same compiled gradient two times: nothing adds up, so there is nothing to clear."""
    x = gc.placeholder("x")
    backward = gc.function(x, gc.value_and_grad(f(x), x))
    (_, first), (_, second) = backward(at), backward(at)
    return float(first), float(second)


def accumulated(f: Callable[[gc.Node], gc.Node], at: float, calls: int) -> float:
    """Add gradients up on purpose, as for a large batch in parts: a shared node and an update say so."""
    x = gc.placeholder("x")
    total = gc.shared(0.0, name="total")
    y, slope = gc.value_and_grad(f(x), x)
    backward = gc.function(x, y, updates={total: total + slope})
    for _ in range(calls):
        backward(at)
    return float(total.get_value())


def order_of_nodes() -> str:
    """Return the diamond with its gradient as text: every node stands after all that it needs."""
    x = gc.placeholder("x")
    y = diamond(x)
    return gc.Graph([y, gc.grad(y, x)], [x]).text()


def main() -> None:
    """Print the page's numbers."""
    print("x + x at 3, and its derivative:", *slopes(twice, 3.0))
    print("x + x + x at 3:                ", *slopes(three_times, 3.0))
    print("x**2 + y**2 at (2, 3):         ", *slopes(sum_of_squares, 2.0, 3.0))
    print("(x**2)**2 + (x**2)**2 at 2:    ", *slopes(diamond, 2.0))
    print("the gradient of x + x, called twice:", *called_twice(twice, 3.0))
    print("added up in a shared node over three calls:", accumulated(twice, 3.0, 3))
    print("the diamond and its gradient:")
    print(order_of_nodes())


if __name__ == "__main__":
    main()
