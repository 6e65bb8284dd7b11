"""Samplers that accept or reject, one element at a time: gamma, truncated normal, von Mises, Poisson and binomial.

Attempt t of an element uses the Philox block of (key, position, t, stream), so an element depends on nothing else, and
several samplers of one element (the two gammas of a beta) take different streams. All arithmetic is float64 of a fixed
order: both machines take the same decisions. Parameters outside a distribution's range give NaN, or -1 where
the result is an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ops.random_elementary import (
    INF,
    exponential,
    log1p,
    log_binomial,
    log_poisson,
    smaller,
)
from graphc.ops.random_formulas import Words, logarithm, more_words, open_of, radius, signed, sine
from graphc.ops.random_machine import Machine, Scalar

NAN = float("nan")
LAST_ATTEMPT = 1 << 20
"""No attempt comes close: each succeeds with a probability of at least 0.4."""
BOOST = 1 << 31
"""The attempt whose block scales gammas of a < 1."""
LARGEST = 2.0**63 - 1024
"""The largest float64 that int64 holds."""


def lazily(
    m: Machine, function: Callable[..., Scalar], needed: Scalar, operands: Sequence[Scalar], otherwise: Scalar
) -> Scalar:
    """Return function(m, *operands) where `needed`, which alone pays for it, and `otherwise` elsewhere."""

    def step(m: Machine, *args: Scalar) -> tuple[Scalar, tuple[Scalar, ...]]:
        return args[0] == args[0], (function(m, *args[1:-1]),)

    return m.loop(step, needed, (needed, *operands), (otherwise,))[0]


def coarse(m: Machine, word: Scalar) -> Scalar:
    """Return a word as an odd multiple of 2**-33 in (0, 1)."""
    return (signed(m, word, "f64") + 0.5) * 2.0**-32 + 0.5


def normal_of(m: Machine, block: Words) -> Scalar:
    """Return a standard normal from the first three words, its angle of 32 bits."""
    w0, w1, w2, _ = block
    return radius(m, open_of(m, w0, w1), "f64") * sine(coarse(m, w2) - 0.5, "f64")


# -- gamma


def _gamma_step(
    m: Machine, key: Scalar, position: Scalar, stream: Scalar, d: Scalar, attempt: Scalar, _: Scalar
) -> tuple[Scalar, tuple[Scalar, ...]]:
    """Try once for a > 1: Marsaglia and Tsang (2000), "A simple method for generating gamma variables"."""
    block = more_words(key, position, attempt, stream)
    x, u = normal_of(m, block), coarse(m, block[3])
    h = x / (m.sqrt(d) * 3.0)
    positive = h > -1.0
    v = (h + 1.0) * (h + 1.0) * (h + 1.0)
    squeezed = u < 1.0 - 0.0331 * (x * x) * (x * x)
    accepted = lazily(m, _gamma_accepts, positive & ~squeezed, (x, u, d, h, v), positive & squeezed)
    return accepted | (attempt >= LAST_ATTEMPT), (attempt + 1, v)


def _gamma_accepts(m: Machine, x: Scalar, u: Scalar, d: Scalar, h: Scalar, v: Scalar) -> Scalar:
    """Decide by the density; for large d, whose terms cancel, by the first terms of the series in h."""
    bound = 0.5 * x * x + d * ((1.0 - v) + logarithm(m, v))
    series = d * (h * h) * (h * h) * (0.6 * h - 0.75)
    return logarithm(m, u) < m.select(d > 1e7, series, bound)


def _gamma(
    m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, a: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Return a gamma number of shape max(a, a + 1 if a < 1), that the power u**(1/a) boosts; and log(u)."""
    position = start + index
    valid = (a > 0.0) & (a < INF)
    d = m.select(a < 1.0, a + 1.0, a) - 1 / 3
    attempt = position & 0
    v = m.loop(_gamma_step, valid, (key, position, stream, d), (attempt, a * NAN))[1]
    return d * v, valid & (a < 1.0), lazily(m, _log_boost, valid & (a < 1.0), (key, position, stream), a * 0.0)


