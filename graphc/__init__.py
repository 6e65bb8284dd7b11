"""graphc: a static-graph compiler with symbolic differentiation.

Declare placeholders, write ops, ask for gradients, compile, call:

>>> import graphc as gc
>>> x = gc.placeholder("x", shape=("n",))
>>> loss = gc.sum(x * x)
>>> gc.grad(loss, x).eval({x: [1.0, 2.0]})
array([2., 4.])

The modules, in the order in which a program meets them:

| module | job |
|---|---|
| `errors`, `arguments`, `identity`, `elsewhere` | errors, plain arguments, what `==` of nodes is, foreign names |
| `forks` | what a fork waits for |
| `dims`, `types`, `arrays`, `tree`, `lazy`, `text` | dimensions; dtypes, types; arrays from users; nestings; tables |
| `state`, `tensorfile` | what shared nodes keep between calls; arrays in files |
| `node`, `ops` | values, and the ops that make them |
| `special`, `linalg`, `random`, `distributions` | more ops: special functions, linear algebra, random numbers |
| `graph`, `substitution` | chosen outputs and all they depend on; other sizes in it |
| `binding`, `draws`, `evaluate` | arguments of a call; ranges of a generator's stream; the reference interpreter |
| `grad`, `curvature`, `masks` | derivatives, as more nodes; zeros that they keep |
| `streams`, `control`, `branch`, `tracing`, `scan_rules`, `while_rules` | loops and branches in the compiled program |
| `passes` | rewriting, from algebra to the schedule of kernels |
| `codegen` | kernels and buffers: the compiled program |
| `function`, `written`, `signature`, `runner`, `expected` | the compiled callable: its program, parameters and calls |
| `jacobians`, `differences` | whole Jacobians and Hessians, by loops; `check_grad` |
| `pickling`, `serialization` | functions as pickles, and as files from which no code runs |
| `scipy_adaptors`, `native`, `fixed` | functions for `scipy.optimize`; for Numba and C; on fixed arrays |
| `rounding`, `cases`, `verification` | whether a compiled program is the one that was written, and what is not |
| `nn` | neural networks: functions and modules |
| `optim` | optimisers and schedules: whole training steps as updates |
| `data`, `rows`, `metrics` | minibatches of arrays, what they count for; how good predictions are |
| `checkpoint` | training state in files |
| `training`, `history`, `progress`, `plots` | the training loop, what it saw, and pictures of that |
| `sklearn` | scikit-learn estimators |
| `inspect`, `cli`, `demo` | graphs as pictures, the command line |
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy import e, inf, nan, newaxis, pi

from graphc import ops, special
from graphc.branch import cond, switch
from graphc.codegen.blas_choice import set_blas
from graphc.codegen.cache import cache_directory, set_cache
from graphc.control import associative_scan, fori_loop, map, scan, while_loop
from graphc.differences import check_grad
from graphc.elsewhere import advice
from graphc.errors import (
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
from graphc.evaluate import evaluate
from graphc.function import Function, function
from graphc.grad import grad, jvp, value_and_grad, vjp
from graphc.graph import Graph
from graphc.node import Node, Shared
from graphc.ops import *
from graphc.types import Dim, TensorType, dim

if TYPE_CHECKING:
    from graphc import data, linalg, metrics, nn, optim, plots, random
    from graphc import sklearn as sklearn
    from graphc.checkpoint import Checkpointer, load_checkpoint, save_checkpoint
    from graphc.codegen.blas import blas_library
    from graphc.history import History, TensorBoard
    from graphc.jacobians import hessian, hvp, jacobian
    from graphc.serialization import load, save
    from graphc.training import EarlyStopping, StopTraining, fit

_NAMESPACES = ("data", "linalg", "metrics", "nn", "optim", "plots", "random", "sklearn")
_HOMES = {
    "checkpoint": ("Checkpointer", "load_checkpoint", "save_checkpoint"),
    "codegen.blas": ("blas_library",),
    "history": ("History", "TensorBoard"),
    "jacobians": ("hessian", "hvp", "jacobian"),
    "serialization": ("load", "save"),
    "training": ("EarlyStopping", "StopTraining", "fit"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what programs do not always need when it is first used: `import graphc` stays fast."""
    if name in _NAMESPACES:
        return import_module(f"graphc.{name}")
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
    "set_blas",
    "set_cache",
    "special",
    "switch",
    "value_and_grad",
    "vjp",
    "while_loop",
]
__all__ += ops.__all__
