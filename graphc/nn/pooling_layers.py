"""Pooling and other layers over space without parameters, one row each: `MaxPool2d(2)(x)`.

Settings are those of the function of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.nn.convolution import fold, unfold
from graphc.nn.function_module import module, names_of
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

MaxPool1d = module("MaxPool1d", max_pool1d)
MaxPool2d = module("MaxPool2d", max_pool2d)
MaxPool3d = module("MaxPool3d", max_pool3d)
AvgPool1d = module("AvgPool1d", avg_pool1d)
AvgPool2d = module("AvgPool2d", avg_pool2d)
AvgPool3d = module("AvgPool3d", avg_pool3d)
LPPool1d = module("LPPool1d", lp_pool1d)
LPPool2d = module("LPPool2d", lp_pool2d)
LPPool3d = module("LPPool3d", lp_pool3d)
AdaptiveAvgPool1d = module("AdaptiveAvgPool1d", adaptive_avg_pool1d)
AdaptiveAvgPool2d = module("AdaptiveAvgPool2d", adaptive_avg_pool2d)
AdaptiveAvgPool3d = module("AdaptiveAvgPool3d", adaptive_avg_pool3d)
AdaptiveMaxPool1d = module("AdaptiveMaxPool1d", adaptive_max_pool1d)
AdaptiveMaxPool2d = module("AdaptiveMaxPool2d", adaptive_max_pool2d)
AdaptiveMaxPool3d = module("AdaptiveMaxPool3d", adaptive_max_pool3d)
GlobalAvgPool = module("GlobalAvgPool", global_avg_pool)
GlobalMaxPool = module("GlobalMaxPool", global_max_pool)
Upsample = module("Upsample", interpolate)
Unfold = module("Unfold", unfold)
Fold = module("Fold", fold)
LocalResponseNorm = module("LocalResponseNorm", local_response_norm)

if not TYPE_CHECKING:  # type checkers read the rows
    __all__ = names_of(globals())
