"""Losses as modules, one row each: `CrossEntropyLoss(label_smoothing=0.1)(logits, labels)`.

Settings are those of the function of the same name; arrays among them (class weights) are not trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.nn.ctc import ctc_loss
from graphc.nn.function_module import module, names_of
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

BCELoss = module("BCELoss", binary_cross_entropy, operands=2)
BCEWithLogitsLoss = module("BCEWithLogitsLoss", binary_cross_entropy_with_logits, operands=2)
CTCLoss = module("CTCLoss", ctc_loss, operands=4)
CosineEmbeddingLoss = module("CosineEmbeddingLoss", cosine_embedding_loss, operands=3)
CosineSimilarity = module("CosineSimilarity", cosine_similarity, operands=2)
CrossEntropyLoss = module("CrossEntropyLoss", cross_entropy, operands=2)
GaussianNLLLoss = module("GaussianNLLLoss", gaussian_nll_loss, operands=3)
HingeLoss = module("HingeLoss", hinge_loss, operands=2)
HuberLoss = module("HuberLoss", huber_loss, operands=2)
KLDivLoss = module("KLDivLoss", kl_div, operands=2)
L1Loss = module("L1Loss", l1_loss, operands=2)
MSELoss = module("MSELoss", mse_loss, operands=2)
MarginRankingLoss = module("MarginRankingLoss", margin_ranking_loss, operands=3)
NLLLoss = module("NLLLoss", nll_loss, operands=2)
PoissonNLLLoss = module("PoissonNLLLoss", poisson_nll_loss, operands=2)
SmoothL1Loss = module("SmoothL1Loss", smooth_l1_loss, operands=2)

if not TYPE_CHECKING:  # type checkers read the rows
    __all__ = names_of(globals())
