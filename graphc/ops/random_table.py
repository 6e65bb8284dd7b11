"""The formulas of random numbers by their names in kernels, with the types of their operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ops import random_formulas as plain
from graphc.ops import random_samplers as sampled
from graphc.ops.random_machine import NumpyMachine, Scalar


@dataclass(frozen=True)
class Formula:
    """A function of (machine, *operands), and the short dtype names of its operands and its result."""

    function: Callable[..., Scalar]
    operands: tuple[str, ...]
    result: str


_ELEMENT = ("u64", "u64", "u64")
"""Key, start, index."""
_SAMPLED = (*_ELEMENT, "u64")
"""And the stream."""

FORMULAS = {
    "random_bits": Formula(plain.bits64, _ELEMENT, "u64"),
    "random_uniform_f32": Formula(plain.uniform_f32, _ELEMENT, "f32"),
    "random_uniform_f64": Formula(plain.uniform_f64, _ELEMENT, "f64"),
    "random_open_f32": Formula(plain.open_f32, _ELEMENT, "f32"),
    "random_open_f64": Formula(plain.open_f64, _ELEMENT, "f64"),
    "random_normal_f32": Formula(plain.normal_f32, _ELEMENT, "f32"),
    "random_normal_f64": Formula(plain.normal_f64, _ELEMENT, "f64"),
    "random_gamma": Formula(sampled.gamma, (*_SAMPLED, "f64"), "f64"),
    "random_loggamma": Formula(sampled.loggamma, (*_SAMPLED, "f64"), "f64"),
    "random_truncated": Formula(sampled.truncated, (*_SAMPLED, "f64", "f64"), "f64"),
    "random_vonmises": Formula(sampled.vonmises, (*_SAMPLED, "f64"), "f64"),
    "random_geometric": Formula(sampled.geometric, (*_SAMPLED, "f64"), "i64"),
    "random_poisson": Formula(sampled.poisson, (*_SAMPLED, "f64"), "i64"),
    "random_binomial": Formula(sampled.binomial, (*_SAMPLED, "i64", "f64"), "i64"),
    "multiply_high": Formula(plain.multiply_high, ("u64", "u64"), "u64"),
}


def with_numpy(name: str, *operands: Any) -> Any:
    """Evaluate a formula on NumPy arrays or scalars."""
    with np.errstate(all="ignore"):
        return FORMULAS[name].function(NumpyMachine(), *operands)