def _log_boost(m: Machine, key: Scalar, position: Scalar, stream: Scalar) -> Scalar:
    w0, w1, _, _ = more_words(key, position, (position & 0) + BOOST, stream)
    return logarithm(m, open_of(m, w0, w1))


def gamma(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, a: Scalar) -> Scalar:
    """Return a gamma number of shape a and scale 1; 0 where it is too small for float64."""
    y, boosted, log_u = _gamma(m, key, start, index, stream, a)
    return y * lazily(m, lambda m, log_u, a: exponential(m, log_u / a), boosted, (log_u, a), a * 0.0 + 1.0)


def loggamma(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, a: Scalar) -> Scalar:
    """Return the logarithm of `gamma`'s number, also where that is too small for float64."""
    y, boosted, log_u = _gamma(m, key, start, index, stream, a)
    boost = m.select(boosted, log_u / a, 0.0)
    return m.select(y > 0.0, logarithm(m, m.select(y > 0.0, y, 1.0)) + boost, NAN)


# -- truncated normal

WIDE = 2.5066282746310002
"""sqrt(2 pi): an interval around 0 that is wider is sampled by normals, a narrower one by uniforms."""


def truncated(
    m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, low: Scalar, high: Scalar
) -> Scalar:
    """Return a standard normal between low and high, which may be infinite.

    Normals, uniforms, or beyond 0 the exponentials of Robert (1995), "Simulation of truncated normal variables", cut
    at the far bound; each proposal is accepted with a probability of at least 0.49.
    """
    position = start + index
    mirrored = high < 0.0
    a, b = m.select(mirrored, -high, low), m.select(mirrored, -low, high)
    tail = a > 0.0
    root = m.sqrt(a * a + 4.0)
    rate = m.select(a > 1e8, a, 0.5 * (a + root))
    flat = (~tail & (b - a < WIDE)) | (tail & ((b - a) * rate < 0.5))
    operands = key, position, stream, a, b, rate, tail, flat
    x = m.loop(_truncated_step, low < high, operands, (position & 0, low * NAN))[1]
    x = m.select(x < a, a, x)
    x = m.select(x > b, b, x)
    return m.select(mirrored, -x, x)


def _truncated_step(
    m: Machine,
    key: Scalar,
    position: Scalar,
    stream: Scalar,
    a: Scalar,
    b: Scalar,
    rate: Scalar,
    tail: Scalar,
    flat: Scalar,
    attempt: Scalar,
    _: Scalar,
) -> tuple[Scalar, tuple[Scalar, ...]]:
    block = more_words(key, position, attempt, stream)
    u, v = open_of(m, block[0], block[1]), coarse(m, block[3])
    reach = 1.0 - exponential(m, (a - b) * rate)
    skewed = m.select(tail, a - logarithm(m, m.select(tail, 1.0 - u * reach, 1.0)) / rate, normal_of(m, block))
    x = m.select(flat, a + u * (b - a), skewed)
    peak = m.select(tail, a, 0.0)
    # The log of the acceptance probability of each proposal; normals are only cut.
    from_flat, from_tail = 0.5 * (peak - x) * (peak + x), -0.5 * (x - rate) * (x - rate)
    bound = m.select(flat, from_flat, m.select(tail, from_tail, 0.0))
    accepted = (logarithm(m, v) < bound) & (x >= a) & (x <= b)
    return accepted | (attempt >= LAST_ATTEMPT), (attempt + 1, x)


# -- von Mises


def vonmises(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, kappa: Scalar) -> Scalar:
    """Return tan(angle / 2) of a von Mises angle about 0.

    Best and Fisher (1979), "Efficient simulation of the von Mises distribution", with the wrapped Cauchy proposal
    written through half angles, in which no terms cancel for large or small kappa.
    """
    position = start + index
    k = smaller(m, kappa, 1e30)
    q = m.sqrt(1.0 + 4.0 * k * k)
    ratio = 0.5 * (1.0 + q) * (1.0 + m.sqrt(2.0 / (1.0 + q)))  # kappa / rho
    rho = k / ratio
    squeeze = (1.0 - rho) / (1.0 + rho)
    offset = 0.5 * ratio * (1.0 - rho) * (1.0 - rho)
    operands = key, position, stream, k, squeeze, offset
    return m.loop(_vonmises_step, kappa >= 0.0, operands, (position & 0, kappa * NAN))[1]


