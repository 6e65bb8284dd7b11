"""Special functions against SciPy, left of 0 and near the poles included."""

from __future__ import annotations

import scipy.special

import graphc as gc
from tests.cases import Case

INF = float("inf")
NAN = float("nan")
EDGES = (0.0, -0.0, 1.0, 2.0, 0.5, -0.5, -2.5, -3.0, 1e-8, 30.0, 1e5, INF, NAN)
EVERYWHERE = (*EDGES, -INF, -1e5, 1e300)

CASES: list[Case] = [
    Case("erf", gc.special.erf, scipy.special.erf, special=EVERYWHERE),
    Case("erfc", gc.special.erfc, scipy.special.erfc, special=(*EVERYWHERE, 26.0)),
    Case("ndtr", gc.special.ndtr, scipy.special.ndtr, special=(*EVERYWHERE, -37.0)),
    Case("erfcx", gc.special.erfcx, scipy.special.erfcx, special=EVERYWHERE),
    Case("log_ndtr", gc.special.log_ndtr, scipy.special.log_ndtr, special=(*EVERYWHERE, -37.0, -1e8)),
    Case("gammaln", gc.special.gammaln, scipy.special.gammaln, low=0.3, high=5, special=EDGES),
    Case("gammaln-negative", gc.special.gammaln, scipy.special.gammaln, low=-2.8, high=-2.2),
    Case("digamma", gc.special.digamma, scipy.special.digamma, low=0.3, high=5, special=EDGES),
    Case("digamma-negative", gc.special.digamma, scipy.special.digamma, low=-2.8, high=-2.2),
    *(
        Case(
            f"polygamma-{n}",
            lambda x, n=n: gc.special.polygamma(n, x),
            lambda x, n=n: scipy.special.polygamma(n, x).astype(x.dtype),
            low=0.4,
            high=5,
            special=(1.0, 0.5, 1e-3, 30.0, 1e5),
        )
        for n in range(4)
    ),
    Case(
        "polygamma-negative",
        lambda x: gc.special.polygamma(1, x),
        lambda x: scipy.special.polygamma(1, x).astype(x.dtype),
        low=-2.8,
        high=-2.2,
    ),
]
