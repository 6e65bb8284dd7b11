"""Losses as modules, one row each: `CrossEntropyLoss(label_smoothing=0.1)(logits, labels)`.

Settings are those of the function of the same name; arrays among them (class weights) are not trained.
"""

from __future__ import annotations

from graphc.nn.ctc import ctc_loss
from graphc.nn.function_module import FunctionModule
from graphc.nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cosine_similarity,
    cross_entropy,
    gaussian_nll_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
]


class BCELoss(FunctionModule):
    """`gc.nn.binary_cross_entropy` as a module."""

    function = staticmethod(binary_cross_entropy)
    operands = 2


class BCEWithLogitsLoss(FunctionModule):
    """`gc.nn.binary_cross_entropy_with_logits` as a module."""

    function = staticmethod(binary_cross_entropy_with_logits)
    operands = 2


class CTCLoss(FunctionModule):
    """`gc.nn.ctc_loss` as a module."""

    function = staticmethod(ctc_loss)
    operands = 4


class CosineEmbeddingLoss(FunctionModule):
    """`gc.nn.cosine_embedding_loss` as a module."""

    function = staticmethod(cosine_embedding_loss)
    operands = 3


class CosineSimilarity(FunctionModule):
    """`gc.nn.cosine_similarity` as a module."""

    function = staticmethod(cosine_similarity)
    operands = 2


class CrossEntropyLoss(FunctionModule):
    """`gc.nn.cross_entropy` as a module."""

    function = staticmethod(cross_entropy)
    operands = 2


class GaussianNLLLoss(FunctionModule):
    """`gc.nn.gaussian_nll_loss` as a module."""

    function = staticmethod(gaussian_nll_loss)
    operands = 3


class HingeLoss(FunctionModule):
    """`gc.nn.hinge_loss` as a module."""

    function = staticmethod(hinge_loss)
    operands = 2


class HuberLoss(FunctionModule):
    """`gc.nn.huber_loss` as a module."""

    function = staticmethod(huber_loss)
    operands = 2


class KLDivLoss(FunctionModule):
    """`gc.nn.kl_div` as a module."""

    function = staticmethod(kl_div)
    operands = 2


class L1Loss(FunctionModule):
    """`gc.nn.l1_loss` as a module."""

    function = staticmethod(l1_loss)
    operands = 2


class MSELoss(FunctionModule):
    """`gc.nn.mse_loss` as a module."""

    function = staticmethod(mse_loss)
    operands = 2


class MarginRankingLoss(FunctionModule):
    """`gc.nn.margin_ranking_loss` as a module."""

    function = staticmethod(margin_ranking_loss)
    operands = 3


class NLLLoss(FunctionModule):
    """`gc.nn.nll_loss` as a module."""

    function = staticmethod(nll_loss)
    operands = 2


class PoissonNLLLoss(FunctionModule):
    """`gc.nn.poisson_nll_loss` as a module."""

    function = staticmethod(poisson_nll_loss)
    operands = 2


class SmoothL1Loss(FunctionModule):
    """`gc.nn.smooth_l1_loss` as a module."""

    function = staticmethod(smooth_l1_loss)
    operands = 2
