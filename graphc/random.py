"""`gc.random`: random numbers as nodes, from generators whose state advances by itself.

A `Generator` is a key and a position in that key's stream of Philox4x32-10 blocks. A draw of n elements takes n
positions; element i depends only on the key, its position and its parameters, so the same bits come out in every
mode, on every machine, and however a stream is cut into calls. A compiled function takes consecutive ranges for its
draws, in the order in which the program made them, and moves the position past them with its updates; `node.eval`
computes the same numbers and moves nothing.

Bits, integers, uniforms, normals, and what is drawn by acceptance or rejection are equal bit for bit everywhere;
distributions that need a logarithm, an exponential or a tangent are as equal as those functions of the chosen
`precision` are. The distributions themselves are in `graphc.distributions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc.distributions as laws
from graphc.graph.arguments import checked
from graphc.graph.elsewhere import advice
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.graph.op import shared
from graphc.graph.types import Shape
from graphc.ops.random import UINT64, Range, draw
from graphc.ops.random_formulas import LOW, philox4x32
from graphc.ops.random_parameters import given_shape

__all__ = ["Generator", "GeneratorState"]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'graphc.random' has no attribute {name!r}{advice('random', name)}")


SPLIT = 1
"""The last counter word of blocks that become keys; those of draws have 0, and above 1 for further blocks."""


@dataclass(frozen=True)
class GeneratorState:
    """A generator's key, its position, and how many generators it has split off."""

    key: int
    position: int
    splits: int


