"""`gc.special`: special functions with SciPy's names, on nodes."""

from graphc.ops.special import digamma, erf, erfc, gammaln, polygamma

__all__ = ["digamma", "erf", "erfc", "gammaln", "polygamma"]
