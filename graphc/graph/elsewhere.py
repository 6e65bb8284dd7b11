"""What to write for a name that people know from NumPy, SciPy, JAX or PyTorch and that graphc spells otherwise.

A namespace's `__getattr__` ends here: `gc.concatenate` is answered by `gc.concat`, and `gc.relu` by `gc.nn.relu`.
"""

from __future__ import annotations

from importlib import import_module

NAMESPACES = ("", "linalg", "special", "nn", "optim", "random", "data", "metrics")

SPELLED: dict[str, str] = {
    "Variable": "gc.shared",
    "absolute": "gc.abs",
    "amax": "gc.max",
    "amin": "gc.min",
    "append": "gc.concat",
    "arccos": "gc.acos",
    "arccosh": "gc.acosh",
    "arcsin": "gc.asin",
    "arcsinh": "gc.asinh",
    "arctan": "gc.atan",
    "arctan2": "gc.atan2",
    "arctanh": "gc.atanh",
    "argpartition": "gc.top_k",
    "array": "gc.constant",
    "asarray": "gc.constant",
    "average": "gc.mean",
    "batch_matmul": "gc.matmul",
    "bitwise_not": "gc.bitwise_invert",
    "bmm": "gc.matmul",
    "cat": "gc.concat",
    "clamp": "gc.clip",
    "compile": "gc.function",
    "concatenate": "gc.concat",
    "cumprod": "gc.cumulative_prod",
    "cumsum": "gc.cumulative_sum",
    "diag": "gc.diagonal, or gc.eye(n) * x to make a matrix",
    "dot": "gc.matmul",
    "expit": "gc.sigmoid",
    "fabs": "gc.abs",
    "fix": "gc.trunc",
    "gammaln": "gc.special.gammaln",
    "gather": "gc.take or gc.take_along_axis",
    "gradient": "gc.grad, or gc.diff for differences",
    "hstack": "gc.concat",
    "identity": "gc.eye",
    "inverse": "gc.linalg.inv",
    "invert": "gc.bitwise_invert",
    "jit": "gc.function",
    "left_shift": "gc.bitwise_left_shift",
    "lgamma": "gc.special.gammaln",
    "log_sigmoid": "gc.nn.logsigmoid",
    "mm": "gc.matmul",
    "mod": "gc.remainder",
    "mul": "gc.multiply",
    "neg": "gc.negative",
    "no_grad": "gc.stop_gradient",
    "permute": "gc.permute_dims",
    "power": "gc.pow",
    "psi": "gc.special.digamma",
    "ravel": "gc.reshape(x, -1)",
    "flatten": "gc.reshape(x, -1)",
    "right_shift": "gc.bitwise_right_shift",
    "rint": "gc.round",
    "rsqrt": "1 / gc.sqrt(x)",
    "scatter": "x.at[index].set(value)",
    "scatter_add": "x.at[index].add(value)",
    "segment_sum": "gc.zeros(...).at[index].add(x)",
    "select": "gc.where",
    "sub": "gc.subtract",
    "swapaxes": "gc.permute_dims or gc.moveaxis",
    "tensor": "gc.constant",
    "topk": "gc.top_k",
    "transpose": "gc.permute_dims, gc.matrix_transpose or x.T",
    "true_divide": "gc.divide",
    "unsqueeze": "gc.expand_dims",
    "variable": "gc.shared",
    "vmap": "gc.map, or ops on a leading axis",
    "vstack": "gc.concat or gc.stack",
    "xlogy": "gc.where(x > 0, x * gc.log(y), 0.0)",
    "binary_crossentropy": "gc.nn.binary_cross_entropy",
    "manual_seed": "gc.random.Generator(seed)",
    "default_rng": "gc.random.Generator(seed)",
    "PRNGKey": "gc.random.Generator(seed)",
    "RandomState": "gc.random.Generator(seed)",
    **{name: f"gc.random.Generator(seed).{name}" for name in ("normal", "uniform", "randint", "permutation", "choice")},
    "randn": "gc.random.Generator(seed).normal",
    "rand": "gc.random.Generator(seed).uniform",
}
"""By the foreign name; what has the same name in another namespace of graphc is found without an entry."""

DEPENDS_ON_DATA = ("nonzero", "flatnonzero", "argwhere", "extract", "compress", "masked_select", "boolean_mask")


def advice(namespace: str, name: str) -> str:
    """Return the end of an `AttributeError`: what to write for a name that a namespace does not have, if known."""
    for other in NAMESPACES:
        if other != namespace and not name.startswith("_"):
            module = getattr(import_module("graphc"), other) if other else import_module("graphc")
            if name in module.__all__:
                return f"; its name here is gc.{f'{other}.' if other else ''}{name}"
    if name in SPELLED:
        return f"; write {SPELLED[name]}"
    if name.startswith("unique") or name in DEPENDS_ON_DATA:
        return "; its shape would depend on data: use gc.where to choose elements"
    return ""
