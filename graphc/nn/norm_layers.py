"""Normalisations as layers, with PyTorch's names: `weight` starts at 1, `bias` at 0.

`BatchNorm` keeps running statistics: calls in training mode normalise by the batch and give the statistics' next
values to `updates()`; calls in evaluation mode normalise by the running values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.graph.arguments import checked, entries, whole
from graphc.graph.arrays import room_for
from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node, Shared
from graphc.graph.op import shared
from graphc.nn.init import as_generator, ones, zeros
from graphc.nn.module import Module
from graphc.nn.normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from graphc.nn.parts import SPATIAL, float_dtype, new_parameter, operands, positive
from graphc.ops.pointwise import cast
from graphc.ops.shape import never_equal

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]


class _BatchNorm(Module):
    """The family of `BatchNorm1d`, `BatchNorm2d`, `BatchNorm3d`."""

    layouts: ClassVar[dict[int, str]]
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")

    @checked
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        positive(self, num_features=num_features)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ArgumentError(f"{type(self).__name__}: momentum must be from 0 to 1 or None, got {momentum!r}{at()}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.shown = str(num_features)
        self.weight, self.bias = _affine(self, (num_features,), affine, affine, dtype)
        self.running_mean: Shared | None = None
        if track_running_stats:
            found = float_dtype(self, dtype)
            with room_for(f"{type(self).__name__}: the running statistics"):
                self.running_mean = shared(np.zeros(num_features, found), name="running_mean")
                self.running_var = shared(np.ones(num_features, found), name="running_var")
            self.num_batches_tracked = shared(np.int64(0), name="num_batches_tracked")

    def forward(self, x: Any) -> Node:
        """Return normalised `x`, of the same shape."""
        node, *parameters = operands(self, x, self.weight, self.bias)
        if node.ndim not in self.layouts or never_equal(node.shape[1], self.num_features):
            accepted = " or ".join(text.format(self.num_features) for text in self.layouts.values())
            raise ShapeError(f"{self.title}: shape {accepted} needed, got {node.type}{at()}")
        weight, bias = parameters or (None, None)
        if self.running_mean is None:
            untracked = np.zeros(self.num_features, node.dtype), np.ones(self.num_features, node.dtype)
            return batch_norm(node, *untracked, weight, bias, training=True, eps=self.eps)[0]
        mean, var = self.running_mean, self.running_var
        if not self.training:
            return batch_norm(node, mean, var, weight, bias, eps=self.eps)[0]
        momentum = 1.0 if self.momentum is None else self.momentum
        out, *after = batch_norm(node, mean, var, weight, bias, True, momentum, self.eps)
        count = self.num_batches_tracked + 1
        if self.momentum is None:  # the mean over all batches so far
            after = [old + (new - old) / cast(count, old.dtype) for old, new in zip((mean, var), after, strict=True)]
        return self.with_updates(out, {mean: after[0], var: after[1], self.num_batches_tracked: count})


class BatchNorm1d(_BatchNorm):
    """Normalise each channel of (batch, channels) or (batch, channels, length) over all other axes.

    In training by the mean and variance of the batch, and the running ones move towards these by `momentum` (None:
    they become the means over all batches) in programs that take `updates()`; in evaluation by the running ones. With
    `track_running_stats=False` always by the batch. Source: Ioffe & Szegedy, Batch normalization, 2015.

    >>> import graphc as gc
    >>> layer, x = BatchNorm1d(1), gc.placeholder("x", shape=("n", 1), dtype="float32")
    >>> y = layer(x)
    >>> seen = gc.function(x, y, updates=layer.updates(y))([[1.0], [3.0]])
    >>> seen.ravel().round(3), layer.running_mean.get_value()
    (array([-1., 1.], dtype=float32), array([0.2], dtype=float32))
    """

    layouts: ClassVar[dict[int, str]] = {2: "(batch, {})", 3: "(batch, {}, length)"}


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of (batch, channels, height, width); see `BatchNorm1d`."""

    layouts: ClassVar[dict[int, str]] = {4: "(batch, {}, height, width)"}


