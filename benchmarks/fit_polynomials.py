"""Derive the coefficients in `graphc/codegen/math/coefficients.py` and print that file.

Every polynomial interpolates its function at Chebyshev nodes in 60-digit arithmetic, which is within a small factor
of the minimax error; the coefficients are then rounded to the dtype. `python -m benchmarks.fit_polynomials`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from graphc.codegen.math.gaussian import TAIL_CENTRE, TAIL_SLOPE
from graphc.codegen.math.roots import ROOTS

mp.dps = 60
Real = Any  # mpmath's mpf, which is untyped


@dataclass(frozen=True)
class Fit:
    """Approximate `function` on low..high by a polynomial of each dtype's degree."""

    name: str
    function: Callable[[Real], Real]
    low: Real
    high: Real
    degrees: dict[str, int]


def _tail(function: Callable[[Real], Real], known: Callable[[Real], Real], power: int) -> Callable[[Real], Real]:
    """Return (function - known) / r**power, by its limit at 0."""

    def value(r: Real) -> Real:
        with mp.workdps(150):
            shifted = r if abs(r) > mpf(10) ** -25 else mpf(10) ** -25
            return (function(shifted) - known(shifted)) / shifted**power

    return value


def _tail_of_erfc(centre: float) -> Callable[[Real], Real]:
    """Return exp(z**2) erfc(z) (1 + 9/8 z) as a function of t = (z - c) / (z + c)."""

    def value(t: Real) -> Real:
        z = centre * (1 + t) / (1 - t)
        return mpmath.erfc(z) * mpmath.exp(z * z) * (1 + TAIL_SLOPE * z)

    return value


def _tail_fit(kind: str, end: str, degree: int) -> Fit:
    centre = TAIL_CENTRE[kind]
    high = (mpf(end) - centre) / (mpf(end) + centre)
    return Fit("TAIL", _tail_of_erfc(centre), -mpf(1), high, {kind: degree})


def _scaled_tail(kind: str, slope: bool) -> Callable[[Real], Real]:
    """Return exp(z**2) erfc(z) (1 + 9/8 z), or minus the first's derivative times (1 + z)**2, as `_tail_of_erfc`."""

    def value(t: Real) -> Real:
        z = TAIL_CENTRE[kind] * (1 + t) / (1 - t)
        with mp.workdps(90):
            if z > 30:  # Abramowitz and Stegun, 7.1.23
                odd = [mpmath.fac2(2 * k - 1) * (-2) ** -mpf(k) * z ** (-2 * k) for k in range(30)]
                terms = [c * (2 * k + 1) / z for k, c in enumerate(odd)] if slope else odd
                found = sum(terms) / z / mpmath.sqrt(mpmath.pi)
            else:
                found = mpmath.erfc(z) * mpmath.exp(z * z)
                found = 2 / mpmath.sqrt(mpmath.pi) - 2 * z * found if slope else found
            return found * ((1 + z) ** 2 if slope else 1 + TAIL_SLOPE * z)

    return value


