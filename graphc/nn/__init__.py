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
from graphc.nn import (
    activations,
    attention,
    convolution,
    ctc,
    functional,
    interpolation,
    losses,
    normalization,
    pooling,
)
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
    from graphc.nn import init
    from graphc.nn.activation_layers import (
        CELU,
        ELU,
        GELU,
        GLU,
        SELU,
        Hardshrink,
        Hardsigmoid,
        Hardswish,
        Hardtanh,
        LeakyReLU,
        LogSigmoid,
        LogSoftmax,
        Mish,
        ReLU,
        ReLU6,
        Sigmoid,
        SiLU,
        Softmax,
        Softmin,
        Softplus,
        Softshrink,
        Softsign,
        Tanh,
        Tanhshrink,
        Threshold,
    )
    from graphc.nn.containers import (
        ModuleDict,
        ModuleList,
        Sequential,
    )
    from graphc.nn.conv_layers import (
        Conv1d,
        Conv2d,
        Conv3d,
        ConvTranspose1d,
        ConvTranspose2d,
        ConvTranspose3d,
    )
    from graphc.nn.function_module import (
        FunctionModule,
    )
    from graphc.nn.init import (
        set_seed,
    )
    from graphc.nn.layers import (
        AlphaDropout,
        Bilinear,
        Dropout,
        Dropout1d,
        Dropout2d,
        Dropout3d,
        Embedding,
        Flatten,
        Identity,
        Linear,
        PReLU,
        Unflatten,
    )
    from graphc.nn.loss_layers import (
        BCELoss,
        BCEWithLogitsLoss,
        CosineEmbeddingLoss,
        CosineSimilarity,
        CrossEntropyLoss,
        CTCLoss,
        GaussianNLLLoss,
        HingeLoss,
        HuberLoss,
        KLDivLoss,
        L1Loss,
        MarginRankingLoss,
        MSELoss,
        NLLLoss,
        PoissonNLLLoss,
        SmoothL1Loss,
    )
    from graphc.nn.model_summary import (
        Summary,
        summary,
    )
    from graphc.nn.module import (
        Module,
    )
    from graphc.nn.norm_layers import (
        BatchNorm1d,
        BatchNorm2d,
        BatchNorm3d,
        GroupNorm,
        InstanceNorm1d,
        InstanceNorm2d,
        InstanceNorm3d,
        LayerNorm,
        RMSNorm,
    )
    from graphc.nn.pooling_layers import (
        AdaptiveAvgPool1d,
        AdaptiveAvgPool2d,
        AdaptiveAvgPool3d,
        AdaptiveMaxPool1d,
        AdaptiveMaxPool2d,
        AdaptiveMaxPool3d,
        AvgPool1d,
        AvgPool2d,
        AvgPool3d,
        Fold,
        GlobalAvgPool,
        GlobalMaxPool,
        LocalResponseNorm,
        LPPool1d,
        LPPool2d,
        LPPool3d,
        MaxPool1d,
        MaxPool2d,
        MaxPool3d,
        Unfold,
        Upsample,
    )
    from graphc.nn.recurrent import (
        GRU,
        LSTM,
        RNN,
        GRUCell,
        LSTMCell,
        RNNCell,
    )
    from graphc.nn.transformer import (
        MultiHeadAttention,
        PositionalEncoding,
        TransformerEncoder,
        TransformerEncoderLayer,
        positional_encoding,
    )

MODULE_FILES = (
    "module",
    "containers",
    "init",
    "layers",
    "activation_layers",
    "conv_layers",
    "norm_layers",
    "recurrent",
    "transformer",
    "loss_layers",
    "pooling_layers",
    "model_summary",
    "function_module",
)
"""The files of modules, which `import graphc` does not read: their names are looked up, in this order, when used."""


def __getattr__(name: str) -> Any:
    if name == "init":
        return importlib.import_module("graphc.nn.init")
    if name in __all__:
        for file in MODULE_FILES:
            module = importlib.import_module(f"graphc.nn.{file}")
            if name in module.__all__:
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'graphc.nn' has no attribute {name!r}{advice('nn', name)}")


def __dir__() -> list[str]:
    return [*__all__, *MODULE_FILES]


__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "CTCLoss",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "Flatten",
    "Fold",
    "FunctionModule",
    "GRUCell",
    "GaussianNLLLoss",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeLoss",
    "HuberLoss",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiHeadAttention",
    "NLLLoss",
    "PReLU",
    "PoissonNLLLoss",
    "PositionalEncoding",
    "RMSNorm",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Summary",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unflatten",
    "Unfold",
    "Upsample",
    "init",
    "positional_encoding",
    "set_seed",
    "summary",
]
__all__ += activations.__all__
__all__ += attention.__all__
__all__ += convolution.__all__
__all__ += ctc.__all__
__all__ += functional.__all__
__all__ += interpolation.__all__
__all__ += losses.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__
