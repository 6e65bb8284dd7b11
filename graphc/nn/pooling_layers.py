"""Pooling and other layers over space without parameters, one row each: `MaxPool2d(2)(x)`.

Settings are those of the function of the same name.
"""

from __future__ import annotations

from graphc.nn.convolution import fold, unfold
from graphc.nn.function_module import FunctionModule
from graphc.nn.interpolation import interpolate
from graphc.nn.normalization import local_response_norm
from graphc.nn.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Fold",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LocalResponseNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Unfold",
    "Upsample",
]


class MaxPool1d(FunctionModule):
    """`gc.nn.max_pool1d` as a module."""

    function = staticmethod(max_pool1d)


class MaxPool2d(FunctionModule):
    """`gc.nn.max_pool2d` as a module."""

    function = staticmethod(max_pool2d)


class MaxPool3d(FunctionModule):
    """`gc.nn.max_pool3d` as a module."""

    function = staticmethod(max_pool3d)


class AvgPool1d(FunctionModule):
    """`gc.nn.avg_pool1d` as a module."""

    function = staticmethod(avg_pool1d)


class AvgPool2d(FunctionModule):
    """`gc.nn.avg_pool2d` as a module."""

    function = staticmethod(avg_pool2d)


class AvgPool3d(FunctionModule):
    """`gc.nn.avg_pool3d` as a module."""

    function = staticmethod(avg_pool3d)


class LPPool1d(FunctionModule):
    """`gc.nn.lp_pool1d` as a module."""

    function = staticmethod(lp_pool1d)


class LPPool2d(FunctionModule):
    """`gc.nn.lp_pool2d` as a module."""

    function = staticmethod(lp_pool2d)


class LPPool3d(FunctionModule):
    """`gc.nn.lp_pool3d` as a module."""

    function = staticmethod(lp_pool3d)


class AdaptiveAvgPool1d(FunctionModule):
    """`gc.nn.adaptive_avg_pool1d` as a module."""

    function = staticmethod(adaptive_avg_pool1d)


class AdaptiveAvgPool2d(FunctionModule):
    """`gc.nn.adaptive_avg_pool2d` as a module."""

    function = staticmethod(adaptive_avg_pool2d)


class AdaptiveAvgPool3d(FunctionModule):
    """`gc.nn.adaptive_avg_pool3d` as a module."""

    function = staticmethod(adaptive_avg_pool3d)


class AdaptiveMaxPool1d(FunctionModule):
    """`gc.nn.adaptive_max_pool1d` as a module."""

    function = staticmethod(adaptive_max_pool1d)


class AdaptiveMaxPool2d(FunctionModule):
    """`gc.nn.adaptive_max_pool2d` as a module."""

    function = staticmethod(adaptive_max_pool2d)


class AdaptiveMaxPool3d(FunctionModule):
    """`gc.nn.adaptive_max_pool3d` as a module."""

    function = staticmethod(adaptive_max_pool3d)


class GlobalAvgPool(FunctionModule):
    """`gc.nn.global_avg_pool` as a module."""

    function = staticmethod(global_avg_pool)


class GlobalMaxPool(FunctionModule):
    """`gc.nn.global_max_pool` as a module."""

    function = staticmethod(global_max_pool)


class Upsample(FunctionModule):
    """`gc.nn.interpolate` as a module."""

    function = staticmethod(interpolate)


class Unfold(FunctionModule):
    """`gc.nn.unfold` as a module."""

    function = staticmethod(unfold)


class Fold(FunctionModule):
    """`gc.nn.fold` as a module."""

    function = staticmethod(fold)


class LocalResponseNorm(FunctionModule):
    """`gc.nn.local_response_norm` as a module."""

    function = staticmethod(local_response_norm)
