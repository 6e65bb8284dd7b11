"""`gc.nn`: what neural networks need, built on the public ops.

| module | what |
|---|---|
| `activations` | `relu`, `gelu`, `silu`, ... |
| `losses`, `ctc` | `cross_entropy`, `mse_loss`, ..., `ctc_loss` |
| `normalization` | `layer_norm`, `batch_norm`, ... |
| `convolution`, `pooling`, `interpolation` | `conv2d`, `max_pool2d`, `interpolate`, ... |
| `attention` | `scaled_dot_product_attention` |
| `functional` | `embedding`, `dropout` |

Modules, plain objects that own parameters, are in files of their own, which are read when the first is asked for:

| module | what |
|---|---|
| `module`, `containers`, `function_module` | `Module`, `Sequential`, `ModuleList`, `ModuleDict`, `FunctionModule` |
| `init` | first values of parameters, `set_seed` |
| `layers`, `conv_layers`, `norm_layers` | `Linear`, `Embedding`, `Dropout`, `Conv2d`, `BatchNorm2d`, `LayerNorm`, ... |
| `recurrent`, `transformer` | `LSTM`, `GRU`, `MultiHeadAttention`, `TransformerEncoderLayer`, ... |
| `activation_layers`, `loss_layers`, `pooling_layers` | `ReLU`, `CrossEntropyLoss`, `MaxPool2d`, ... |
| `model_summary` | a table of layers, output types, parameters and operations |
"""

import importlib
from typing import TYPE_CHECKING, Any

from graphc.graph.elsewhere import advice
from graphc.nn.activations import *
from graphc.nn.attention import *
from graphc.nn.convolution import *
from graphc.nn.ctc import *
from graphc.nn.functional import *
from graphc.nn.interpolation import *
from graphc.nn.losses import *
from graphc.nn.normalization import *
from graphc.nn.pooling import *

if TYPE_CHECKING:
    from graphc.nn import init as init
    from graphc.nn.activation_layers import *
    from graphc.nn.containers import *
    from graphc.nn.conv_layers import *
    from graphc.nn.function_module import *
    from graphc.nn.init import set_seed as set_seed
    from graphc.nn.layers import *
    from graphc.nn.loss_layers import *
    from graphc.nn.model_summary import *
    from graphc.nn.module import *
    from graphc.nn.norm_layers import *
    from graphc.nn.pooling_layers import *
    from graphc.nn.recurrent import *
    from graphc.nn.transformer import *

FUNCTION_FILES = (
    *("activations", "attention", "convolution", "ctc", "functional", "interpolation", "losses", "normalization"),
    "pooling",
)
MODULE_FILES = (
    *("module", "containers", "layers", "activation_layers", "conv_layers", "norm_layers", "recurrent"),
    *("transformer", "loss_layers", "pooling_layers", "model_summary", "function_module"),
)
"""The files of modules, which `import graphc` does not read: their names are looked up, in this order, when used."""


def __getattr__(name: str) -> Any:
    if name == "__all__":  # each file has the list of its own names
        found = [name for file in (*FUNCTION_FILES, *MODULE_FILES) for name in _file(file).__all__]
        return globals().setdefault("__all__", sorted([*found, "init", "set_seed"]))
    if name in ("init", "set_seed"):
        return _file("init") if name == "init" else _file("init").set_seed
    for module in map(_file, () if name.startswith("_") else MODULE_FILES):
        if name in module.__all__:
            return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module 'graphc.nn' has no attribute {name!r}{advice('nn', name)}")


def _file(name: str) -> Any:
    return importlib.import_module(f"graphc.nn.{name}")


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), "init", *MODULE_FILES]
