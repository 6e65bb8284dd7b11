"""What codegen relies on, op by op: the rows of the op table, for all ops but those of control flow."""

from __future__ import annotations

from graphc.files.conditions import (
    Entry,
    Pairs,
    Types,
    ascending,
    equal_types,
    in_range,
    nonnegative,
    one_dtype,
    region,
    require,
    room,
    same_rank,
)
from graphc.graph.types import BOOL, INT64, Shape, TensorType
from graphc.ops.cancellation import Sinc
from graphc.ops.creation import Iota
from graphc.ops.cumulative import Cumulative, LinearRecurrence
from graphc.ops.decompositions import Cholesky, Cofactor, Determinant, LuFactor, LuSolve, SolveTriangular
from graphc.ops.equal_values import Vanishing
from graphc.ops.indexing import Gather, Offset, Scatter
from graphc.ops.limits import Limited
from graphc.ops.linalg import MatMul, MatMulAdd, MatMulSum, MatMulUpdate, pairs
from graphc.ops.losses import CrossEntropy
from graphc.ops.normalization import InverseDeviation, Standardize
from graphc.ops.pointwise import Broadcast, Cast, DimValue, Elementwise
from graphc.ops.random import Random, Sample, ScaledBits
from graphc.ops.random_table import FORMULAS
from graphc.ops.reduction import LogSoftmax, LogSumExp, Reduction, Softmax
from graphc.ops.shape import Concat, PermuteDims, Reshape, Slice, Squeeze, Unslice
from graphc.ops.sorting import ArgSort, SearchSorted, Sort
from graphc.ops.special import Polygamma
from graphc.ops.spectral import Eigh, Pinv, Qr, Svd
from graphc.ops.windows import Fold, PickMax, PlaceMax, Windows

SAMPLED = ("binomial", "gamma", "geometric", "loggamma", "poisson", "truncated", "vonmises")
MAX_ORDER = 100
"""The highest order of `polygamma` in a file: its code grows with the order."""


def _elementwise(op: Elementwise, types: Types) -> None:
    require(len(types) == len(op.partials), f"{len(types)} operands")
    same_rank(types)
    clash = (pair for t in types[1:] for pair in zip(types[0].shape, t.shape, strict=True))
    require(not any(m != n and (m == 1 or n == 1) for m, n in clash), "operands that broadcast")
    if op.accepts == "where":
        require(types[0].dtype == BOOL, "a condition that is not bool")
        types = types[1:]
    kinds = {"number": "iuf", "float": "f", "integer": "iu", "bitwise": "iub", "logical": "b"}
    one_dtype(types, kinds.get(op.accepts, "iufb"))


def _cast(op: Cast, types: Types) -> None:
    return None


def _dim_value(op: DimValue, types: Types) -> None:
    require(op.dtype != BOOL, "a size as bool")


def _iota(op: Iota, types: Types) -> None:
    in_range(op.axis, len(op.shape))
    require(op.dtype != BOOL, "an index as bool")


def _broadcast(op: Broadcast, types: Types) -> None:
    require(len(op.axes) == types[0].ndim, "as many axes as the operand has are needed")
    ascending(op.axes, len(op.shape))


def _permute(op: PermuteDims, types: Types) -> None:
    require(sorted(op.axes) == list(range(types[0].ndim)), "no permutation of the axes")


def _reshape(op: Reshape, types: Types) -> None:
    return None  # the number of elements is an equality


def _squeeze(op: Squeeze, types: Types) -> None:
    ascending(op.axes, types[0].ndim)


def _slice(op: Slice, types: Types) -> Pairs:
    return region(types[0].shape, op.starts, op.shape, op.steps)


def _unslice(op: Unslice, types: Types) -> Pairs:
    return region(op.shape, op.starts, types[0].shape, op.steps)


def _concat(op: Concat, types: Types) -> None:
    same_rank(types)
    one_dtype(types, "iufb")
    in_range(op.axis, types[0].ndim)


def _indices(axes: tuple[int, ...], x: TensorType, indices: Types) -> None:
    require(len(axes) == len(indices) > 0, f"{len(indices)} index arrays for {len(axes)} axes")
    ascending(axes, x.ndim)
    one_dtype(indices, "i")
    require(indices[0].dtype == INT64, "indices that are not int64")
    same_rank(indices)


def _gather(op: Gather, types: Types) -> None:
    _indices(op.axes, types[0], types[1:])


