"""`Source`: what `f.source` is, the text of a standalone Numba module that is written when it is first read."""

from __future__ import annotations

from collections import UserString
from pathlib import Path

from graphc.graph.arguments import PathLike, checked


class Source(UserString):
    """The text of a module: the words that the kernels use, the kernels under `numba.njit`, and what runs them.

    A string in all but its type; `str` gives one. It needs NumPy and Numba, and SciPy where kernels call BLAS, but no
    graphc; with `NUMBA_DISABLE_JIT=1` it runs as plain Python. Elementary functions are NumPy's there, which differ
    from those of the compiled program by a few units in the last place.

    The module's `run(inputs, state)` returns the outputs at the shapes of the function's last call, or of its inputs
    where none depends on a call; before a first call that tells the sizes, the text has the kernels only.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=(3,))
    >>> f = gc.function([x], gc.exp(x) + 1)
    >>> space = {"__name__": "kernels"}
    >>> exec(str(f.source), space)
    >>> space["run"]([[0.0, 0.0, 0.0]])
    [array([2., 2., 2.])]
    """

    def __init__(self, text: object, kernels: str = "") -> None:
        self._text = text
        self.kernels = kernels
        """The text of every distinct kernel, as graphc's own pipeline compiles it."""

    @property
    def data(self) -> str:  # type: ignore[override]
        """The text, from what writes it; parts and copies of strings are made from text."""
        if callable(self._text):
            self._text = self._text()
        return str(self._text)

    @checked
    def save(self, path: PathLike) -> None:
        """Write the module to a file, which `python` runs."""
        Path(path).write_text(self.data, encoding="utf-8")
