"""Every public callable with arguments that it accepts, found by introspection: what the nets of the border vary.

A new public function is in automatically: its required parameters take the values that `BY_NAME` has for their
names, or those of an entry in `BY_CALLABLE` where the names mean something else.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc as gc
from graphc import nn, optim

VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
M = gc.placeholder("m", shape=(3, 3))
W = gc.shared(np.eye(3), name="w")
SPD = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
LOSS = gc.sum(M * W)
LABELS = np.array([0, 2, 1])
ROWS = np.arange(12.0).reshape(4, 3)


def image(axes: int) -> Any:
    return np.ones((2, 4, *(6,) * axes))


def program() -> gc.Function:
    return gc.function([M], gc.sum(M))


BY_NAME: dict[str, Any] = {
    **dict.fromkeys(("x", "x1", "x2", "a", "logits", "predictions"), SPD),
    **dict.fromkeys(("shape", "normalized_shape"), (3,)),
    **dict.fromkeys(("axis", "source", "destination", "dim"), 0),
    **dict.fromkeys(("num_features", "in_channels", "out_channels", "num_channels", "in_features", "out_features"), 4),
    **dict.fromkeys(("in1_features", "in2_features", "embed_dim", "d_model", "input_size", "hidden_size"), 4),
    **dict.fromkeys(("num_embeddings", "embedding_dim", "num_classes"), 4),
    **dict.fromkeys(("num_groups", "num_heads", "nhead", "num_layers", "groups"), 2),
    **dict.fromkeys(("kernel_size", "norm_type", "output_size"), 2),
    **dict.fromkeys(("T_max", "T_0", "step_size", "total_steps", "steps", "length", "epoch", "rows", "size", "k"), 2),
    **dict.fromkeys(("lr", "max_lr", "gamma", "loss", "threshold", "value", "max_norm", "limit"), 0.5),
    **{name: [SPD, SPD] for name in ("arrays", "grads")},
    **dict.fromkeys(("y_true", "y_pred", "targets", "indices"), LABELS),
    **{name: [LOSS] for name in ("outputs", "y")},
    **{name: [1.0] for name in ("cotangents", "v", "tangents")},
    **dict.fromkeys(("p", "q"), 0.5),
    **dict.fromkeys(("df", "kappa", "b"), 2.0),
    "b": SPD,
    "name": "name",
    "dtype": "float32",
    "seed": 1,
    "repetitions": 2,
    "repeats": 2,
    "wrt": W,
    "pad_width": 1,
    "condition": SPD > 1,
    "batch_size": 2,
    "test_size": 0.5,
    "optimizer": optim.SGD(0.1),
    "after": optim.ConstantLR(0.1),
    "milestones": (1, 2),
    "fill_value": 1.0,
    "axes": (0, 1),
    "modules": [nn.ReLU()],
    "min": 0.0,
    "rng": None,
    "params": W,
    "state": {},
    "weight": np.ones((4, 4)),
    "n": 2,
}
SKIPPED = {
    *("gc.Function", "gc.Graph", "gc.Node", "gc.Shared", "gc.TensorType", "gc.Dim"),  # made by functions
    *("optim.SGD.finishes", "optim.SGD.name_of", "optim.SGD.keep", "optim.SGD.scalars", "optim.SGD.step"),
    *(
        "optim.SGD.slots",
        "optim.SGD.check",
        "gc.Function.cfunc",
        "gc.Shared.takes",
        "nn.Linear.eval",
        "nn.Linear.shown",
    ),
    *("gc.History", "gc.TensorBoard", "gc.fit", "gc.load", "gc.save", "gc.EarlyStopping", "gc.StopTraining"),
    *("gc.Checkpointer", "gc.load_checkpoint", "gc.save_checkpoint", "gc.set_cache", "gc.set_blas"),  # files, settings
    *("nn.Module", "nn.FunctionModule", "nn.Summary", "nn.set_seed", "nn.init.set_seed", "optim.Optimizer"),
    *("optim.Schedule", "optim.Minimum", "data.Batches", "data.BatchesState", "metrics.Mean", "random.GeneratorState"),
}
"""Bases and results, which programs do not call, and what reads and writes files, which has tests of its own."""

_KEYS = {"a": 2.0, "b": 2.0}
BY_CALLABLE: dict[str, dict[str, Any]] = {
    "gc.scan": {"f": lambda c, x: (c + x, c), "init": 0.0, "xs": np.ones(3)},
    "gc.map": {"f": lambda x: x * 2, "xs": np.ones(3)},
    "gc.fori_loop": {"lower": 0, "upper": 3, "body": lambda i, c: c * 2.0, "init": 1.0},
    "gc.while_loop": {"cond_fun": lambda c: c < 3.0, "body_fun": lambda c: c + 1.0, "init_val": 0.0},
    "gc.associative_scan": {"fn": operator.add, "elems": np.ones(3)},
    "gc.cond": {"pred": gc.constant(True), "true_fn": lambda: 1.0, "false_fn": lambda: 2.0},
    "gc.switch": {"index": gc.constant(0), "branches": [lambda: 1.0, lambda: 2.0]},
    "gc.function": {"inputs": [M], "outputs": [LOSS]},
    "gc.evaluate": {"nodes": LOSS, "bindings": {M: SPD}},
    "gc.check_grad": {"loss": LOSS, "wrt": W, "bindings": {M: SPD}},
    "gc.hvp": {"loss": LOSS, "x": W, "v": SPD},
    "gc.hessian": {"loss": LOSS, "x": W},
    "gc.jvp": {"outputs": [LOSS], "wrt": [W], "tangents": [SPD]},
    "gc.jacobian": {"y": gc.sum(M * W, 0), "x": W},
    "gc.grad": {"loss": LOSS},
    "gc.value_and_grad": {"loss": LOSS},
    "gc.arange": {"start": 3},
    "gc.linspace": {"start": 0, "stop": 1, "num": 5},
    "gc.eye": {"n_rows": 3},
    "gc.einsum": {"subscripts": "ij,jk", "operands": (SPD, SPD)},
    "gc.quantile": {"q": 0.5},
    "gc.reshape": {"shape": (9,)},
    "gc.broadcast_to": {"shape": (2, 3, 3)},
    "gc.squeeze": {"x": np.ones((1, 3)), "axis": 0},
    "gc.searchsorted": {"x1": np.arange(3.0), "x2": np.arange(3.0)},
    "gc.broadcast_arrays": {"arrays": (SPD, SPD)},
    "gc.constant": {"value": 2.0},
    "gc.shared": {"value": 2.0},
    "gc.astype": {"dtype": "float32"},
    "gc.tensordot": {"axes": 1},
    "gc.one_hot": {"indices": LABELS, "num_classes": 3},
    "gc.roll": {"shift": 1},
    "gc.take": {"axis": 0},
    "gc.take_along_axis": {"indices": np.zeros((3, 1), int)},
    "gc.outer": {"x1": np.ones(3), "x2": np.ones(3)},
    "linalg.outer": {"x1": np.ones(3), "x2": np.ones(3)},
    "linalg.cho_solve": {"c_and_lower": (SPD, True), "b": SPD},
    "linalg.tensordot": {"axes": 1},
    "random.Generator.uniform": {},
    "random.Generator.randint": {"low": 0, "high": 4},
    "random.Generator.binomial": {"n": 3, "p": 0.5},
    "random.Generator.negative_binomial": {"n": 2.0, "p": 0.5},
    "random.Generator.truncated_normal": {"low": -1.0, "high": 1.0},
    "random.Generator.categorical": {"logits": np.ones(3)},
    "random.Generator.multinomial": {"n": 3, "pvals": [0.5, 0.5]},
    "random.Generator.multivariate_normal": {"mean": np.zeros(3), "cov": SPD},
    "random.Generator.gamma": {"a": 2.0},
    "random.Generator.beta": {"a": 2.0, "b": 2.0},
    "random.Generator.dirichlet": {"alpha": [1.0, 2.0]},
    "random.Generator.choice": {"a": 4},
    "random.Generator.permutation": {"n": 4},
    "random.Generator.set_state": {"state": gc.random.Generator(0).get_state()},
    "nn.Sequential": {"layers": (nn.ReLU(),)},
    "nn.ModuleDict": {},
    "nn.Unflatten": {"dim": 1, "sizes": (2, 2)},
    "nn.Upsample": {"size": 4},
    "nn.Fold": {"output_size": (4, 4)},
    "nn.batch_norm": {"x": np.ones((3, 4)), "running_mean": np.zeros(4), "running_var": np.ones(4)},
    "nn.bilinear": {"weight": np.ones((2, 3, 3))},
    "nn.cosine_embedding_loss": {"targets": np.array([1.0, -1.0, 1.0])},
    "nn.hinge_loss": {"targets": np.sign(SPD - 1)},
    "nn.margin_ranking_loss": {"targets": np.sign(SPD - 1)},
    "nn.ctc_loss": {
        "log_probs": np.full((4, 1, 3), -1.0),
        "targets": np.array([[1, 2]]),
        "input_lengths": [4],
        "target_lengths": [2],
    },
    "nn.embedding": {"weight": np.ones((4, 2))},
    "nn.fold": {"x": np.ones((1, 4, 9)), "output_size": (4, 4), "kernel_size": 2},
    "nn.gaussian_nll_loss": {"targets": SPD, "var": SPD + 1},
    "nn.glu": {"x": np.ones((2, 4))},
    "nn.dropout": {"rng": gc.random.Generator(0)},
    "nn.alpha_dropout": {"rng": gc.random.Generator(0)},
    "nn.group_norm": {"x": np.ones((2, 4, 3))},
    "nn.instance_norm": {"x": np.ones((2, 4, 3))},
    "nn.local_response_norm": {"x": np.ones((2, 4, 3))},
    "nn.rms_norm": {},
    "nn.positional_encoding": {"length": 3},
    "nn.prelu": {"weight": np.array(0.25)},
    "nn.linear": {"weight": np.ones((3, 3))},
    "nn.nll_loss": {"log_probs": -SPD},
    "nn.kl_div": {"log_probs": -SPD, "targets": SPD},
    "nn.scaled_dot_product_attention": {"query": SPD, "key": SPD, "value": SPD},
    "nn.summary": {"model": nn.Linear(3, 2), "inputs": ((2, 3),)},
    "nn.unfold": {"x": image(2)},
    "nn.interpolate": {"x": image(2), "size": 3},
    **{f"nn.dropout{d}d": {"x": image(d), "rng": gc.random.Generator(0)} for d in (1, 2, 3)},
    **{f"nn.conv{d}d": {"x": image(d), "weight": np.ones((3, 4, *(2,) * d))} for d in (1, 2, 3)},
    **{f"nn.conv_transpose{d}d": {"x": image(d), "weight": np.ones((4, 3, *(2,) * d))} for d in (1, 2, 3)},
    **{f"nn.{k}_pool{d}d": {"x": image(d)} for d in (1, 2, 3) for k in ("avg", "max", "lp")},
    **{f"nn.adaptive_{k}_pool{d}d": {"x": image(d)} for d in (1, 2, 3) for k in ("avg", "max")},
    **{f"nn.global_{k}_pool": {"x": image(2)} for k in ("avg", "max")},
    **{
        f"nn.{n}": {"targets": SPD} for n in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "poisson_nll_loss")
    },
    "nn.binary_cross_entropy": {"probs": SPD / 5, "targets": SPD / 5},
    "nn.binary_cross_entropy_with_logits": {"targets": SPD / 5},
    "nn.init.calculate_gain": {"nonlinearity": "relu"},
    "nn.init.constant": {"shape": (2, 2), "value": 1.0},
    **{
        f"nn.init.{n}": {"shape": (2, 2)}
        for n in ("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal")
    },
    **{f"nn.init.{n}": {"shape": (2, 2)} for n in ("lecun_normal", "lecun_uniform", "normal", "truncated_normal")},
    "optim.ReduceLROnPlateau": {"lr": gc.shared(0.1)},
    "optim.SequentialLR": {"schedules": [optim.ConstantLR(0.1), optim.ConstantLR(0.2)], "milestones": [2]},
    "optim.clip_by_global_norm": {"grads": [SPD]},
    "metrics.average": {"function": lambda *batch: 1.0, "data": [ROWS]},
    "metrics.roc_auc": {"y_true": [0, 1, 1], "scores": [0.1, 0.4, 0.3]},
    "metrics.f1": {"average": "macro"},
    "metrics.precision": {"average": "macro"},
    "metrics.recall": {"average": "macro"},
    **{f"gc.bitwise_{n}": {"x1": LABELS, "x2": LABELS} for n in ("and", "or", "xor", "left_shift", "right_shift")},
    "gc.bitwise_invert": {"x": LABELS},
    "gc.cumulative_sum": {"axis": 0},
    "gc.cumulative_prod": {"axis": 0},
    "data.batches": {"arrays": ROWS},
    "data.split": {"arrays": ROWS},
    "metrics.top_k_accuracy": {"scores": SPD, "k": 2},
    "gc.Function.to_scipy": {"wrt": M},
    **{f"gc.Function.{n}": {"args": (SPD,)} for n in ("bind", "verify")},
    "gc.Function.cfunc": {"signature": "double(double*, int)"},
    "optim.SGD.updates": {"loss": LOSS},
    "optim.SGD.updates_from_gradients": {"grads": SPD},
    "optim.SGD.load_state_dict": {"state": {}},
    "nn.Linear.load_state_dict": {"state": nn.Linear(3, 3).state_dict()},
    "nn.Linear.with_updates": {"out": LOSS, "updates": {}},
    "nn.Linear.forward": {"x": SPD.astype("float32")},
    "gc.Shared.dot": {"other": SPD},
    "gc.Shared.reshape": {"shape": (9,)},
    "gc.Shared.set_value": {"value": SPD},
}
METHODS: dict[str, Callable[[], Any]] = {
    "random.Generator": lambda: gc.random.Generator(7),
    "gc.Function": program,
    "optim.SGD": lambda: optim.SGD(0.1),
    "nn.Linear": lambda: nn.Linear(3, 3),
    "gc.Shared": lambda: gc.shared(SPD, name="s"),
}
"""Objects whose public methods are swept as well."""


@dataclass(frozen=True)
class Call:
    """One public callable: its name, itself, its parameters, and arguments that it accepts."""

    name: str
    function: Callable[..., Any]
    parameters: dict[str, inspect.Parameter]
    arguments: dict[str, Any]

    def __call__(self, **changed: Any) -> Any:
        """Call with some arguments exchanged."""
        given = self.arguments | changed
        args: list[Any] = []
        keywords: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name not in given:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += given[name]
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                if len(args) == list(self.parameters).index(name):
                    args.append(given[name])
                else:  # a default lies before it
                    keywords[name] = given[name]
            else:
                keywords[name] = given[name]
        return self.function(*args, **keywords)


def _call(name: str, function: Callable[..., Any]) -> Call:
    named = BY_CALLABLE.get(name, {})
    parameters = dict(inspect.signature(function).parameters)
    needed = [n for n, p in parameters.items() if p.default is p.empty and p.kind not in VARIABLE]
    arguments = {n: named[n] if n in named else BY_NAME[n] for n in needed if n in named or n in BY_NAME}
    return Call(name, function, parameters, arguments | named)


def calls() -> Iterator[Call]:
    """Yield every public callable but those of `SKIPPED`."""
    for space in ("gc", "linalg", "special", "random", "nn", "nn.init", "optim", "data", "metrics"):
        module: Any = gc
        for part in space.split(".") if space != "gc" else ():
            module = getattr(module, part)
        for public in sorted(getattr(module, "__all__", None) or [n for n in dir(module) if n.islower()]):
            found, name = getattr(module, public), f"{space}.{public}"
            kind = inspect.isfunction(found) or (inspect.isclass(found) and not issubclass(found, Exception))
            if kind and name not in SKIPPED and found.__module__.startswith("graphc"):
                yield _call(name, found)
    for name, make in METHODS.items():
        for method in sorted(n for n in dir(make()) if not n.startswith("_")):
            found = getattr(make(), method)
            if (
                f"{name}.{method}" not in SKIPPED
                and inspect.ismethod(found)
                and list(inspect.signature(found).parameters)
            ):
                yield _call(f"{name}.{method}", _bound(make, method))


OBJECTS: dict[str, Callable[[], Any]] = {
    "gc.Node": lambda: gc.placeholder("x", shape=(3, 3)),
    "gc.Dim": lambda: gc.dim("n"),
    "gc.Node.at": lambda: gc.ones(3).at[0],
    "gc.History": gc.History,
    "gc.EarlyStopping": gc.EarlyStopping,
}
"""Objects that functions make, or of classes that are not swept themselves."""
HOOKS = {"finishes", "keep", "name_of", "rate", "scalars", "slots", "step"}
"""What the classes of `gc.optim` define for those of graphc that call it."""
OPERATORS = ("add", "radd", "sub", "mul", "rmul", "truediv", "pow", "matmul", "mod", "floordiv", "lt", "and", "or")
PROTOCOL = {"__call__", *(f"__{name}__" for name in OPERATORS)}


def methods() -> Iterator[Call]:
    """Yield the public methods of all public classes, each once; other operands than the ones here may be needed."""
    known: dict[str, Callable[[], Any]] = {c.name: c for c in calls() if inspect.isclass(c.function)}
    seen: set[str] = set()
    for name, make in {**known, **OBJECTS}.items():
        for method in dir(make()):
            function = getattr(type(make()), method, None)
            hook = method in HOOKS and name.startswith("optim.") and name != "optim.ReduceLROnPlateau"
            if not inspect.isfunction(function) or hook or function.__qualname__ in seen:
                continue
            if function.__module__.startswith("graphc") and (method[0] != "_" or method in PROTOCOL):
                seen.add(function.__qualname__)
                found = _bound(make, method)
                parameters = inspect.signature(found).parameters
                needed = [n for n, p in parameters.items() if p.default is p.empty]
                given = {n: BY_NAME.get(n, SPD) for n in needed if parameters[n].kind not in VARIABLE}
                yield Call(f"{name}.{method}", found, dict(parameters), given)


def _bound(make: Callable[[], Any], method: str) -> Callable[..., Any]:
    """Return a function that calls a method of a new object each time."""
    function = getattr(make(), method)

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(make(), method)(*args, **kwargs)

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call
