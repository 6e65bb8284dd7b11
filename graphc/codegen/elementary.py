"""The elementary functions that are arithmetic of ours, and which of them are preferred to the C library's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from graphc.codegen import polynomials
from graphc.codegen.circular import circular
from graphc.codegen.gaussian import erf, erfc

if TYPE_CHECKING:
    from graphc.codegen.emit import Value

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
    "tanh": polynomials.tanh,
    "erf": erf,
    "erfc": erfc,
}

PREFERRED = frozenset({"exp", "exp2", "expm1", "log", "tanh", "sin", "cos", "erf", "erfc"})
