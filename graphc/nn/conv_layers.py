"""Convolutions as layers, with PyTorch's weights.

Their layout is (outputs, inputs / groups, *kernel), for transposed ones (inputs, outputs / groups, *kernel). Weights
and biases are uniform within 1 / sqrt(weight.shape[1] * kernel elements), as PyTorch's, unless `weight_init`
and `bias_init` give others; see `gc.nn.layers` for `rng` and `dtype`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from graphc.graph.arguments import checked
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.nn.convolution import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from graphc.nn.geometry import paddings, per_axis
from graphc.nn.init import Initializer, Rng, as_generator, inverse_root
from graphc.nn.module import Module
from graphc.nn.parts import SPATIAL, new_parameter, operands, positive, within
from graphc.ops.shape import never_equal

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

USUAL = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


class _Convolution(Module):
    """The family of convolutions."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Node]]

    @checked
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        weight_init: Initializer = inverse_root,
        bias_init: Initializer | None = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        _check_channels(self, in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.settings = _settings(self, settings, _kernel(self, kernel_size, self.axes))
        self.shown = _shown(in_channels, out_channels, kernel_size, self.settings, bias)
        shape = (out_channels, in_channels // groups, *_kernel(self, kernel_size, self.axes))
        self.weight, self.bias = _parameters(self, shape, out_channels, bias, weight_init, bias_init, rng, dtype)

    def forward(self, x: Any) -> Node:
        """Return the convolution of `x`, (batch, channels, *spatial); the batch axis may be missing."""
        return _apply(self, self.axes, type(self).function, x)


class _Transposed(Module):
    """The family of transposed convolutions."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Node]]

    @checked
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        weight_init: Initializer = inverse_root,
        bias_init: Initializer | None = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        _check_channels(self, in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        named = {"stride": stride, "padding": padding, "output_padding": output_padding}
        settings = named | {"groups": groups, "dilation": dilation}
        self.settings = _settings(self, settings, _kernel(self, kernel_size, self.axes))
        self.shown = _shown(in_channels, out_channels, kernel_size, self.settings, bias)
        shape = (in_channels, out_channels // groups, *_kernel(self, kernel_size, self.axes))
        self.weight, self.bias = _parameters(self, shape, out_channels, bias, weight_init, bias_init, rng, dtype)

    def forward(self, x: Any) -> Node:
        """Return the transposed convolution of `x`, (batch, channels, *spatial); the batch axis may be missing."""
        return _apply(self, self.axes, type(self).function, x)


class Conv1d(_Convolution):
    """Convolution of (batch, in_channels, length); settings as for `gc.nn.conv1d`."""

    axes = 1
    function = staticmethod(conv1d)


class Conv2d(_Convolution):
    """Convolution of (batch, in_channels, height, width); settings as for `gc.nn.conv2d`.

    >>> import graphc as gc
    >>> layer = Conv2d(3, 16, 5, padding="same")
    >>> layer.weight.shape, layer(gc.zeros((8, 3, 32, 32), dtype="float32")).shape
    ((16, 3, 5, 5), (8, 16, 32, 32))
    """

    axes = 2
    function = staticmethod(conv2d)


class Conv3d(_Convolution):
    """Convolution of (batch, in_channels, depth, height, width); settings as for `gc.nn.conv3d`."""

    axes = 3
    function = staticmethod(conv3d)


class ConvTranspose1d(_Transposed):
    """Transposed convolution of (batch, in_channels, length); settings as for `gc.nn.conv_transpose1d`."""

    axes = 1
    function = staticmethod(conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """Transposed convolution of (batch, in_channels, height, width); settings as for `gc.nn.conv_transpose2d`.

    >>> import graphc as gc
    >>> ConvTranspose2d(4, 2, 2, stride=2)(gc.zeros((1, 4, 8, 8), dtype="float32")).shape
    (1, 2, 16, 16)
    """

    axes = 2
    function = staticmethod(conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """Transposed convolution of (batch, in_channels, depth, height, width); see `gc.nn.conv_transpose3d`."""

    axes = 3
    function = staticmethod(conv_transpose3d)


def _check_channels(module: Module, in_channels: int, out_channels: int, groups: int) -> None:
    positive(module, in_channels=in_channels, out_channels=out_channels, groups=groups)
    for what, count in (("in_channels", in_channels), ("out_channels", out_channels)):
        if count % groups:
            raise ArgumentError(f"{type(module).__name__}: {what} {count} do not make {groups} equal groups{at()}")


def _kernel(module: Module, kernel_size: Any, axes: int) -> tuple[int, ...]:
    return per_axis(type(module).__name__, "kernel_size", kernel_size, axes)


def _settings(module: Module, settings: dict[str, Any], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return the settings as given, arrays as tuples; raise for those that no call would accept."""
    kind, axes = type(module).__name__, len(kernel)
    plain = {k: tuple(v.tolist()) if isinstance(v, np.ndarray) and v.ndim else v for k, v in settings.items()}
    steps = {k: per_axis(kind, k, plain[k], axes) for k in ("stride", "dilation")}
    if "output_padding" in plain:
        per_axis(kind, "output_padding", plain["output_padding"], axes, least=0)
    paddings(kind, plain["padding"], kernel, steps["stride"], steps["dilation"])
    return plain


def _shown(in_channels: int, out_channels: int, kernel_size: Any, settings: dict[str, Any], bias: bool) -> str:
    given = [f"{name}={value!r}" for name, value in settings.items() if value != USUAL[name]]
    parts = [str(in_channels), str(out_channels), str(kernel_size), *given]
    return ", ".join(parts if bias else [*parts, "bias=False"])


def _parameters(
    module: Module,
    shape: tuple[int, ...],
    outputs: int,
    bias: bool,
    weight_init: Initializer,
    bias_init: Initializer | None,
    rng: Rng,
    dtype: Any,
) -> tuple[Shared, Shared | None]:
    source = as_generator(rng)
    weight = new_parameter(module, "weight", shape, weight_init, source, dtype)
    first = bias_init if bias_init is not None else within(math.prod(shape[1:]) ** -0.5)
    return weight, new_parameter(module, "bias", (outputs,), first, source, dtype) if bias else None


def _apply(layer: _Convolution | _Transposed, axes: int, function: Callable[..., Node], x: Any) -> Node:
    node, weight, *bias = operands(layer, x, layer.weight, layer.bias)
    if node.ndim not in (axes + 1, axes + 2) or never_equal(node.shape[node.ndim - axes - 1], layer.in_channels):
        layout = f"(batch, {layer.in_channels}, {SPATIAL[axes]})"
        raise ShapeError(f"{layer.title}: shape {layout} needed, the batch axis may be missing; got {node.type}{at()}")
    return function(node, weight, bias[0] if bias else None, **layer.settings)
