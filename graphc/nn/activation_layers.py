"""Activations as modules, one row each; `Softmax()(x)` is along the last axis, `Softmax(axis=1)` along another.

Settings are those of the function of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.nn.activations import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_swish,
    hardshrink,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    relu,
    relu6,
    selu,
    silu,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from graphc.nn.function_module import module, names_of
from graphc.ops.elementwise import sigmoid, tanh
from graphc.ops.reduction import log_softmax, softmax

ReLU = module("ReLU", relu)
ReLU6 = module("ReLU6", relu6)
LeakyReLU = module("LeakyReLU", leaky_relu)
ELU = module("ELU", elu)
CELU = module("CELU", celu)
SELU = module("SELU", selu)
GELU = module("GELU", gelu)
SiLU = module("SiLU", silu)
Mish = module("Mish", mish)
Sigmoid = module("Sigmoid", sigmoid)
LogSigmoid = module("LogSigmoid", logsigmoid)
Tanh = module("Tanh", tanh)
Tanhshrink = module("Tanhshrink", tanhshrink)
Softplus = module("Softplus", softplus)
Softsign = module("Softsign", softsign)
Softshrink = module("Softshrink", softshrink)
Hardshrink = module("Hardshrink", hardshrink)
Hardtanh = module("Hardtanh", hardtanh)
Hardsigmoid = module("Hardsigmoid", hard_sigmoid)
Hardswish = module("Hardswish", hard_swish)
Threshold = module("Threshold", threshold)
Softmax = module("Softmax", softmax)
LogSoftmax = module("LogSoftmax", log_softmax)
Softmin = module("Softmin", softmin)
GLU = module("GLU", glu)

if not TYPE_CHECKING:  # type checkers read the rows
    __all__ = names_of(globals())