def _scatter(op: Scatter, types: Types) -> None:
    x, updates, *indices = types
    require(op.mode in ("add", "set"), f"mode {op.mode!r}")
    _indices(op.axes, x, indices)
    one_dtype((x, updates), "iuf" if op.mode == "add" else "iufb")
    require(updates.ndim == indices[0].ndim + x.ndim - len(op.axes), "updates of another rank")


def _offset(op: Offset, types: Types) -> None:
    one_dtype(types, "f")
    require(types[1].ndim == 0, "an offset that is no number")


def _matmul(op: MatMul, types: Types) -> None:
    same_rank(types)
    one_dtype(types, "iuf")
    require(types[0].ndim >= 2, "operands that are no matrices")


def _matmul_sum(op: MatMulSum, types: Types) -> None:
    _matmul(MatMul(), types)
    one_dtype(types, "f")
    require(1 <= op.axes <= types[0].ndim - 2, f"a sum over {op.axes} axes")


def _matmul_add(op: MatMulAdd, types: Types) -> None:
    require(len(types) % 2 == 0, "a factor without another")
    _matmul(MatMul(), types)
    one_dtype(types, "f")


def _matmul_update(op: MatMulUpdate, types: Types) -> None:
    w, alpha, *factors = types
    require(len(types) % 2 == 0, "a factor without another")
    one_dtype(types, "f")
    ranks = (w.ndim, alpha.ndim, *(x.ndim for x in factors))
    require(ranks == (2, 0, *(2 for _ in factors)), f"operands of ranks {ranks}")
    for x, y in pairs(factors):
        require(w.shape == (x.shape[0], y.shape[1]) and x.shape[1] == y.shape[0], "sizes that do not fit")


def _reduction(op: Reduction, types: Types) -> None:
    kinds = {"sum": "iuf", "prod": "iuf", "any": "b", "all": "b"}
    require(op.name in (*kinds, "max", "min", "argmax", "argmin"), f"reduction {op.name!r}")
    one_dtype(types, kinds.get(op.name, "iufb"))
    ascending(op.axes, types[0].ndim)
    require(len(op.axes) == 1 or (len(op.axes) > 1 and not op.name.startswith("arg")), f"axes {op.axes}")
    require(not op.may_be_empty or (op.name in ("max", "min") and types[0].dtype.kind == "f"), "an empty extreme")


def _float_axes(op: LogSumExp | Standardize | InverseDeviation, types: Types) -> None:
    one_dtype(types, "f")
    require(len(op.axes) > 0, "no axes")
    ascending(op.axes, types[0].ndim)


def _float_axis(op: Softmax | LogSoftmax, types: Types) -> None:
    one_dtype(types, "f")
    in_range(op.axis, types[0].ndim)


def _cumulative(op: Cumulative, types: Types) -> None:
    require(op.name in ("cumulative_sum", "cumulative_prod", "cumulative_max"), f"running {op.name!r}")
    one_dtype(types, "iuf")
    in_range(op.axis, types[0].ndim)


def _sinc(op: Sinc, types: Types) -> None:
    one_dtype(types, "f")
    require(0 <= op.order < 16, f"order {op.order}")


def _recurrence(op: LinearRecurrence, types: Types) -> Pairs:
    one_dtype(types, "iuf")
    in_range(op.axis, types[0].ndim)
    return equal_types(types[1:], types[:1], "operands")


def _random(op: Random, types: Types) -> Pairs:
    floats = op.kind in ("uniform", "open", "normal") and op.dtype.kind == "f"
    require(floats or (op.kind == "bits" and op.dtype.name == "uint64"), f"random {op.kind!r} of {op.dtype}")
    return _uint64(types)


def _sample(op: Sample, types: Types) -> Pairs:
    require(op.kind in SAMPLED and 0 <= op.stream < 2**31, f"sampler {op.kind!r}, stream {op.stream}")
    kinds = FORMULAS[f"random_{op.kind}"].operands[4:]
    require(len(types) == 3 + len(kinds), f"{len(types)} operands")
    wanted = {"i64": "int64", "f64": "float64"}
    require(all(t.dtype.name == wanted[k] for t, k in zip(types[3:], kinds, strict=True)), "parameters of other dtypes")
    shape = types[2].shape
    pairs = _uint64(types[:3])
    return [*pairs, *equal_types(types[3:], [TensorType(t.dtype, shape) for t in types[3:]], "parameters")]


def _scaled_bits(op: ScaledBits, types: Types) -> Pairs:
    return _uint64(types)


def _uint64(types: Types) -> Pairs:
    require(all(t.dtype.name == "uint64" for t in types), "operands that are not uint64")
    return equal_types(types[1:], [types[0]] * (len(types) - 1), "operands")


