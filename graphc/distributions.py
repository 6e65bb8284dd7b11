"""The distributions of `gc.random`, as functions from a source of bits and parameters to nodes.

`gc.random.Generator` documents each and calls it. A continuous distribution is its quantile of a uniform number inside
(0, 1) where that is short, a sampler that accepts or rejects (`ops/random_samplers.py`) or a transform of several
elsewhere. Each element of a result uses the bits of one position, however many numbers it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.errors import ArgumentError, ShapeError, at
from graphc.graph.node import Node
from graphc.graph.op import Constant, at_least, guarded
from graphc.graph.types import FLOAT64, INT64, Dim, Shape, Size, product
from graphc.linalg import cholesky
from graphc.ops.creation import iota
from graphc.ops.cumulative import cumulative_sum
from graphc.ops.elementwise import (
    atan,
    clip,
    exp,
    log,
    log1p,
    minimum,
    nextafter,
    round,
    sigmoid,
    stop_gradient,
    tan,
    where,
)
from graphc.ops.indexing import take
from graphc.ops.linalg import matmul
from graphc.ops.manipulation import concat, expand_dims, matrix_transpose, stack
from graphc.ops.pointwise import as_node, broadcast_to_shape, cast
from graphc.ops.random import UINT64, Range, scaled_bits
from graphc.ops.random_parameters import (
    CHANCE,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    Parameters,
    check,
    check_less,
    float_node,
    given_shape,
    integer_node,
    result_shape,
    where_valid,
)
from graphc.ops.reduction import all, argmax, max, softmax, sum
from graphc.ops.shape import axis_index, drop_axes, never_equal, reshape_to, slice_axis
from graphc.ops.sorting import argsort, searchsorted

Source = Callable[[Shape], Range]
"""Takes the next positions of a generator, one for each element of a shape."""


# -- quantiles of one uniform, and normals


def uniform(source: Source, shape: Any, low: Any, high: Any, dtype: Any) -> Node:
    """Return low + (high - low) u."""
    p = Parameters("uniform", dtype, low=low, high=high).need_less("low", "high")
    u = source(p.shape(shape)).numbers("uniform", p.dtype)
    if p.is_number("low", 0):  # u * high is below high: u is at most 1 less half of the last bit
        return u if p.is_number("high", 1) else p.where_valid(u * p["high"])
    low, high = p["low"], p["high"]
    x: Node = low + u * (high - low) if _is_short(low, high) else 2 * (low / 2 + u * (high / 2 - low / 2))
    below: Node = x + stop_gradient(where(x < high, 0.0, nextafter(high, low) - x))  # x may be rounded up to high
    return p.where_valid(below)


def _is_short(low: Node, high: Node) -> bool:
    """Tell whether the difference of two numbers is known not to overflow."""
    if not (isinstance(low.op, Constant) and isinstance(high.op, Constant)):
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(high.op.value - low.op.value).all())


def normal(source: Source, shape: Any, mean: Any, std: Any, dtype: Any) -> Node:
    """Return mean + std z for standard normal z."""
    p = Parameters("normal", dtype, mean=mean, std=std).need(POSITIVE, "std")
    return p.where_valid(moved(p, source(p.shape(shape)).numbers("normal", p.dtype), "mean", "std"))


def lognormal(source: Source, shape: Any, mean: Any, std: Any, dtype: Any) -> Node:
    """Return exp of a normal number."""
    p = Parameters("lognormal", dtype, mean=mean, std=std).need(POSITIVE, "std")
    return p.where_valid(exp(moved(p, source(p.shape(shape)).numbers("normal", p.dtype), "mean", "std")))


def exponential(source: Source, shape: Any, scale: Any, dtype: Any) -> Node:
    """-scale log(u)."""
    p = Parameters("exponential", dtype, scale=scale).need(POSITIVE, "scale")
    return p.where_valid(-log(source(p.shape(shape)).numbers("open", p.dtype)) * p["scale"])


def located(
    name: str, quantile: Callable[[Node], Node], source: Source, shape: Any, loc: Any, scale: Any, dtype: Any
) -> Node:
    """Return loc + scale * quantile(u) for u inside (0, 1)."""
    p = Parameters(name, dtype, loc=loc, scale=scale).need(POSITIVE, "scale")
    return p.where_valid(moved(p, quantile(source(p.shape(shape)).numbers("open", p.dtype)), "loc", "scale"))


def moved(p: Parameters, standard: Node, loc: str, scale: str) -> Node:
    """Return loc + standard * scale, without what is a plain 0 or 1."""
    scaled = standard if p.is_number(scale, 1) else standard * p[scale]
    return scaled if p.is_number(loc, 0) else p[loc] + scaled


def gumbel_quantile(u: Node) -> Node:
    """The quantile of the standard Gumbel distribution."""
    return -log(-log(u))


def logistic_quantile(u: Node) -> Node:
    """The quantile of the standard logistic distribution."""
    return log(u) - log1p(-u)


def laplace_quantile(u: Node) -> Node:
    """The quantile of the standard Laplace distribution, from the nearer end."""
    return where(u < 0.5, log(u * 2.0), -log((1.0 - u) * 2.0))


def cauchy_quantile(u: Node) -> Node:
    """The quantile of the standard Cauchy distribution."""
    return tan((u - 0.5) * math.pi)


def weibull(source: Source, shape: Any, a: Any, scale: Any, dtype: Any) -> Node:
    """Return scale (-log u)**(1/a)."""
    p = Parameters("weibull", dtype, a=a, scale=scale).need(POSITIVE, "a", "scale")
    e = -log(source(p.shape(shape)).numbers("open", p.dtype))
    return p.where_valid(p["scale"] * exp(log(e) / p["a"]))


def pareto(source: Source, shape: Any, a: Any, scale: Any, dtype: Any) -> Node:
    """Return scale u**(-1/a)."""
    p = Parameters("pareto", dtype, a=a, scale=scale).need(POSITIVE, "a", "scale")
    e = -log(source(p.shape(shape)).numbers("open", p.dtype))
    return p.where_valid(p["scale"] * exp(e / p["a"]))


# -- samplers


def truncated_normal(source: Source, shape: Any, low: Any, high: Any, mean: Any, std: Any, dtype: Any) -> Node:
    """A sample between the bounds in units of std."""
    p = Parameters("truncated_normal", dtype, low=low, high=high, mean=mean, std=std).need(POSITIVE, "std")
    p.need_less("low", "high")
    wide = {what: cast(node, FLOAT64) for what, node in p.nodes.items()}
    bounds = ((wide[what] - wide["mean"]) / wide["std"] for what in ("low", "high"))
    x = wide["mean"] + wide["std"] * source(p.shape(shape)).sample("truncated", *bounds)
    # The last rounding may step over a bound.
    return p.where_valid(clip(cast(x, p.dtype), p["low"], p["high"]))


def gamma(source: Source, shape: Any, a: Any, scale: Any, dtype: Any) -> Node:
    """A sample, times scale."""
    p = Parameters("gamma", dtype, a=a, scale=scale).need(POSITIVE, "a", "scale")
    x = cast(source(p.shape(shape)).sample("gamma", p["a"]), p.dtype)
    return p.where_valid(x if p.is_number("scale", 1) else x * p["scale"])


def beta(source: Source, shape: Any, a: Any, b: Any, dtype: Any) -> Node:
    """The logistic function of the difference of two logarithms of gamma numbers."""
    p = Parameters("beta", dtype, a=a, b=b).need(POSITIVE, "a", "b")
    bits = source(p.shape(shape))
    logit = bits.sample("loggamma", p["a"]) - bits.sample("loggamma", p["b"], stream=1)
    return p.where_valid(cast(sigmoid(logit), p.dtype))


def dirichlet(source: Source, alpha: Any, shape: Any, dtype: Any) -> Node:
    """The softmax of logarithms of gamma numbers."""
    p = Parameters("dirichlet", dtype, alpha=alpha).need(POSITIVE, "alpha")
    full = _rows("dirichlet", "alpha", p["alpha"], shape)
    return cast(softmax(source(full).sample("loggamma", p["alpha"]), axis=-1), p.dtype)


def multivariate_normal(source: Source, mean: Any, cov: Any, shape: Any, dtype: Any) -> Node:
    """Return mean + L z for the Cholesky factor L of the covariance and standard normals z."""
    p = Parameters("multivariate_normal", dtype, mean=mean, cov=cov)
    size, sides = p["mean"].shape[-1:], p["cov"].shape[-2:]
    if len(sides) < 2 or not size or any(never_equal(size[0], side) for side in sides):
        types = f"mean {p['mean'].type} and cov {p['cov'].type}"
        raise ShapeError(f"multivariate_normal: mean needs a last axis and cov two of its size, got {types}{at()}")
    full = _rows("multivariate_normal", "mean", p["mean"], shape, _blank(p["cov"].shape[:-2]))
    z = source(full).numbers("normal", p.dtype)
    factor = cholesky(p["cov"])
    if factor.ndim == 2:
        return p["mean"] + matmul(z, matrix_transpose(factor))
    return p["mean"] + drop_axes(matmul(factor, expand_dims(z, axis=-1)), [len(full)])


def chi2(source: Source, shape: Any, df: Any, dtype: Any) -> Node:
    """Twice a gamma number of shape df / 2."""
    p = Parameters("chi2", dtype, df=df).need(POSITIVE, "df")
    return 2.0 * cast(source(p.shape(shape)).sample("gamma", cast(p["df"], FLOAT64) / 2), p.dtype)


def student_t(source: Source, shape: Any, df: Any, loc: Any, scale: Any, dtype: Any) -> Node:
    """Return z sqrt(h / x) for h = df / 2, a standard normal z and a gamma number x of shape h."""
    p = Parameters("student_t", dtype, df=df, loc=loc, scale=scale).need(POSITIVE, "df", "scale")
    bits = source(p.shape(shape))
    half = cast(p["df"], FLOAT64) / 2
    log_ratio = log(half) - bits.sample("loggamma", half)
    standard = cast(bits.numbers("normal", FLOAT64) * exp(0.5 * log_ratio), p.dtype)
    return p.where_valid(moved(p, standard, "loc", "scale"))


def vonmises(source: Source, shape: Any, mu: Any, kappa: Any, dtype: Any) -> Node:
    """An angle from the tangent of its half, moved by mu and brought back to -pi..pi."""
    p = Parameters("vonmises", dtype, mu=mu, kappa=kappa).need(NOT_NEGATIVE, "kappa")
    angle = cast(2.0 * atan(source(p.shape(shape)).sample("vonmises", p["kappa"])), p.dtype)
    if p.is_number("mu", 0):
        return angle
    angle = p["mu"] + angle
    return angle - round(angle * (0.5 / math.pi)) * (2 * math.pi)


# -- integers


def randint(source: Source, shape: Any, low: Any, high: Any) -> Node:
    """The upper half of the product of 64 bits and high - low."""
    first, last = integer_node("randint", "low", low), integer_node("randint", "high", high)
    check_less("randint", "low", "high", first, last)
    found = result_shape("randint", shape, first, last)
    bits = source(found).numbers("bits", UINT64)
    first, last = (broadcast_to_shape(b, found) for b in (first, last))
    drawn = cast(scaled_bits(bits, cast(last, UINT64) - cast(first, UINT64)), INT64) + first
    return drawn if isinstance(low, int) and isinstance(high, int) else where_valid(first < last, drawn)


def bernoulli(source: Source, shape: Any, p: Any) -> Node:
    """Return u < p."""
    given = Parameters("bernoulli", "float64", p=p).need(PROBABILITY, "p")
    return given.where_valid(source(given.shape(shape)).numbers("uniform", FLOAT64) < given["p"])


def binomial(source: Source, shape: Any, n: Any, p: Any) -> Node:
    """A sample."""
    count = integer_node("binomial", "n", n)
    given = Parameters("binomial", "float64", p=p).need(PROBABILITY, "p")
    check("binomial", "n", NOT_NEGATIVE, count)
    return source(result_shape("binomial", shape, count, given["p"])).sample("binomial", count, given["p"])


def poisson(source: Source, shape: Any, lam: Any) -> Node:
    """A sample."""
    p = Parameters("poisson", "float64", lam=lam).need(NOT_NEGATIVE, "lam")
    return source(p.shape(shape)).sample("poisson", p["lam"])


def geometric(source: Source, shape: Any, p: Any) -> Node:
    """A sample."""
    given = Parameters("geometric", "float64", p=p).need(CHANCE, "p")
    return source(given.shape(shape)).sample("geometric", given["p"])


def negative_binomial(source: Source, shape: Any, n: Any, p: Any) -> Node:
    """A Poisson number whose mean is a gamma number."""
    given = Parameters("negative_binomial", "float64", n=n, p=p).need(POSITIVE, "n").need(CHANCE, "p")
    bits = source(given.shape(shape))
    mean = bits.sample("gamma", given["n"]) * ((1.0 - given["p"]) / given["p"])
    return given.where_valid(bits.sample("poisson", mean, stream=1))


def multinomial(source: Source, n: Any, pvals: Any, shape: Any) -> Node:
    """Split the trials over halves of the categories, the halves over quarters, and so on: log2(k) binomials."""
    p = Parameters("multinomial", "float64", pvals=pvals).need(NOT_NEGATIVE, "pvals")
    if p["pvals"].ndim:
        _check_weights("multinomial", "pvals", p["pvals"])
    count = integer_node("multinomial", "n", n)
    check("multinomial", "n", NOT_NEGATIVE, count)
    full = _rows("multinomial", "pvals", p["pvals"], shape, count)
    kinds = full[-1]
    if not isinstance(kinds, int) or kinds == 0:
        raise ShapeError(f"multinomial: the last axis of pvals must have a known size > 0, got {p['pvals'].type}{at()}")
    depth = (kinds - 1).bit_length()
    batch = full[:-1]
    bits = source((*batch, 1 << depth))
    weights = [broadcast_to_shape(p["pvals"], full)]
    if kinds < 1 << depth:
        spare = broadcast_to_shape(as_node(0.0), (*batch, (1 << depth) - kinds))
        weights = [concat([weights[0], spare], axis=-1)]
    for level in range(depth):
        weights.append(sum(reshape_to(weights[-1], (*batch, 1 << depth - level - 1, 2)), axis=-1))
    counts = expand_dims(broadcast_to_shape(count, batch), axis=-1)
    for level in range(depth):
        whole, halves = weights[depth - level], weights[depth - level - 1]
        left = slice_axis(halves, halves.ndim - 1, 0, 1 << level, 2)
        chance = where(whole > 0, left / where(whole > 0, whole, 1.0), 0.0)
        first = bits.part(1 << level, 1 << level).sample("binomial", counts, chance)
        counts = reshape_to(stack([first, counts - first], axis=-1), (*batch, 2 << level))
    drawn = slice_axis(counts, counts.ndim - 1, 0, kinds)
    known = isinstance(p["pvals"].op, Constant) and isinstance(count.op, Constant)
    return drawn if known else where_valid(expand_dims(_are_weights(p["pvals"]) & (count >= 0), axis=-1), drawn)


def categorical(source: Source, logits: Any, shape: Any) -> Node:
    """The position of the largest of logits + Gumbel numbers."""
    node = float_node("categorical", "logits", logits)
    full = _rows("categorical", "logits", node, shape)
    drawn = argmax(node + gumbel_quantile(source(full).numbers("open", node.dtype)), axis=-1)
    return where_valid(max(node, axis=-1) > -math.inf, drawn)  # neither NaN nor nothing to choose from


def _check_weights(name: str, what: str, weights: Node) -> None:
    """Raise `ArgumentError` where known numbers cannot be scaled to probabilities."""
    if isinstance(weights.op, Constant):
        sums = weights.op.value.sum(-1)
        bad = sums[~((sums > 0) & (sums < math.inf))]
        if bad.size:
            raise ArgumentError(f"{name}: {what} must have a positive, finite sum, got {bad.flat[0]}{at()}")


def _are_weights(x: Node) -> Node:
    """Tell whether numbers along the last axis can be scaled to probabilities."""
    total = sum(x, axis=-1)
    return all(x >= 0, axis=-1) & (total > 0) & (total < math.inf)


def _rows(name: str, what: str, node: Node, shape: Any, *others: Node) -> Shape:
    """Return the shape of a result whose last axis is that of `node`, and whose other axes are `shape`."""
    if node.ndim == 0:
        raise ShapeError(f"{name}: {what} needs a last axis, got {node.type}{at()}")
    return (*result_shape(name, shape, _blank(node.shape[:-1]), *others), node.shape[-1])


def _blank(shape: Shape) -> Node:
    """Return a node of which only the shape is used."""
    return broadcast_to_shape(as_node(0), shape)


# -- order


def permutation(source: Source, n: Any, shape: Any) -> Node:
    """The order of 64 random bits each."""
    size = _count("permutation", "n", n)
    return argsort(source((*given_shape("permutation", shape), size)).numbers("bits", UINT64), axis=-1)


def shuffle(source: Source, x: Any, axis: int) -> Node:
    """The slices along an axis in the order of a permutation."""
    node = as_node(x, what="shuffle: x")
    along = axis_index("shuffle", axis, node.ndim)
    return take(node, permutation(source, node.shape[along], ()), axis=along)


def choice(source: Source, a: Any, shape: Any, replace: bool, p: Any) -> Node:
    """Positions, and the values there."""
    values = None if isinstance(a, (int, Dim)) and not isinstance(a, bool) else as_node(a, what="choice: a")
    if values is not None and values.ndim == 0:
        raise ArgumentError(f"choice: a must be an int, a dimension or an array, got {values.type}{at()}")
    size = _count("choice", "a", a) if values is None else values.shape[0]
    found = given_shape("choice", shape)
    chances = None if p is None else _chances(p, size)
    index = (_chosen if replace else _chosen_once)(source, size, found, chances)
    if values is None:
        return index
    if chances is None or isinstance(chances.op, Constant):
        return take(values, index, axis=0)
    found_one = reshape_to(index, (*found, *(1,) * (values.ndim - 1))) >= 0
    if values.dtype.kind in "ub":  # which hold no value that stands for none
        return take(values, where(index >= 0, index, as_node(size)), axis=0)
    return where_valid(found_one, take(values, index, axis=0))


def _chances(p: Any, size: Size) -> Node:
    given = Parameters("choice", "float64", p=p).need(NOT_NEGATIVE, "p")["p"]
    if given.ndim != 1 or given.shape[0] != size:
        raise ShapeError(f"choice: p must have one number for each of the {size} values, got {given.type}{at()}")
    _check_weights("choice", "p", given)
    return given


def _chosen(source: Source, size: Size, shape: Shape, chances: Node | None) -> Node:
    """Choose with replacement: by position, or by the distribution function."""
    if size == 0 and product(shape) != 0:
        raise ArgumentError(f"choice: nothing to choose from: a is empty{at()}")
    if chances is None:
        return randint(source, shape, 0, size)
    total = cumulative_sum(chances, axis=0)
    whole = slice_axis(total, 0, size - 1, 1)
    u = source((product(shape),)).numbers("uniform", FLOAT64)
    drawn = reshape_to(searchsorted(total, minimum(u * whole, nextafter(whole, 0.0)), side="right"), shape)
    return drawn if isinstance(chances.op, Constant) else where_valid(_are_weights(chances), drawn)


def _chosen_once(source: Source, size: Size, shape: Shape, chances: Node | None) -> Node:
    """Choose without replacement: the first of random order; with p in the order of Efraimidis and Spirakis (2006)."""
    count = product(shape)
    if isinstance(count, int) and isinstance(size, int) and count > size:
        raise ArgumentError(f"choice: {count} of {size} values cannot be chosen without replacement{at()}")
    bits = source((size,))
    if chances is None:
        order = argsort(bits.numbers("bits", UINT64))
    else:
        order = argsort(log(chances) + gumbel_quantile(bits.numbers("open", FLOAT64)), descending=True)
        likely = sum(chances > 0, axis=0)
        if isinstance(chances.op, Constant) and isinstance(count, int) and count > (chances.op.value > 0).sum():
            few = (chances.op.value > 0).sum()
            raise ArgumentError(f"choice: {count} values are needed, p is above 0 for {few}{at()}")
        if not isinstance(chances.op, Constant) or not isinstance(count, int):
            order = where_valid(_are_weights(chances) & (iota(order.shape, 0) < likely), order)
    enough = at_least("choice without replacement", (size, count))
    return reshape_to(guarded(slice_axis(order, 0, 0, count), enough), shape)


def _count(name: str, what: str, n: Any) -> Size:
    if isinstance(n, Dim) or (isinstance(n, int) and not isinstance(n, bool) and n >= 0):
        return n
    hint = "; use shuffle for an array" if name == "permutation" else ""
    raise ArgumentError(f"{name}: {what} must be an int of at least 0 or a dimension, got {n!r}{hint}{at()}")
