"""Hyperparameters: what they may be, and how they are shown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from graphc.graph.arguments import plain_rules
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.types import is_float

RANGES: dict[str, tuple[float, float]] = {
    "lr": (0, math.inf),
    "betas": (0, 1),
    "beta2_decay": (-1, 0),
    "rho": (0, 1),
    "alpha": (0, 1),
    "decay": (0, 1),
    "eps": (0, math.inf),
    "momentum": (0, math.inf),
    "dampening": (-math.inf, math.inf),
    "weight_decay": (0, math.inf),
    "lr_decay": (0, math.inf),
    "momentum_decay": (0, math.inf),
    "initial_accumulator": (0, math.inf),
    "max_update": (0, math.inf),
    "clip_value": (0, math.inf),
    "clip_norm": (0, math.inf),
    "max_lr": (0, math.inf),
    "eta_min": (0, math.inf),
    "gamma": (0, math.inf),
    "start_factor": (0, math.inf),
    "end_factor": (0, math.inf),
    "power": (0, math.inf),
    "pct_start": (0, 1),
    "div_factor": (1, math.inf),
    "final_div_factor": (1, math.inf),
    "ftol": (0, math.inf),
    "gtol": (0, math.inf),
    "factor": (0, 1),
    "threshold": (0, math.inf),
    "min_lr": (0, math.inf),
}
"""What numbers of these names may be, wherever they occur; the upper end is excluded."""

NODES = {"lr", "weight_decay", "clip_value", "clip_norm", "eta_min", "gamma", "start_factor", "end_factor", "power"}
"""What may also be a 0-d float node."""

COUNTS = {
    "steps": 1,
    "step_size": 1,
    "total_steps": 1,
    "total_iters": 1,
    "T_max": 1,
    "T_0": 1,
    "T_mult": 1,
    "max_iter": 1,
    "max_eval": 1,
    "history": 1,
    "max_line_search": 1,
    "patience": 0,
    "cooldown": 0,
}
"""The least that ints of these names may be."""


class Settings:
    """A dataclass of hyperparameters; `check` comes first in its `__post_init__`.

    Subclasses pass `repr=False, eq=False`: what `dataclass` compiles for them adds up to 10 ms of import time.
    """

    def check(self) -> None:
        """Raise `ArgumentError` for a hyperparameter outside its range."""
        fields = [f for f in dataclasses.fields(self) if f.init]  # type: ignore[arg-type]
        rules = plain_rules({f.name: f.type for f in fields})
        for f in fields:
            value = getattr(self, f.name)
            if (isinstance(value, Node) and f.name not in rules) or (f.name in NODES and isinstance(value, Node)):
                self._check_node(f.name, value)
                continue
            if f.name in rules:
                value = rules[f.name][1](f"{type(self).__name__}: {f.name}", value)
                object.__setattr__(self, f.name, value)
            if f.name in COUNTS:
                self._check_count(f.name, value)
            elif f.name in RANGES and value is not None and not callable(value):
                self._check_numbers(f.name, value)

    def _check_count(self, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < COUNTS[name]:
            what = type(self).__name__
            raise ArgumentError(f"{what}: {name} must be an int, at least {COUNTS[name]}, got {value!r}{at()}")

    def _check_node(self, name: str, value: Node) -> None:
        if name in RANGES and (name not in NODES or value.shape != () or not is_float(value.dtype)):
            what, kind = type(self).__name__, "a 0-d float" if name in NODES else "a number"
            raise ArgumentError(f"{what}: {name} must be {kind}, got {value!r}{at()}")

    def _check_numbers(self, name: str, value: Any) -> None:
        low, high = RANGES[name]
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not (isinstance(number, (int, float, np.number)) and low <= number < high):
                what = type(self).__name__
                raise ArgumentError(f"{what}: {name} must be in [{low}, {high}), got {value!r}{at()}")

    def __repr__(self) -> str:
        fields = [f for f in dataclasses.fields(self) if f.repr]  # type: ignore[arg-type]
        shown = ((f.name, getattr(self, f.name)) for f in fields)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown if v is not None)})"