def _sort(op: Sort | ArgSort, types: Types) -> None:
    require(types[0].ndim >= 1, "no axis to sort")


def _search(op: SearchSorted, types: Types) -> None:
    one_dtype(types, "iufb")
    require(types[0].ndim == 1, "a sorted operand that is not 1-d")


def _windows(shape: Shape, counts: Shape, kernel: Shape, strides: tuple[int, ...], dilations: tuple[int, ...]) -> Pairs:
    """Return what a call must check so that all windows lie inside the last axes of the shape, and none is empty."""
    d = len(kernel)
    require(0 < d == len(counts) == len(strides) == len(dilations) <= len(shape), "windows of another rank")
    require(min(*strides, *dilations) >= 1, "windows that do not advance")
    pairs: Pairs = []
    for n, count, k, stride, dilation in zip(shape[len(shape) - d :], counts, kernel, strides, dilations, strict=True):
        last = (count - 1) * stride + (k - 1) * dilation
        pairs += [*room(n - 1 - last, count), *nonnegative(k - 1), *nonnegative(count)]
    return pairs


def _view_windows(op: Windows, types: Types) -> Pairs:
    return _windows(types[0].shape, op.counts, op.kernel, op.strides, op.dilations)


def _fold(op: Fold, types: Types) -> Pairs:
    shape, d = types[0].shape, len(op.spatial)
    require(len(shape) >= 2 * d, "no windows")
    one_dtype(types, "iuf")
    return _windows(
        op.spatial, shape[len(shape) - 2 * d : len(shape) - d], shape[len(shape) - d :], op.strides, op.dilations
    )


def _pick_max(op: PickMax, types: Types) -> Pairs:
    same_rank(types)
    return [*_windows(types[0].shape, op.counts, op.kernel, op.strides, op.dilations), *_padded(op)]


def _padded(op: PickMax | PlaceMax) -> Pairs:
    """Return what a call must check so that every window has an element that is not padding in front."""
    require(len(op.before) == len(op.kernel), "padding of another rank")
    pairs: Pairs = []
    for before, k, dilation in zip(op.before, op.kernel, op.dilations, strict=True):
        pairs += [*nonnegative(before), *nonnegative((k - 1) * dilation - before)]
    return pairs


def _place_max(op: PlaceMax, types: Types) -> Pairs:
    x, g = types
    same_rank(types)
    one_dtype((g,), "iuf")
    d = len(op.kernel)
    lead = x.ndim - d
    require(lead >= 0, "windows of another rank")
    batch = [TensorType(g.dtype, t.shape[:lead]) for t in types]
    pairs = _windows(x.shape, g.shape[lead:], op.kernel, op.strides, op.dilations)
    return [*pairs, *_padded(op), *equal_types(batch[1:], batch[:1], "windows")]


def _matrices(op: Cholesky | LuFactor | Eigh | Svd, types: Types) -> None:
    one_dtype(types, "f")
    require(types[0].ndim >= 2, "an operand that is no matrix")


def _qr(op: Qr, types: Types) -> Pairs:
    one_dtype(types, "f")
    require(types[0].ndim >= 2, "an operand that is no matrix")
    rows, columns = types[0].shape[-2:]
    return nonnegative(rows - columns)


def _solve(op: SolveTriangular, types: Types) -> Pairs:
    a, b = types
    one_dtype(types, "f")
    same_rank(types)
    require(a.ndim >= 2, "operands that are no matrices")
    batch, n = a.shape[:-2], a.shape[-1]
    square = TensorType(a.dtype, (*batch, n, n))
    right = TensorType(a.dtype, (*batch, n, b.shape[-1]))
    return equal_types([a, b], [square, right], "operands")


def _lu_solve(op: LuSolve, types: Types) -> Pairs:
    a, factors, b = types
    return [*_solve(SolveTriangular(lower=True), (a, b)), *_determinant(Determinant(), (a, factors))]


def _determinant(op: Determinant | Cofactor, types: Types) -> Pairs:
    a, factors = types
    _matrices(LuFactor(), (a,))
    return equal_types([factors], [LuFactor().infer(a)], "factors")


def _pinv(op: Pinv, types: Types) -> Pairs:
    a, rtol = types
    one_dtype(types, "f")
    require(a.ndim >= 2, "an operand that is no matrix")
    return equal_types([rtol], [TensorType(a.dtype, a.shape[:-2])], "tolerances")


