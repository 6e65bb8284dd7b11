"""What is computed, and the form in which a tool answers.

A tool module exports `ROWS`, the workloads it has, and `prepare(workload, inputs, cache)`, which builds, compiles and
computes a first result. Nothing is imported here, so that a tool's own import can be timed.
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
    """One row: its name, what it computes, and how closely tools must agree.

    `peers`: whether peers are asked by default; some take minutes.
    """

    name: str
    description: str
    rtol: float
    peers: bool = True


WORKLOADS = {
    w.name: w
    for w in (
        Workload("call", "x*2 + 1 on 10 float64, NumPy to NumPy", 1e-12),
        Workload("call10", "ten inputs of 10 float64, three outputs, NumPy to NumPy", 1e-12),
        Workload("fused", "sum(tanh(x) exp(-y²) + log1p(exp x) sin y), 1,000,000 float64, value and gradients", 1e-9),
        Workload("lse", "max-shifted logsumexp of 1,280 rows of 1,000 float64, value and gradient", 1e-9),
        Workload("xent", "mean cross-entropy of 1,024 x 1,000 float32 logits, value and gradient", 2e-5),
        Workload("mlp", "64-128-64-10 relu network, batch 32, float32, one SGD step", 2e-5),
        Workload("mlp784", "784-200-100-10 relu network, batch 32, float32, one SGD step", 2e-5),
        Workload("mlp784_256", "the same network, batch 256", 2e-5),
        Workload("rnn", "tanh RNN, batch 16, width 256, 50 steps, float32, value and gradient of three weights", 2e-4),
        Workload("lstm", "two-layer diagonal LSTM, 1,024 steps of 14 float64, value and gradient", 1e-9),
        Workload("pendulum", "scan of 1,000,000 steps of a damped pendulum, float64", 1e-6),
        Workload("pendulum_grad", "the same, and the gradient by the initial state", 1e-6),
        Workload("unrolled", "200 steps of the pendulum unrolled in Python, value and gradient", 1e-9, peers=False),
        Workload("rolled", "the same 200 steps as a scan", 1e-9, peers=False),
        Workload("chain100", "gradient of 100 steps v = tanh(v*c_j + x) on 100 float64", 1e-9),
        Workload("chain1000", "gradient of 1,000 such steps, unrolled", 1e-9),
        Workload("chain10000", "gradient of 10,000 such steps, unrolled", 1e-9, peers=False),
        Workload("stencil", "heat equation on 256 x 256 float64, 50 steps of slices, value and gradient", 1e-9),
        Workload("attention", "attention block, 128 tokens, width 128, 4 heads, float32, value and gradients", 1e-4),
        Workload("conv", "LeNet, batch 64, float32, one SGD step", 1e-4),
        Workload("gather", "4,096 rows of a 50,000 x 64 float32 table summed by group, one SGD step", 2e-5),
        Workload("broadcast", "x + gelu(layer_norm(x)), 4,096 x 512 float32, value and gradients", 1e-4),
    )
}


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
