"""Losses of `gc.nn`, against formulas written out in NumPy."""

from __future__ import annotations

import numpy as np
import scipy.special

import graphc as gc
from graphc.types import Array
from tests.cases import Case


def cross_entropy(logits: Array, labels: Array) -> Array:
    shifted = scipy.special.log_softmax(logits, axis=-1)
    return np.asarray(-np.mean(np.take_along_axis(shifted, labels.astype("int64")[..., None], -1)), logits.dtype)


def drawn(shape: tuple[int, ...], dtype: str = "int64", scale: float = 2.0) -> Case:
    """Make a case of logits `shape` and labels of `dtype`."""

    def make(rng: np.random.Generator) -> tuple[Array, ...]:
        labels = rng.integers(0, shape[-1], shape[:-1], dtype=dtype)
        return scale * rng.standard_normal(shape), labels

    return Case(f"cross_entropy-{shape}-{dtype}-{scale:g}", gc.nn.cross_entropy, cross_entropy, make=make)


CASES: list[Case] = [
    drawn((5, 4)),
    drawn((5, 4), "uint8"),
    drawn((3,), "int8"),
    drawn((2, 3, 4), "int32"),
    drawn((1, 1)),
    drawn((4, 3), scale=300.0),
]
