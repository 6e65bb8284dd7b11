"""What is computed, and the form in which a tool answers.

A tool module exports `ROWS`, the workloads it has, and `prepare(row, inputs, cache, threads)`, which builds,
compiles and computes a first result. Nothing is imported here, so that a tool's own import can be timed.

A name is that of a row, or `ROW@SIZE`: the row with another first size, as the scaling rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

LEARNING_RATE = 0.1
PENDULUM_STEPS, UNROLLED_STEPS = 1_000_000, 200
PENDULUM_DT, PENDULUM_DAMPING = 1e-3, 0.1
STENCIL_STEPS, DIFFUSION = 50, 0.2
HEADS = 4


@dataclass(frozen=True)
class Workload:
    """One row: its name, what it computes, how closely tools must agree, and what is asked of graphc.

    `asked`: the least time of the best peer over graphc's; `asked_seconds`: the most that a call may take; `peers`:
    whether peers are asked by default, where some take minutes; `steady`: whether the row is in the table of calls.
    """

    name: str
    description: str
    rtol: float
    asked: float | None = None
    asked_seconds: float | None = None
    peers: bool = True
    steady: bool = True

    @property
    def row(self) -> str:
        """The name without a size."""
        return self.name.partition("@")[0]

    @property
    def size(self) -> int | None:
        """The first size, where the name gives one."""
        size = self.name.partition("@")[2]
        return int(float(size)) if size else None


_FUSED = "sum(tanh(x) exp(-y²) + log1p(exp x) sin y), 1,000,000 float64, value and gradients"
_ATTENTION = "attention block, 128 tokens, width 128, 4 heads, float32, value and gradients"
_RNN = "tanh RNN, batch 16, width 256, 50 steps, float32, value and gradient of three weights"

WORKLOADS = {
    w.name: w
    for w in (
        Workload("call", "x*2 + 1 on 10 float64, NumPy to NumPy", 1e-12, asked_seconds=0.3e-6),
        Workload("call10", "ten inputs of 10 float64, three outputs, NumPy to NumPy", 1e-12, 12),
        Workload("fused", _FUSED, 1e-9, 3),
        Workload("lse", "max-shifted logsumexp of 1,280 rows of 1,000 float64, value and gradient", 1e-9, 2.4),
        Workload("xent", "mean cross-entropy of 1,024 x 1,000 float32 logits, value and gradient", 2e-5, 2.4),
        Workload("mlp", "64-128-64-10 relu network, batch 32, float32, one SGD step", 2e-5),
        Workload("mlp784", "784-200-100-10 relu network, batch 32, float32, one SGD step", 2e-5, 1.3),
        Workload("mlp784_256", "the same network, batch 256", 2e-5, 1.15),
        Workload("rnn", _RNN, 2e-4, 1.15),
        Workload("lstm", "two-layer diagonal LSTM, 1,024 steps of 14 float64, value and gradient", 1e-9, 4),
        Workload("chain100", "gradient of 100 steps v = tanh(v*c_j + x) on 100 float64", 1e-9, 1.5),
        Workload("stencil", "heat equation on 256 x 256 float64, 50 steps of slices, value and gradient", 1e-9, 2),
        Workload("attention", _ATTENTION, 1e-4, 1.3),
        Workload("conv", "LeNet, batch 64, float32, one SGD step", 1e-4, 1),
        Workload("gather", "4,096 rows of a 50,000 x 64 float32 table summed by group, one SGD step", 2e-5, 8),
        Workload("broadcast", "x + gelu(layer_norm(x)), 4,096 x 512 float32, value and gradients", 1e-4, 2),
        Workload("pendulum", "scan of 1,000,000 steps of a damped pendulum, float64", 1e-6),
        Workload("pendulum_grad", "the same, and the gradient by the initial state", 1e-6),
        Workload("unrolled", "200 steps of it unrolled in Python, value and gradient", 1e-9, peers=False, steady=False),
        Workload("rolled", "the same 200 steps as a scan", 1e-9, peers=False, steady=False),
        Workload("chain1000", "gradient of 1,000 such steps, unrolled", 1e-9, peers=False, steady=False),
        Workload("chain10000", "gradient of 10,000 such steps, unrolled", 1e-9, peers=False, steady=False),
    )
}

COMPILED = (
    ("mlp784", "cold", "step of the 784-200-100-10 network: build to first result, empty cache", 1.5),
    ("mlp784", "warm", "the same from the cache in a new process: import to first result", 0.4),
    ("chain1000", "cold", "gradient of 1,000 unrolled steps: build to first result, empty cache", 2.0),
    ("chain10000", "cold", "the same with 10,000 steps", 12.0),
)
"""Times on the way to a first result: the row, which attempt, what it is, and the seconds asked."""

ELEMENTS = tuple(f"fused@{10**k}" for k in range(2, 7))
NODES = tuple(f"chain1000@{steps}" for steps in (10, 100, 1_000, 10_000))
"""Chains of about 100 to 100,000 nodes: ten a step, the gradient's among them."""


def find(name: str) -> Workload:
    """Return a workload by name, also one with a size; `KeyError` or `ValueError` where there is none."""
    row, _, size = name.partition("@")
    known = WORKLOADS[row]
    if not size:
        return known
    if int(float(size)) < 1:
        raise ValueError(size)
    graphc_alone = name in NODES or not known.peers
    return Workload(name, f"{row} with first size {int(float(size)):,}", known.rtol, peers=not graphc_alone)


@dataclass
class Prepared:
    """A workload that has run once: its first result, and how to run it n times more.

    `stages` are seconds on the way to the first result, `counts` what a tool counts about its program.
    """

    result: list[Array]
    run: Callable[[int], None]
    stages: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


Inputs = Mapping[str, Any]
