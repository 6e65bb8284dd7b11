"""graphc: a static-graph compiler with symbolic differentiation.

Declare placeholders, write ops, ask for gradients, compile, call:

>>> import graphc as gc
>>> x = gc.placeholder("x", shape=("n",))
>>> loss = gc.sum(x * x)
>>> gc.grad(loss, x).eval({x: [1.0, 2.0]})
array([2., 4.])

The folders, in the order in which a program meets them:

| folder | job |
|---|---|
| `graph` | types, values, graphs of them, errors, nestings, and the reference interpreter |
| `ops` | the ops that make values, one family a file |
| `special`, `linalg`, `random`, `distributions` | more ops: special functions, linear algebra, random numbers |
| `passes.algebra` | the rewriting engine, its rules, and the passes that normalise a graph |
| `passes.loops` | what moves out of loops, which loops are one, what adjoints store |
| `passes.updates` | products, scatters and slices that end in what they update |
| `autodiff` | derivatives, as more nodes; loops and branches, which have rules of their own |
| `passes.schedule` | layout, padding, fusion: the DAG of kernels |
| `codegen.math`, `codegen.nest`, `codegen.forms` | scalar functions; typed loop nests; passes over them |
| `codegen.memory` | where values live, and what may share memory |
| `codegen.jit` | machine code, by Numba and LLVM, kept on disk |
| `codegen.run` | the compiled program: sections, tapes, threads, BLAS |
| `call` | the callable: its parameters, what stands behind a call, its verification |
| `files` | saved functions, from which no code runs, and checkpoints |
| `interop` | functions for SciPy, scikit-learn, Numba and C |
| `nn`, `optim` | neural networks; optimisers and schedules: whole training steps as updates |
| `train` | minibatches, metrics, the training loop, its history, progress and pictures |
| `inspect`, `cli`, `demo` | graphs as pictures, the command line |
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy import e, inf, nan, newaxis, pi

from graphc import ops, special
from graphc.autodiff.branch import cond, switch
from graphc.autodiff.control import associative_scan, fori_loop, map, scan, while_loop
from graphc.autodiff.grad import grad, jvp, value_and_grad, vjp
from graphc.call.check import check_grad
from graphc.call.function import Function, function
from graphc.codegen.jit.cache import cache_directory, set_cache
from graphc.codegen.nest.blas_choice import set_blas
from graphc.graph.arguments import optional
from graphc.graph.elsewhere import advice
from graphc.graph.errors import (
    ArgumentError,
    CheckpointError,
    CompileError,
    DivergenceError,
    DTypeError,
    FormatError,
    GradientError,
    GraphcError,
    IndexOutOfBoundsError,
    LinAlgError,
    ShapeError,
)
from graphc.graph.evaluate import evaluate
from graphc.graph.graph import Graph
from graphc.graph.node import Node, Shared
from graphc.graph.scopes import scope
from graphc.graph.types import Dim, TensorType, dim
from graphc.ops import *

if TYPE_CHECKING:
    from graphc import linalg, nn, optim, random
    from graphc.autodiff.jacobians import hessian, hvp, jacobian
    from graphc.codegen.run.blas import blas_library
    from graphc.files import load, save
    from graphc.files.checkpoint import Checkpointer, load_checkpoint, save_checkpoint
    from graphc.interop import sklearn as sklearn
    from graphc.train import data, metrics, plots
    from graphc.train.fit import EarlyStopping, StopTraining, fit
    from graphc.train.history import History, TensorBoard

_NAMESPACES = {
    **{name: name for name in ("linalg", "nn", "optim", "random")},
    **{name: f"train.{name}" for name in ("data", "metrics", "plots")},
    "sklearn": "interop.sklearn",
}
_HOMES = {
    "autodiff.jacobians": ("hessian", "hvp", "jacobian"),
    "codegen.run.blas": ("blas_library",),
    "files": ("load", "save"),
    "files.checkpoint": ("Checkpointer", "load_checkpoint", "save_checkpoint"),
    "train.fit": ("EarlyStopping", "StopTraining", "fit"),
    "train.history": ("History", "TensorBoard"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what programs do not always need when it is first used: `import graphc` stays fast."""
    if name == "sklearn":
        optional("sklearn", "gc.sklearn", "scikit-learn", "sklearn")
    if name in _NAMESPACES:
        return import_module(f"graphc.{_NAMESPACES[name]}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'graphc' has no attribute {name!r}{advice('', name)}")
    found = globals()[name] = getattr(import_module(f"graphc.{_HOME_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "Checkpointer",
    "CompileError",
    "DTypeError",
    "Dim",
    "DivergenceError",
    "EarlyStopping",
    "FormatError",
    "Function",
    "GradientError",
    "Graph",
    "GraphcError",
    "History",
    "IndexOutOfBoundsError",
    "LinAlgError",
    "Node",
    "ShapeError",
    "Shared",
    "StopTraining",
    "TensorBoard",
    "TensorType",
    "associative_scan",
    "blas_library",
    "cache_directory",
    "check_grad",
    "cond",
    "data",
    "dim",
    "e",
    "evaluate",
    "fit",
    "fori_loop",
    "function",
    "grad",
    "hessian",
    "hvp",
    "inf",
    "jacobian",
    "jvp",
    "linalg",
    "load",
    "load_checkpoint",
    "map",
    "metrics",
    "nan",
    "newaxis",
    "nn",
    "optim",
    "pi",
    "plots",
    "random",
    "save",
    "save_checkpoint",
    "scan",
    "scope",
    "set_blas",
    "set_cache",
    "special",
    "switch",
    "value_and_grad",
    "vjp",
    "while_loop",
]
__all__ += ops.__all__