def _vanishing(op: Vanishing, types: Types) -> None:
    require(0 <= op.order <= 3, f"order {op.order}")
    one_dtype(types, "f")


def _polygamma(op: Polygamma, types: Types) -> None:
    require(1 <= op.order <= MAX_ORDER, f"order {op.order}")
    one_dtype(types, "f")


def _limited(op: Limited, types: Types) -> None:
    require(types[1].dtype == BOOL and not types[1].shape, "a condition that is no 0-d bool")


def _cross_entropy(op: CrossEntropy, types: Types) -> None:
    logits, labels = types
    one_dtype((logits,), "f")
    require(labels.dtype == INT64 and labels.ndim == logits.ndim - 1, "labels of another type")


POINTWISE = Entry(Elementwise, (0, None), _elementwise)
ARRAY_OPS: dict[str, Entry] = {
    "ArgSort": Entry(ArgSort, (1, 1), _sort),
    "Broadcast": Entry(Broadcast, (1, 1), _broadcast),
    "Cast": Entry(Cast, (1, 1), _cast),
    "Cholesky": Entry(Cholesky, (1, 1), _matrices),
    "Cofactor": Entry(Cofactor, (2, 2), _determinant),
    "Concat": Entry(Concat, (1, None), _concat),
    "CrossEntropy": Entry(CrossEntropy, (2, 2), _cross_entropy),
    "Cumulative": Entry(Cumulative, (1, 1), _cumulative),
    "Determinant": Entry(Determinant, (2, 2), _determinant),
    "DimValue": Entry(DimValue, (0, 0), _dim_value),
    "Eigh": Entry(Eigh, (1, 1), _matrices),
    "Fold": Entry(Fold, (1, 1), _fold),
    "Gather": Entry(Gather, (2, None), _gather),
    "InverseDeviation": Entry(InverseDeviation, (1, 1), _float_axes),
    "Iota": Entry(Iota, (0, 0), _iota),
    "LinearRecurrence": Entry(LinearRecurrence, (2, 2), _recurrence),
    "Limited": Entry(Limited, (2, 2), _limited),
    "LogSoftmax": Entry(LogSoftmax, (1, 1), _float_axis),
    "LogSumExp": Entry(LogSumExp, (1, 1), _float_axes),
    "LuFactor": Entry(LuFactor, (1, 1), _matrices),
    "LuSolve": Entry(LuSolve, (3, 3), _lu_solve),
    "MatMul": Entry(MatMul, (2, 2), _matmul),
    "MatMulAdd": Entry(MatMulAdd, (4, None), _matmul_add),
    "MatMulSum": Entry(MatMulSum, (2, 2), _matmul_sum),
    "MatMulUpdate": Entry(MatMulUpdate, (4, None), _matmul_update),
    "Offset": Entry(Offset, (2, 2), _offset),
    "PermuteDims": Entry(PermuteDims, (1, 1), _permute),
    "PickMax": Entry(PickMax, (2, 2), _pick_max),
    "Pinv": Entry(Pinv, (2, 2), _pinv),
    "PlaceMax": Entry(PlaceMax, (2, 2), _place_max),
    "Polygamma": Entry(Polygamma, (1, 1), _polygamma),
    "Qr": Entry(Qr, (1, 1), _qr),
    "Random": Entry(Random, (3, 3), _random),
    "Reduction": Entry(Reduction, (1, 1), _reduction),
    "Reshape": Entry(Reshape, (1, 1), _reshape),
    "Sample": Entry(Sample, (3, None), _sample),
    "ScaledBits": Entry(ScaledBits, (2, 2), _scaled_bits),
    "Scatter": Entry(Scatter, (3, None), _scatter),
    "SearchSorted": Entry(SearchSorted, (2, 2), _search),
    "Slice": Entry(Slice, (1, 1), _slice),
    "Sinc": Entry(Sinc, (1, 1), _sinc),
    "Softmax": Entry(Softmax, (1, 1), _float_axis),
    "SolveTriangular": Entry(SolveTriangular, (2, 2), _solve),
    "Sort": Entry(Sort, (1, 1), _sort),
    "Squeeze": Entry(Squeeze, (1, 1), _squeeze),
    "Standardize": Entry(Standardize, (1, 1), _float_axes),
    "Svd": Entry(Svd, (1, 1), _matrices),
    "Unslice": Entry(Unslice, (1, 1), _unslice),
    "Vanishing": Entry(Vanishing, (1, 1), _vanishing),
    "Windows": Entry(Windows, (1, 1), _view_windows),
}
