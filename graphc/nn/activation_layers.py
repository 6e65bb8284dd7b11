"""Activations as modules, one row each; `Softmax()(x)` is along the last axis, `Softmax(axis=1)` along another.

Settings are those of the function of the same name.
"""

from __future__ import annotations

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
from graphc.nn.function_module import FunctionModule
from graphc.ops.elementwise import sigmoid, tanh
from graphc.ops.reduction import log_softmax, softmax

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class ReLU(FunctionModule):
    """`gc.nn.relu` as a module."""

    function = staticmethod(relu)


class ReLU6(FunctionModule):
    """`gc.nn.relu6` as a module."""

    function = staticmethod(relu6)


class LeakyReLU(FunctionModule):
    """`gc.nn.leaky_relu` as a module."""

    function = staticmethod(leaky_relu)


class ELU(FunctionModule):
    """`gc.nn.elu` as a module."""

    function = staticmethod(elu)


class CELU(FunctionModule):
    """`gc.nn.celu` as a module."""

    function = staticmethod(celu)


class SELU(FunctionModule):
    """`gc.nn.selu` as a module."""

    function = staticmethod(selu)


class GELU(FunctionModule):
    """`gc.nn.gelu` as a module."""

    function = staticmethod(gelu)


class SiLU(FunctionModule):
    """`gc.nn.silu` as a module."""

    function = staticmethod(silu)


class Mish(FunctionModule):
    """`gc.nn.mish` as a module."""

    function = staticmethod(mish)


class Sigmoid(FunctionModule):
    """`gc.sigmoid` as a module."""

    function = staticmethod(sigmoid)


class LogSigmoid(FunctionModule):
    """`gc.nn.logsigmoid` as a module."""

    function = staticmethod(logsigmoid)


class Tanh(FunctionModule):
    """`gc.tanh` as a module."""

    function = staticmethod(tanh)


class Tanhshrink(FunctionModule):
    """`gc.nn.tanhshrink` as a module."""

    function = staticmethod(tanhshrink)


class Softplus(FunctionModule):
    """`gc.nn.softplus` as a module."""

    function = staticmethod(softplus)


class Softsign(FunctionModule):
    """`gc.nn.softsign` as a module."""

    function = staticmethod(softsign)


class Softshrink(FunctionModule):
    """`gc.nn.softshrink` as a module."""

    function = staticmethod(softshrink)


class Hardshrink(FunctionModule):
    """`gc.nn.hardshrink` as a module."""

    function = staticmethod(hardshrink)


class Hardtanh(FunctionModule):
    """`gc.nn.hardtanh` as a module."""

    function = staticmethod(hardtanh)


class Hardsigmoid(FunctionModule):
    """`gc.nn.hard_sigmoid` as a module."""

    function = staticmethod(hard_sigmoid)


class Hardswish(FunctionModule):
    """`gc.nn.hard_swish` as a module."""

    function = staticmethod(hard_swish)


class Threshold(FunctionModule):
    """`gc.nn.threshold` as a module."""

    function = staticmethod(threshold)


class Softmax(FunctionModule):
    """`gc.softmax` as a module."""

    function = staticmethod(softmax)


class LogSoftmax(FunctionModule):
    """`gc.log_softmax` as a module."""

    function = staticmethod(log_softmax)


class Softmin(FunctionModule):
    """`gc.nn.softmin` as a module."""

    function = staticmethod(softmin)


class GLU(FunctionModule):
    """`gc.nn.glu` as a module."""

    function = staticmethod(glu)
