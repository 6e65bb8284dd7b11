"""`gc.nn`: what neural networks need, built on the public ops."""

from graphc.nn.functional import cross_entropy, relu

__all__ = ["cross_entropy", "relu"]