class Generator:
    """A stream of random numbers; each method returns a node of new draws.

    `shape` comes first and is the result's, by default that to which the parameters broadcast; parameters go by name.
    They are numbers, arrays or float nodes, and derivatives of every order flow through them wherever a number moves
    with them: through all continuous distributions, by implicit differentiation for gamma, beta, Dirichlet, chi2,
    Student's t, truncated normal and von Mises. The derivative of integers and booleans is zero. `dtype` is float64
    or float32, by default that of the parameters that are nodes or arrays.

    Numbers and arrays outside a distribution's range raise `ArgumentError`; where a node has such a value, the draw is
    NaN, -1 for integers, False for booleans.

    A loop or a branch that draws takes one number, as the key of a stream of its own in which every step has its place:
    a step's numbers are the same in every mode and for every `checkpoint`, and new in every call and every step.
    `node.eval` of two draws, one at a time, starts both at the same position; use `gc.evaluate` for both. Functions in
    several threads may share a generator: each call takes its numbers and moves the position as one step.

    >>> import graphc as gc
    >>> rng = gc.random.Generator(7)
    >>> f = gc.function([], rng.randint((4,), 0, 100))
    >>> first, second = f(), f()
    >>> rng.set_state(gc.random.GeneratorState(key=7, position=4, splits=0))
    >>> bool((f() == second).all())
    True
    """

    @checked
    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise ArgumentError(f"Generator: seed must be an int from 0 to 2**64 - 1, got {seed!r}{at()}")
        self.key = shared(np.array(int(seed), UINT64), name="key")
        self.position = shared(np.array(0, UINT64), name="position")
        self._splits = 0

    def _take(self, shape: Shape) -> Range:
        return draw(self.key, self.position, shape)

    # -- state

    def get_state(self) -> GeneratorState:
        """Return the state, from which `set_state` continues."""
        return GeneratorState(int(self.key.get_value()), int(self.position.get_value()), self._splits)

    def set_state(self, state: GeneratorState) -> None:
        """Continue from a state that `get_state` returned, of this generator or another."""
        if not isinstance(state, GeneratorState):
            raise ArgumentError(f"set_state: a GeneratorState is needed, got {state!r}{at()}")
        numbers = state.key, state.position, state.splits
        if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**64 for n in numbers):
            raise ArgumentError(f"set_state: numbers from 0 to 2**64 - 1 are needed, got {state!r}{at()}")
        self.key.set_value(np.array(state.key, UINT64))
        self.position.set_value(np.array(state.position, UINT64))
        self._splits = state.splits

    def split(self) -> Generator:
        """Return a new generator, whose key is a block of this one's key that no draw uses.

        Every call gives another; this generator's own draws stay as they are.
        """
        key = int(self.key.get_value())
        counter = self._splits & LOW, self._splits >> 32, 0, SPLIT
        low, high = philox4x32(counter, (key & LOW, key >> 32))[:2]
        self._splits += 1
        return Generator((low & LOW) | (high & LOW) << 32)

    # -- bits and integers

    def bits(self, shape: Any = ()) -> Node:
        """Return uint64 of 64 random bits each.

        >>> hex(int(Generator(0).bits().eval()))
        '0xe169c58d6627e8d5'
        """
        return self._take(given_shape("bits", shape)).numbers("bits", UINT64)

    def randint(self, shape: Any, low: Any, high: Any) -> Node:
        """Return int64 of low, ..., high - 1; the bounds are ints or integer nodes, and low < high.

        The probabilities are equal to within 2**-64.
        """
        return laws.randint(self._take, shape, low, high)

    def bernoulli(self, shape: Any = None, *, p: Any = 0.5) -> Node:
        """Return booleans that are True with probability `p`, to 2**-53."""
        return laws.bernoulli(self._take, shape, p)

    def binomial(self, shape: Any = None, *, n: Any, p: Any) -> Node:
        """Return int64: the successes among `n` (integer) trials that succeed with probability `p`.

        By inversion for means below 10, else by Hoermann's BTRS (1993); exact in distribution for n up to 2**53.
        """
        return laws.binomial(self._take, shape, n, p)

    def geometric(self, shape: Any = None, *, p: Any) -> Node:
        """Return int64 from 1: the trials up to and including the first success, of probability `p`."""
        return laws.geometric(self._take, shape, p)

    def poisson(self, shape: Any = None, *, lam: Any = 1.0) -> Node:
        """Return int64 of Poisson numbers of mean `lam`.

        By inversion for means below 10, else by Hoermann's PTRS (1993), up to the largest int64.
        """
        return laws.poisson(self._take, shape, lam)

    def negative_binomial(self, shape: Any = None, *, n: Any, p: Any) -> Node:
        """Return int64 from 0: the failures before `n` (a float > 0) successes of probability `p`.

        A Poisson number whose mean is a gamma number.
        """
        return laws.negative_binomial(self._take, shape, n, p)

    def categorical(self, logits: Any, shape: Any = None) -> Node:
        """Return int64 positions along the last axis of `logits`, with probabilities softmax(logits).

        `shape` is the result's, to which the other axes of `logits` broadcast. Computed as the position of the
        largest of logits + Gumbel numbers.
        """
        return laws.categorical(self._take, logits, shape)

    def multinomial(self, n: Any, pvals: Any, shape: Any = None) -> Node:
        """Return int64 counts of `n` trials along the last axis of `pvals`, whose sums are scaled to 1.

        `shape` is that of the result without its last axis, to which `n` and the other axes of `pvals` broadcast. The
        number of categories must be known.

        >>> int(Generator(3).multinomial(100, [0.2, 0.3, 0.5]).sum().eval())
        100
        """
        return laws.multinomial(self._take, n, pvals, shape)

    # -- continuous distributions

    def uniform(self, shape: Any = None, *, low: Any = 0.0, high: Any = 1.0, dtype: Any = None) -> Node:
        """Return numbers of [low, high), multiples of 2**-53 (2**-24 in float32) of the interval."""
        return laws.uniform(self._take, shape, low, high, dtype)

    def normal(self, shape: Any = None, *, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None) -> Node:
        """Return normal numbers."""
        return laws.normal(self._take, shape, mean, std, dtype)

    def multivariate_normal(self, mean: Any, cov: Any, shape: Any = None, *, dtype: Any = None) -> Node:
        """Return normal vectors along the last axis, of mean vector `mean` and covariance matrix `cov`.

        `shape` is that of the result without its last axis, to which the other axes of `mean` and those of `cov` before
        its last two broadcast. Derivatives flow through the Cholesky factor; a `cov` that is not positive definite
        raises `LinAlgError` in the call.

        >>> Generator(0).multivariate_normal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]], (100,)).shape
        (100, 2)
        """
        return laws.multivariate_normal(self._take, mean, cov, shape, dtype)

    def truncated_normal(
        self, shape: Any = None, *, low: Any, high: Any, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None
    ) -> Node:
        """Return normal numbers of `mean` and `std` that lie between `low` and `high`, which may be infinite.

        >>> x = Generator(0).truncated_normal((1000,), low=-2.0, high=2.0).eval()
        >>> bool((abs(x) <= 2).all())
        True
        """
        return laws.truncated_normal(self._take, shape, low, high, mean, std, dtype)

    def lognormal(self, shape: Any = None, *, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None) -> Node:
        """Return the exponential of normal numbers of that mean and standard deviation."""
        return laws.lognormal(self._take, shape, mean, std, dtype)

    def exponential(self, shape: Any = None, *, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return exponentially distributed numbers of mean `scale`."""
        return laws.exponential(self._take, shape, scale, dtype)

    def gamma(self, shape: Any = None, *, a: Any, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return gamma numbers of shape parameter `a`, of mean a * scale.

        By Marsaglia and Tsang (2000), in float64 whatever the `dtype`; for a < 1 boosted by a power of a uniform.
        """
        return laws.gamma(self._take, shape, a, scale, dtype)

    def beta(self, shape: Any = None, *, a: Any, b: Any, dtype: Any = None) -> Node:
        """Return beta numbers, x / (x + y) for gamma numbers of shapes `a` and `b`, from their logarithms."""
        return laws.beta(self._take, shape, a, b, dtype)

    def dirichlet(self, alpha: Any, shape: Any = None, *, dtype: Any = None) -> Node:
        """Return probabilities along the last axis: gamma numbers of shapes `alpha` divided by their sum.

        `shape` is that of the result without its last axis, to which the other axes of `alpha` broadcast. Computed
        from the gamma numbers' logarithms, so that small `alpha` give no 0 / 0.
        """
        return laws.dirichlet(self._take, alpha, shape, dtype)

    def chi2(self, shape: Any = None, *, df: Any, dtype: Any = None) -> Node:
        """Return chi-square numbers of `df` degrees of freedom, a float > 0."""
        return laws.chi2(self._take, shape, df, dtype)

    def student_t(self, shape: Any = None, *, df: Any, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return loc + scale t for Student's t of `df` degrees of freedom, a float > 0."""
        return laws.student_t(self._take, shape, df, loc, scale, dtype)

    def gumbel(self, shape: Any = None, *, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return Gumbel numbers: loc - scale log(e) for standard exponential e."""
        return laws.located("gumbel", laws.gumbel_quantile, self._take, shape, loc, scale, dtype)

    def logistic(self, shape: Any = None, *, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return logistic numbers."""
        return laws.located("logistic", laws.logistic_quantile, self._take, shape, loc, scale, dtype)

    def laplace(self, shape: Any = None, *, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return Laplace (double exponential) numbers."""
        return laws.located("laplace", laws.laplace_quantile, self._take, shape, loc, scale, dtype)

    def cauchy(self, shape: Any = None, *, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return Cauchy numbers."""
        return laws.located("cauchy", laws.cauchy_quantile, self._take, shape, loc, scale, dtype)

    def weibull(self, shape: Any = None, *, a: Any = 1.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return Weibull numbers of shape parameter `a`: scale e**(1/a) for standard exponential e."""
        return laws.weibull(self._take, shape, a, scale, dtype)

    def pareto(self, shape: Any = None, *, a: Any = 1.0, scale: Any = 1.0, dtype: Any = None) -> Node:
        """Return Pareto numbers on [scale, inf), with P(X > x) = (scale / x)**a."""
        return laws.pareto(self._take, shape, a, scale, dtype)

    def vonmises(self, shape: Any = None, *, mu: Any = 0.0, kappa: Any, dtype: Any = None) -> Node:
        """Return angles from -pi to pi about `mu`, of density proportional to exp(kappa cos(angle - mu)).

        By Best and Fisher (1979), in float64 whatever the `dtype`.
        """
        return laws.vonmises(self._take, shape, mu, kappa, dtype)

    # -- order

    def permutation(self, n: Any, shape: Any = ()) -> Node:
        """Return 0, ..., n - 1 in random order along the last axis, as int64; `n` is an int or a dimension.

        `shape` is that of the other axes, each with an order of its own.
        """
        return laws.permutation(self._take, n, shape)

    @checked
    def shuffle(self, x: Any, *, axis: int = 0) -> Node:
        """Return `x` with its parts along `axis` in random order.

        >>> sorted(Generator(1).shuffle([3, 1, 2]).eval().tolist())
        [1, 2, 3]
        """
        return laws.shuffle(self._take, x, axis)

    @checked
    def choice(self, a: Any, shape: Any = (), *, replace: bool = True, p: Any = None) -> Node:
        """Return values of the array `a` along its first axis, or positions where `a` is an int or a dimension.

        All are equally likely, or as likely as `p`, whose sum is scaled to 1. Without `replace` each is chosen at most
        once: one after the other, with `p` among what is left. The result has `shape`, then the other axes of `a`.
        """
        return laws.choice(self._take, a, shape, replace, p)