def _vonmises_step(
    m: Machine,
    key: Scalar,
    position: Scalar,
    stream: Scalar,
    kappa: Scalar,
    squeeze: Scalar,
    offset: Scalar,
    attempt: Scalar,
    _: Scalar,
) -> tuple[Scalar, tuple[Scalar, ...]]:
    block = more_words(key, position, attempt, stream)
    half, u = 0.5 * open_of(m, block[0], block[1]), coarse(m, block[2])
    t = squeeze * (sine(half, "f64") / sine(0.5 - half, "f64"))
    c = offset + 2.0 * kappa * (t * t / (1.0 + t * t))
    accepted = (c * (2.0 - c) > u) | (logarithm(m, c / u) + 1.0 >= c)
    signed_t = m.select((block[3] & 1) == 0, t, -t)
    return accepted | (attempt >= LAST_ATTEMPT), (attempt + 1, signed_t)


# -- geometric, Poisson and binomial


def geometric(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, p: Scalar) -> Scalar:
    """Return the number of trials up to the first success, of probability p, as int64."""
    position = start + index
    w0, w1, _, _ = more_words(key, position, position & 0, stream)
    inside = (p > 0.0) & (p < 1.0)
    safe = m.select(inside, p, 0.5)
    k = m.floor(logarithm(m, open_of(m, w0, w1)) / log1p(m, -safe)) + 1.0
    k = m.select(inside, k, m.select(p == 1.0, 1.0, k * 0.0 - 1.0))
    return m.convert(m.select(k < LARGEST, k, LARGEST), "i64")


FEW = 10.0
"""Means below this are sampled by inversion, from 0 upwards."""
LAST_COUNT = 1000.0


def poisson(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, lam: Scalar) -> Scalar:
    """Return a Poisson number of mean lam as int64."""
    position = start + index
    few = (lam >= 0.0) & (lam < FEW)
    k = lazily(m, _invert_poisson, few, (key, position, stream, lam), lam * 0.0 - 1.0)
    many = (lam >= FEW) & (lam < INF)
    k = m.loop(_poisson_step, many, (key, position, stream, lam), (position & 0, k))[1]
    k = m.select(many | few, k, -1.0)
    return m.convert(m.select(k < LARGEST, k, LARGEST), "i64")


def _invert_poisson(m: Machine, key: Scalar, position: Scalar, stream: Scalar, lam: Scalar) -> Scalar:
    """Walk up the distribution until its sum reaches a uniform number."""
    w0, w1, _, _ = more_words(key, position, position & 0, stream)
    state = lam * 0.0, exponential(m, -lam), open_of(m, w0, w1)

    def step(m: Machine, lam: Scalar, k: Scalar, p: Scalar, rest: Scalar) -> tuple[Scalar, tuple[Scalar, ...]]:
        done = (rest <= p) | (k >= LAST_COUNT)
        return done, (m.select(done, k, k + 1.0), p * lam / (k + 1.0), rest - p)

    return m.loop(step, lam == lam, (lam,), state)[0]


def _poisson_step(
    m: Machine, key: Scalar, position: Scalar, stream: Scalar, lam: Scalar, attempt: Scalar, _: Scalar
) -> tuple[Scalar, tuple[Scalar, ...]]:
    """Try once: PTRS of Hoermann (1993), "The transformed rejection method for generating Poisson variables"."""
    w0, w1, w2, w3 = more_words(key, position, attempt, stream)
    u, v = open_of(m, w0, w1) - 0.5, open_of(m, w2, w3)
    b = 0.931 + 2.53 * m.sqrt(lam)
    a = 0.02483 * b - 0.059
    us = 0.5 - m.select(u < 0.0, -u, u)
    k = m.floor((2.0 * a / us + b) * u + lam + 0.43)
    quick = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2.0))
    possible = (k >= 0.0) & ((us >= 0.013) | (v <= us))
    accepted = lazily(m, _poisson_accepts, possible & ~quick, (k, lam, v, a, b, us), quick)
    return accepted | (attempt >= LAST_ATTEMPT), (attempt + 1, k)


