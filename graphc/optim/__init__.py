"""`gc.optim`: optimisers, schedules, clipping, averages, as graph: a whole training step is one compiled program.

| module | job |
|---|---|
| `parameters` | names of parameters, loading of state |
| `clipping` | limits on gradients |
| `updates` | groups of parameters in one step |
| `base` | `Optimizer`, and the family `Descent` of step rules |
| `sgd`, `adam`, `adaptive`, `large` | the rules |
| `wrappers` | accumulation of gradients, averages of parameters |
| `schedules`, `plateau` | learning rates |
| `lbfgs` | whole data sets, through SciPy |

>>> import graphc as gc
>>> w, x = gc.shared([0.0, 0.0], name="w"), gc.placeholder("x", shape=(2,))
>>> optimizer = gc.optim.Adam(gc.optim.CosineAnnealingLR(0.1, T_max=100))
>>> step = gc.function([x], [], updates=optimizer.updates(gc.sum((w - x) ** 2), w))
>>> for _ in range(100):
...     _ = step([1.0, 2.0])
>>> w.get_value().round(1)
array([1., 2.])

A table of which a step reads rows (`embedding`, `table[i]`, in one place or several) is changed in those rows only by
`SGD` without momentum, decay and clipping of norms: such a step costs its rows. Momentum, weight decay, norms of
gradients and the averages of Adam and its kin concern every element: with them a step passes over the whole table, and
plans one temporary array of its size. `f.cost` shows the bytes, `f.plan` the array.

>>> sorted(optimizer.state_dict())
['step', 'w.exp_avg', 'w.exp_avg_sq', 'w.step']
"""

from typing import Any

from graphc.graph.elsewhere import advice
from graphc.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from graphc.optim.adaptive import Adadelta, Adagrad, RMSprop
from graphc.optim.base import Optimizer
from graphc.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from graphc.optim.large import LAMB, Adafactor
from graphc.optim.lbfgs import LBFGS, Minimum
from graphc.optim.plateau import ReduceLROnPlateau
from graphc.optim.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    Schedule,
    SequentialLR,
    StepLR,
    WarmupLR,
)
from graphc.optim.sgd import SGD, Lion
from graphc.optim.wrappers import Accumulate, ExponentialMovingAverage

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Accumulate",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "ExponentialMovingAverage",
    "LinearLR",
    "Lion",
    "Minimum",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "WarmupLR",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'graphc.optim' has no attribute {name!r}{advice('optim', name)}")
