"""`gc.special`: special functions with SciPy's names, on nodes."""

from typing import Any

from graphc.graph.elsewhere import advice
from graphc.ops.special import digamma, erf, erfc, erfcx, gammaln, log_ndtr, ndtr, polygamma

__all__ = ["digamma", "erf", "erfc", "erfcx", "gammaln", "log_ndtr", "ndtr", "polygamma"]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'graphc.special' has no attribute {name!r}{advice('special', name)}")