def _poisson_accepts(m: Machine, k: Scalar, lam: Scalar, v: Scalar, a: Scalar, b: Scalar, us: Scalar) -> Scalar:
    height = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b)
    return logarithm(m, height) <= log_poisson(m, k, lam)


def binomial(m: Machine, key: Scalar, start: Scalar, index: Scalar, stream: Scalar, n: Scalar, p: Scalar) -> Scalar:
    """Return the number of successes in n (int64) trials of probability p, as int64."""
    position = start + index
    count = m.convert(n, "f64")
    flipped = p > 0.5
    q = m.select(flipped, 1.0 - p, p)
    valid = (n >= 0) & (p >= 0.0) & (p <= 1.0)
    few = valid & (count * q < FEW)
    k = lazily(m, _invert_binomial, few, (key, position, stream, count, q), q * 0.0)
    many = valid & (count * q >= FEW)
    k = m.loop(_binomial_step, many, (key, position, stream, count, q), (position & 0, k))[1]
    k = m.convert(m.select(valid & (k < LARGEST), k, 0.0), "i64")
    k = m.select(k < n, k, n)
    return m.select(valid, m.select(flipped, n - k, k), -1)


def _invert_binomial(m: Machine, key: Scalar, position: Scalar, stream: Scalar, count: Scalar, p: Scalar) -> Scalar:
    """Walk up the distribution until its sum reaches a uniform number."""
    w0, w1, _, _ = more_words(key, position, position & 0, stream)
    odds = p / (1.0 - p)
    state = p * 0.0, exponential(m, count * log1p(m, -p)), open_of(m, w0, w1)

    def step(
        m: Machine, count: Scalar, odds: Scalar, k: Scalar, mass: Scalar, rest: Scalar
    ) -> tuple[Scalar, tuple[Scalar, ...]]:
        done = (rest <= mass) | (k >= count) | (k >= LAST_COUNT)
        return done, (m.select(done, k, k + 1.0), mass * ((count - k) / (k + 1.0)) * odds, rest - mass)

    return m.loop(step, p == p, (count, odds), state)[0]


def _binomial_step(
    m: Machine, key: Scalar, position: Scalar, stream: Scalar, n: Scalar, p: Scalar, attempt: Scalar, _: Scalar
) -> tuple[Scalar, tuple[Scalar, ...]]:
    """Try once: BTRS of Hoermann (1993), "The generation of binomial random variates", for p <= 1/2."""
    w0, w1, w2, w3 = more_words(key, position, attempt, stream)
    u, v = open_of(m, w0, w1) - 0.5, open_of(m, w2, w3)
    deviation = m.sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * deviation
    a = 0.0248 * b + 0.01 * p - 0.0873
    us = 0.5 - m.select(u < 0.0, -u, u)
    k = m.floor((2.0 * a / us + b) * u + n * p + 0.5)
    quick = (us >= 0.07) & (v <= 0.92 - 4.2 / b)
    possible = (k >= 0.0) & (k <= n)
    height = v * (2.83 + 5.1 / b) * deviation / (a / (us * us) + b)
    accepted = lazily(m, _binomial_accepts, possible & ~quick, (k, n, p, height), quick)
    return accepted | (attempt >= LAST_ATTEMPT), (attempt + 1, k)


def _binomial_accepts(m: Machine, k: Scalar, n: Scalar, p: Scalar, height: Scalar) -> Scalar:
    """Compare with the probability of k in units of that of the mode."""
    mode = m.floor((n + 1.0) * p)
    return logarithm(m, height) <= log_binomial(m, k, n, p) - log_binomial(m, mode, n, p)
