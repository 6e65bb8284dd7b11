"""`gc.special`: special functions with SciPy's names, on nodes."""

from graphc.ops.special import digamma, erf, erfc, erfcx, gammaln, log_ndtr, ndtr, polygamma

__all__ = ["digamma", "erf", "erfc", "erfcx", "gammaln", "log_ndtr", "ndtr", "polygamma"]
