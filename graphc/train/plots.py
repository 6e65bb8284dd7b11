"""`gc.plots`: the pictures that training asks for, drawn by matplotlib (`pip install 'graphc[plots]'`).

matplotlib is imported when the first picture is drawn. Every function draws into the axes it is given, or into those
of a new figure, and returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.graph.arguments import checked, optional
from graphc.graph.errors import ArgumentError, ShapeError, at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion_matrix", "loss_curves"]


@checked
def loss_curves(
    history: Mapping[str, Sequence[float]], *, names: Sequence[str] | None = None, log: bool = False, ax: Any = None
) -> Axes:
    """Draw the numbers of `gc.fit`'s history over the epochs; validation is dashed, in the colour of its number.

    Parameters
    ----------
    history
        What `gc.fit` returned, or lists of equal length by name.
    names
        Which numbers to draw; by default all. A number's validation comes with it.
    log
        Whether the vertical axis is logarithmic.
    """
    if not history or (names is not None and not set(names) <= set(history)):
        raise ArgumentError(f"loss_curves: history has {list(history) or 'nothing'}, {names or 'a curve'} needed{at()}")
    axes: Axes = _axes(ax)
    from matplotlib.ticker import MaxNLocator

    chosen = [n for n in history if names is None or n in names or n.removeprefix("val_") in names]
    bases = list(dict.fromkeys(n.removeprefix("val_") for n in chosen))
    for name in chosen:
        epochs = np.arange(1, len(history[name]) + 1)
        base = name.removeprefix("val_")
        style = "--" if name != base else "-"
        axes.plot(epochs, history[name], style, color=f"C{bases.index(base)}", label=name, marker=_marker(epochs))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
    axes.legend()
    return axes


@checked
def confusion_matrix(
    matrix: Any, labels: Sequence[Any] | None = None, *, normalize: bool = False, ax: Any = None
) -> Axes:
    """Draw the counts of `gc.metrics.confusion_matrix`, true classes down, predicted ones across.

    Parameters
    ----------
    matrix
        Counts of shape (classes, classes).
    labels
        The names of the classes; by default their numbers.
    normalize
        Whether to show every row as shares of the true class.
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iuf":
        raise ShapeError(f"confusion_matrix: counts (n, n) are needed, got {counts.dtype} {counts.shape}{at()}")
    names = [str(name) for name in (range(len(counts)) if labels is None else labels)]
    if len(names) != len(counts):
        raise ShapeError(f"confusion_matrix: {len(names)} labels for {len(counts)} classes{at()}")
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals == 0, 1, totals)
    axes: Axes = _axes(ax)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(counts.shape):
        text = f"{shares[i, j]:.2f}" if normalize else f"{counts[i, j]:g}"
        axes.text(j, i, text, ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return axes


def _marker(epochs: Any) -> str:
    return "o" if len(epochs) < 3 else ""  # a line through one point cannot be seen


def _axes(ax: Any) -> Any:
    """Return the axes given, or those of a new figure."""
    if ax is not None:
        return ax
    pyplot = optional("matplotlib.pyplot", "gc.plots", "matplotlib", "plots")
    return pyplot.subplots(layout="constrained")[1]
