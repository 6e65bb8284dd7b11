"""The elementary functions that are arithmetic of ours, and which of them are preferred to the C library's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from graphc.codegen.math import polynomials
from graphc.codegen.math.circular import circular
from graphc.codegen.math.gaussian import erf, erfc
from graphc.codegen.math.logistic import tanh

if TYPE_CHECKING:
    from graphc.codegen.math.emit import Value

POLYNOMIALS: dict[str, Callable[..., Value]] = {
    "exp": polynomials.exp,
    "exp2": polynomials.exp2,
    "expm1": polynomials.expm1,
    "log": polynomials.log,
    "log1p": polynomials.log1p,
    "log2": polynomials.log2,
    "log10": polynomials.log10,
    "sin": partial(circular, "sin"),
    "cos": partial(circular, "cos"),
    "tanh": tanh,
    "erf": erf,
    "erfc": erfc,
}

PREFERRED = frozenset({"exp", "exp2", "expm1", "log", "tanh", "sin", "cos", "erf", "erfc"})
"""Taken from here even where libmvec exists: faster, or as fast beside their derivatives, whose parts they share.

In a loop of their own on an AVX-512 machine (Zen 4), in ns per float64 (float32), against libmvec: sin 0.8 (0.3), 1.2
(0.5); sin times cos 1.3 (0.3), 3.3 (1.5), since a call of libmvec clobbers all vector registers; erf 1.8 (0.5), 1.6
(0.8); erfc 2.1 (0.6), 1.9 (1.1); gelu with its slope 2.5 (0.9), 6.0 (3.0). libmvec's erfc is more accurate, 1.6 against
2.7 ULP. A vectorised loop's remainder has the same bits. Each use costs about 5 ms more to compile than a call.
"""
