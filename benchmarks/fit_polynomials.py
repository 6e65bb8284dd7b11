"""Derive the coefficients in `graphc/codegen/coefficients.py` and print that file.

Every polynomial interpolates its function at Chebyshev nodes in 60-digit arithmetic, which is within a small factor
of the minimax error; the coefficients are then rounded to the dtype. `python benchmarks/fit_polynomials.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

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


def _even(function: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """Return the function of z = r**2."""
    return lambda z: function(mpmath.sqrt(z))


_LN2 = mpmath.log(2)
_EDGE = mpf("1.0001")  # rounding moves a reduced argument slightly beyond its interval
_LOG_EDGE = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2 * _EDGE
_ANGLE = (mpmath.pi / 4 * _EDGE) ** 2

FITS = (
    Fit("EXP", _tail(mpmath.exp, lambda r: 1 + r, 2), -_LN2 / 2 * _EDGE, _LN2 / 2 * _EDGE, {"f64": 9, "f32": 4}),
    Fit("EXP2", _tail(lambda r: mpf(2) ** r, lambda r: 1 + r * _LN2, 2), -_EDGE / 2, _EDGE / 2, {"f64": 9, "f32": 4}),
    Fit(
        "LOG", _even(_tail(lambda s: 2 * mpmath.atanh(s), lambda s: 2 * s, 3)), mpf(0), _LOG_EDGE, {"f64": 6, "f32": 2}
    ),
    Fit("SIN", _even(_tail(mpmath.sin, lambda r: r, 3)), mpf(0), _ANGLE, {"f64": 5, "f32": 2}),
    Fit("COS", _even(_tail(mpmath.cos, lambda r: 1 - r * r / 2, 4)), mpf(0), _ANGLE, {"f64": 5, "f32": 2}),
)


def fit(item: Fit, kind: str) -> tuple[float, ...]:
    """Return the coefficients of one polynomial, constant term first, rounded to the dtype."""
    count = item.degrees[kind] + 1
    middle, half = (item.high + item.low) / 2, (item.high - item.low) / 2
    nodes = [middle + half * mpmath.cos((2 * i + 1) * mpmath.pi / (2 * count)) for i in range(count)]
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


def constants(kind: str) -> dict[str, tuple[float, ...]]:
    """Return the split constants of a dtype."""
    wide = kind == "f64"
    log10_2 = mpmath.log10(2)
    half_width = 26 if wide else 12
    return {
        "LN2": split(_LN2, kind, (41,) if wide else (15,)),
        "LOG10_2": split(log10_2, kind, (41,) if wide else (15,)),
        "LOG2_E": split(1 / _LN2, kind, (half_width,)),
        "LOG10_E": split(1 / mpmath.log(10), kind, (half_width,)),
        # Reduction of angles is always in float64.
        "HALF_PI": split(mpmath.pi / 2, "f64", (27, 27, 27) if wide else (26, 26)),
    }


def main() -> None:
    """Print the module of coefficients."""
    print(
        '"""Polynomial coefficients and split constants, written by `benchmarks/fit_polynomials.py`; not by hand."""\n'
    )
    for kind in ("f64", "f32"):
        table = {f.name: fit(f, kind) for f in FITS} | constants(kind)
        print(f"{kind.upper()}: dict[str, tuple[float, ...]] = {{")
        for name, values in table.items():
            print(f'    "{name}": (')
            for value in values:
                print(f"        {value!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main()
