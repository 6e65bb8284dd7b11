"""Newton's method in a `while_loop`: square roots and Kepler's equation, with their forward derivatives.

The loop runs inside the compiled program for as long as the last step was larger than a tolerance. `gc.jvp` moves
values and tangents through the same iterations: Newton's map forgets where it came from, so the tangent is right as
soon as the value is.
"""

from collections.abc import Callable

import numpy as np

import graphc as gc

Step = Callable[[gc.Node], gc.Node]


def newton(step: Step, start: gc.Node, tolerance: float = 1e-9) -> tuple[gc.Node, gc.Node]:
    """Return the root that `x - step(x)` converges to, elements together, and the number of iterations.

    The last step taken is at most `tolerance`, so the error after it is about its square.
    """

    def unfinished(carry: tuple[gc.Node, gc.Node, gc.Node]) -> gc.Node:
        _, size, count = carry
        return gc.logical_and(size > tolerance, count < 50)

    def iterate(carry: tuple[gc.Node, gc.Node, gc.Node]) -> tuple[gc.Node, gc.Node, gc.Node]:
        x, _, count = carry
        move = step(x)
        return x - move, gc.max(gc.abs(move)), count + 1

    root, _, count = gc.while_loop(unfinished, iterate, (start, gc.inf, 0))
    return root, count


def square_root(a: gc.Node) -> tuple[gc.Node, gc.Node]:
    """Solve x**2 = a: Heron's method."""
    return newton(lambda x: (x * x - a) / (2 * x), (1 + a) / 2)


def eccentric_anomaly(mean: gc.Node, eccentricity: gc.Node) -> tuple[gc.Node, gc.Node]:
    """Solve Kepler's equation E - e sin E = M. From E = M + 0.85 e sign(sin M) (Danby 1987) Newton converges."""
    start = mean + 0.85 * eccentricity * gc.sign(gc.sin(mean))
    return newton(lambda x: (x - eccentricity * gc.sin(x) - mean) / (1 - eccentricity * gc.cos(x)), start)


def main() -> None:
    """Print roots, iterations, and derivatives beside their closed forms."""
    a = gc.placeholder("a", shape=("n",))
    root, count = square_root(a)
    slope = gc.jvp(root, a, gc.ones_like(a))
    numbers = np.array([2.0, 3.0, 1e-4, 1e6])
    roots, slopes, iterations = gc.function(a, [root, slope, count])(numbers)
    print(f"square roots after {iterations} iterations")
    for number, found, derivative in zip(numbers, roots, slopes, strict=True):
        print(f"  sqrt({number:g}) = {found:.15g}, derivative {derivative:.12g} (closed form {0.5 / found:.12g})")
    print(f"largest relative error: {np.abs(roots / np.sqrt(numbers) - 1).max():.1e}")

    mean, e = gc.placeholder("mean", shape=("n",)), gc.placeholder("e")
    anomaly, count = eccentric_anomaly(mean, e)
    by_mean = gc.jvp(anomaly, mean, gc.ones_like(mean))
    by_e = gc.jvp(anomaly, e, 1.0)
    kepler = gc.function([mean, e], [anomaly, by_mean, by_e, count])
    for eccentricity in (0.0167, 0.2056, 0.967):  # Earth, Mercury, Halley's comet
        means = np.linspace(0.05, 2 * np.pi - 0.05, 1000)
        found, dm, de, iterations = kepler(means, eccentricity)
        residual = np.abs(found - eccentricity * np.sin(found) - means).max()
        denominator = 1 - eccentricity * np.cos(found)
        errors = np.abs(dm * denominator - 1).max(), np.abs(de * denominator - np.sin(found)).max()
        print(
            f"Kepler, e = {eccentricity}: {iterations} iterations for 1,000 orbits, residual {residual:.1e},"
            f" derivative errors {max(errors):.1e}"
        )


if __name__ == "__main__":
    main()