def _even(function: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """Return the function of z = r**2."""
    return lambda z: function(mpmath.sqrt(z))


_LN2 = mpmath.log(2)
_EDGE = mpf("1.0001")  # rounding moves a reduced argument slightly beyond its interval
_LOG_EDGE = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2 * _EDGE
_ANGLE = (mpmath.pi / 4 * _EDGE) ** 2

SCALED_DEGREES = (("f64", 26), ("f32", 12))

FITS = (
    Fit("EXP", _tail(mpmath.exp, lambda r: 1 + r, 2), -_LN2 / 2 * _EDGE, _LN2 / 2 * _EDGE, {"f64": 9, "f32": 4}),
    Fit("EXP2", _tail(lambda r: mpf(2) ** r, lambda r: 1 + r * _LN2, 2), -_EDGE / 2, _EDGE / 2, {"f64": 9, "f32": 4}),
    *(
        Fit(name, _tail(mpmath.exp, lambda r: 1 + r, 2), -_LN2 / 32 * _EDGE, _LN2 / 32 * _EDGE, degrees)
        for name, degrees in (("EXP_ROOT", {"f64": 4, "f32": 1}), ("EXPM1_ROOT", {"f64": 5, "f32": 2}))
    ),
    Fit(
        "EXP2_ROOT",
        *(_tail(lambda r: mpf(2) ** r, lambda r: 1 + r * _LN2, 2), -_EDGE / 32, _EDGE / 32, {"f64": 4, "f32": 1}),
    ),
    Fit(
        "LOG", _even(_tail(lambda s: 2 * mpmath.atanh(s), lambda s: 2 * s, 3)), mpf(0), _LOG_EDGE, {"f64": 6, "f32": 2}
    ),
    Fit("SIN", _even(_tail(mpmath.sin, lambda r: r, 3)), mpf(0), _ANGLE, {"f64": 5, "f32": 2}),
    Fit("COS", _even(_tail(mpmath.cos, lambda r: 1 - r * r / 2, 4)), mpf(0), _ANGLE, {"f64": 5, "f32": 2}),
    _tail_fit("f64", "27.3", 22),  # where erfc leaves the dtype
    _tail_fit("f32", "10.1", 9),
    *(Fit("SCALED_TAIL", _scaled_tail(kind, False), -mpf(1), mpf(1), {kind: n}) for kind, n in SCALED_DEGREES),
    *(Fit("SCALED_SLOPE", _scaled_tail(kind, True), -mpf(1), mpf(1), {kind: n}) for kind, n in SCALED_DEGREES),
    Fit("ERF", _even(lambda x: mpmath.erf(x) / x - 1), mpf(0), _EDGE, {"f64": 11, "f32": 5}),
)


@dataclass(frozen=True)
class RationalFit:
    """Approximate exp(z**2) erfc(z) on low..high by a quotient of polynomials of degrees n - 1 and n.

    The latter is 1 at 0. It interpolates at Chebyshev nodes of (z - 1) / (z + 1).
    """

    name: str
    kind: str
    low: Real
    high: Real
    degree: int


# erf is 1 from 6, and in float32 from 4.
RATIONAL_FITS = (
    RationalFit("SHORT_TAIL", "f64", mpf(1), mpf(6), 7),
    RationalFit("SHORT_TAIL", "f32", mpf(1), mpf(4), 3),
)


def chebyshev_nodes(low: Real, high: Real, count: int) -> list[Real]:
    """Return the zeros of the Chebyshev polynomial of degree `count` on low..high."""
    middle, half = (high + low) / 2, (high - low) / 2
    return [middle + half * mpmath.cos((2 * i + 1) * mpmath.pi / (2 * count)) for i in range(count)]


def fit_quotient(item: RationalFit) -> dict[str, tuple[float, ...]]:
    """Return the coefficients over and under the line, constant terms first."""
    n = item.degree
    low, high = ((z - 1) / (z + 1) for z in (item.low, item.high))
    nodes = [(1 + t) / (1 - t) for t in chebyshev_nodes(low, high, 2 * n)]
    values = [mpmath.erfc(z) * mpmath.exp(z * z) for z in nodes]
    system = mpmath.matrix(2 * n, 2 * n)
    for row, (z, value) in enumerate(zip(nodes, values, strict=True)):
        for power in range(n):
            system[row, power] = z**power
            system[row, n + power] = -value * z ** (power + 1)
    solution = mpmath.lu_solve(system, mpmath.matrix(values))
    found = [rounded(c, item.kind) for c in solution]
    return {f"{item.name}_OVER": tuple(found[:n]), f"{item.name}_UNDER": (1.0, *found[n:])}


def fit(item: Fit, kind: str) -> tuple[float, ...]:
    """Return the coefficients of one polynomial, constant term first, rounded to the dtype."""
    count = item.degrees[kind] + 1
    nodes = chebyshev_nodes(item.low, item.high, count)
    system = mpmath.matrix(count, count)
    for row, node in enumerate(nodes):
        for column in range(count):
            system[row, column] = node**column
    solution = mpmath.lu_solve(system, mpmath.matrix([item.function(n) for n in nodes]))
    return tuple(rounded(c, kind) for c in solution)


def rounded(number: Real, kind: str) -> float:
    """Round to the nearest float of a dtype."""
    return float(number) if kind == "f64" else float(np.float32(float(number)))


def split(number: Real, kind: str, bits: tuple[int, ...]) -> tuple[float, ...]:
    """Write a constant as a sum of floats, the leading ones of few bits so that their products are exact."""
    parts = []
    for width in bits:
        scale = mpf(2) ** (width - 1 - int(mpmath.floor(mpmath.log(abs(number), 2))))
        parts.append(float(mpmath.floor(number * scale) / scale))
        number = number - mpf(parts[-1])
    return (*parts, rounded(number, kind))


def _sum_of_floats(number: Real, kind: str) -> tuple[float, ...]:
    """Write a constant as a sum of three floats of full width."""
    first = rounded(number, kind)
    second = rounded(number - mpf(first), kind)
    return first, second, rounded(number - mpf(first) - mpf(second), kind)


def tables(kind: str) -> dict[str, tuple[float, ...]]:
    """Return all coefficients of a dtype."""
    table = {f.name: fit(f, kind) for f in FITS if kind in f.degrees}
    for item in RATIONAL_FITS:
        table |= fit_quotient(item) if item.kind == kind else {}
    return table | constants(kind)


def constants(kind: str) -> dict[str, tuple[float, ...]]:
    """Return the split constants of a dtype."""
    wide = kind == "f64"
    log10_2 = mpmath.log10(2)
    half_width = 26 if wide else 12
    powers = [mpf(2) ** (mpf(i) / ROOTS) for i in range(ROOTS)]
    roots = [rounded(p, kind) for p in powers]
    return {
        "ROOTS": tuple(roots),
        "ROOT_RESTS": tuple(rounded(p / mpf(r) - 1, kind) for p, r in zip(powers, roots, strict=True)),
        "LN2": split(_LN2, kind, (41,) if wide else (15,)),
        "LOG10_2": split(log10_2, kind, (41,) if wide else (15,)),
        "LOG2_E": split(1 / _LN2, kind, (half_width,)),
        "LOG10_E": split(1 / mpmath.log(10), kind, (half_width,)),
        # Reduction of angles is always in float64.
        "HALF_PI": split(mpmath.pi / 2, "f64", (27, 27, 27) if wide else (26, 26)),
        "HALF_PI_FUSED": _sum_of_floats(mpmath.pi / 2, kind),
    }


def main() -> None:
    """Print the module of coefficients."""
    print(
        '"""Polynomial coefficients and split constants, written by `benchmarks/fit_polynomials.py`; not by hand."""\n'
    )
    for kind in ("f64", "f32"):
        table = tables(kind)
        print(f"{kind.upper()}: dict[str, tuple[float, ...]] = {{")
        for name, values in table.items():
            print(f'    "{name}": (')
            for value in values:
                print(f"        {value!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main()