class BatchNorm3d(_BatchNorm):
    """Normalise each channel of (batch, channels, depth, height, width); see `BatchNorm1d`."""

    layouts: ClassVar[dict[int, str]] = {5: "(batch, {}, depth, height, width)"}


class LayerNorm(Module):
    """Normalise each entry over its last axes, of sizes `normalized_shape`; see `gc.nn.layer_norm`.

    >>> LayerNorm(2, eps=0.0)([[1.0, 3.0]]).eval()
    array([[-1., 1.]])
    """

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = _last_shape(self, normalized_shape)
        self.eps, self.shown = eps, str(normalized_shape)
        affine = elementwise_affine
        self.weight, self.bias = _affine(self, self.normalized_shape, affine, affine and bias, dtype)

    def forward(self, x: Any) -> Node:
        """Return normalised `x`, of the same shape."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """Divide each entry by the root mean square over its last axes; see `gc.nn.rms_norm`."""

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = _last_shape(self, normalized_shape)
        self.eps, self.shown = eps, str(normalized_shape)
        self.weight, _ = _affine(self, self.normalized_shape, elementwise_affine, False, dtype)

    def forward(self, x: Any) -> Node:
        """Return `x` scaled, of the same shape."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Normalise each entry over `num_groups` groups of channels and the axes after them; see `gc.nn.group_norm`."""

    @checked
    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: Any = "float32"
    ) -> None:
        positive(self, num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ArgumentError(f"GroupNorm: {num_channels} channels do not make {num_groups} equal groups{at()}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.shown = f"{num_groups}, {num_channels}"
        self.weight, self.bias = _affine(self, (num_channels,), affine, affine, dtype)

    def forward(self, x: Any) -> Node:
        """Return normalised `x`, of the same shape."""
        (node,) = operands(self, x)
        if node.ndim < 2 or never_equal(node.shape[1], self.num_channels):
            raise ShapeError(f"{self.title}: shape (batch, {self.num_channels}, ...) needed, got {node.type}{at()}")
        return group_norm(node, self.num_groups, self.weight, self.bias, self.eps)


class _InstanceNorm(Module):
    """The family of `InstanceNorm1d`, `InstanceNorm2d`, `InstanceNorm3d`; no running statistics."""

    axes: ClassVar[int]

    @checked
    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False, *, dtype: Any = "float32") -> None:
        positive(self, num_features=num_features)
        self.num_features, self.eps, self.shown = num_features, eps, str(num_features)
        self.weight, self.bias = _affine(self, (num_features,), affine, affine, dtype)

    def forward(self, x: Any) -> Node:
        """Return normalised `x`, of the same shape."""
        (node,) = operands(self, x)
        if node.ndim != self.axes + 2 or never_equal(node.shape[1], self.num_features):
            shape = f"(batch, {self.num_features}, {SPATIAL[self.axes]})"
            raise ShapeError(f"{self.title}: shape {shape} needed, got {node.type}{at()}")
        return instance_norm(node, self.weight, self.bias, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each entry of (batch, channels, length) alone; see `gc.nn.instance_norm`."""

    axes = 1


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each entry of (batch, channels, height, width) alone."""

    axes = 2


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each entry of (batch, channels, depth, height, width) alone."""

    axes = 3


def _affine(
    module: Module, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any
) -> tuple[Shared | None, Shared | None]:
    unused = as_generator(0)
    scale = new_parameter(module, "weight", shape, ones, unused, dtype) if weight else None
    return scale, new_parameter(module, "bias", shape, zeros, unused, dtype) if bias else None


def _last_shape(module: Module, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    what = f"{type(module).__name__}: normalized_shape"
    return tuple(whole(what, size, 1) for size in entries(normalized_shape))
