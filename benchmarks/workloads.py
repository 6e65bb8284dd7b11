"""What is computed: one generator of inputs for every tool, and the form in which a tool answers.

A tool module exports `prepare(workload, inputs, cache)`, which builds, compiles and computes a first result. Only
NumPy is needed here, and it is imported when inputs are drawn, so that a tool's own import can be timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

LEARNING_RATE = 0.1
MLP_SIZES = (64, 128, 64, 10)
MLP_BATCH = 32
RNN_BATCH, RNN_WIDTH, RNN_STEPS = 16, 256, 50
LSTM_WIDTH, LSTM_STEPS = 14, 1024
PENDULUM_STEPS, UNROLLED_STEPS = 1_000_000, 200
PENDULUM_DT, PENDULUM_DAMPING = 1e-3, 0.1


@dataclass(frozen=True)
class Workload:
    """One row: its name, what it computes, how closely tools must agree, and whether peers are asked by default."""

    name: str
    description: str
    rtol: float
    steady: bool = True
    peers: bool = True


WORKLOADS = {
    w.name: w
    for w in (
        Workload("call", "x*2 + 1 on 10 float64, NumPy to NumPy", 1e-12),
        Workload("mlp", "64-128-64-10 relu network, batch 32, float32, one SGD step", 2e-5),
        Workload("rnn", "tanh RNN, batch 16, width 256, 50 steps, float32, value and gradient of three weights", 2e-4),
        Workload("lstm", "two-layer diagonal LSTM, 1,024 steps of 14 float64, value and gradient", 1e-9),
        Workload("pendulum", "scan of 1,000,000 steps of a damped pendulum, float64", 1e-6),
        Workload("pendulum_grad", "the same, and the gradient by the initial state", 1e-6),
        Workload("unrolled", "200 steps of the pendulum unrolled in Python, value and gradient", 1e-9, peers=False),
        Workload("rolled", "the same 200 steps as a scan", 1e-9, peers=False),
        Workload("chain100", "gradient of 100 steps v = tanh(v*c_j + x) on 100 float64", 1e-9),
        Workload("chain1000", "gradient of 1,000 such steps, unrolled", 1e-9),
        Workload("chain10000", "gradient of 10,000 such steps, unrolled", 1e-9, peers=False),
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


def draw_inputs(workload: str) -> Inputs:
    """Return the inputs of a workload by name: the same for every tool and every run."""
    import numpy as np

    rng = np.random.default_rng(0)
    if workload == "call":
        return {"x": rng.standard_normal(10)}
    if workload == "mlp":
        return _mlp_inputs(rng)
    if workload == "rnn":
        return _rnn_inputs(rng)
    if workload == "lstm":
        shape = (2, 4, LSTM_WIDTH)
        weights = {name: 0.5 * rng.standard_normal(shape) for name in ("w", "u", "b")}
        return {**weights, "xs": rng.standard_normal((LSTM_STEPS, LSTM_WIDTH))}
    if not workload.startswith("chain"):
        return {"start": np.array([1.0, 0.0])}
    steps = int(workload.removeprefix("chain"))
    return {"x": 0.1 * rng.standard_normal(100), "c": [float(c) for c in rng.uniform(0.5, 1.0, steps)]}


def _mlp_inputs(rng: np.random.Generator) -> Inputs:
    import numpy as np

    parameters = []
    for inputs, outputs in pairwise(MLP_SIZES):
        parameters.append((np.sqrt(2 / inputs) * rng.standard_normal((inputs, outputs))).astype("float32"))
        parameters.append(np.zeros(outputs, "float32"))
    x = rng.random((MLP_BATCH, MLP_SIZES[0])).astype("float32")
    return {"parameters": parameters, "x": x, "y": rng.integers(0, MLP_SIZES[-1], MLP_BATCH)}


def _rnn_inputs(rng: np.random.Generator) -> Inputs:
    def drawn(*shape: int, scale: float = 1.0) -> Array:
        return (scale * rng.standard_normal(shape)).astype("float32")

    width = RNN_WIDTH
    weights = {"w": drawn(width, width, scale=0.9 / width**0.5), "u": drawn(width, width, scale=0.1)}
    return {**weights, "v": drawn(width, width, scale=0.1), "xs": drawn(RNN_STEPS, RNN_BATCH, width)}
