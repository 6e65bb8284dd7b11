"""Pictures of training: what their axes show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

import graphc as gc

matplotlib.use("Agg")
from matplotlib import pyplot


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    pyplot.close("all")


def history(epochs: int = 3) -> gc.History:
    found = gc.History()
    for i in range(epochs):
        found.add({"loss": 1 / (i + 1), "accuracy": i / 3, "val_loss": 2 / (i + 1)})
    return found


def curves(ax: Any) -> dict[str, tuple[list[float], list[float], str, str]]:
    return {
        str(line.get_label()): (
            line.get_xdata().tolist(),
            list(line.get_ydata()),
            line.get_linestyle(),
            line.get_color(),
        )
        for line in ax.lines
    }


def test_loss_curves_show_every_number(tmp_path: Path) -> None:
    seen = history()
    ax = gc.plots.loss_curves(seen)
    found = curves(ax)
    assert {name: (x, y) for name, (x, y, _, _) in found.items()} == {n: ([1, 2, 3], seen[n]) for n in seen}
    assert [found[n][2] for n in ("loss", "accuracy", "val_loss")] == ["-", "-", "--"]
    assert found["loss"][3] == found["val_loss"][3] != found["accuracy"][3]
    assert ax.get_xlabel() == "epoch" and ax.get_yscale() == "linear"
    pyplot.gcf().savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_chosen_curves_into_given_axes() -> None:
    _, ax = pyplot.subplots()
    assert gc.plots.loss_curves(history(1), names=["loss"], log=True, ax=ax) is ax
    assert list(curves(ax)) == ["loss", "val_loss"] and ax.get_yscale() == "log"
    assert ax.lines[0].get_marker() == "o"
    gc.plots.loss_curves({"a": [1.0, 2.0]})
    with pytest.raises(gc.ArgumentError, match=r"history has \['loss', 'accuracy', 'val_loss'\], \['f1'\] needed"):
        gc.plots.loss_curves(history(), names=["f1"])
    with pytest.raises(gc.ArgumentError, match="history has nothing"):
        gc.plots.loss_curves(gc.History())


@pytest.mark.parametrize("normalize", [False, True])
def test_confusion_matrix_shows_counts_or_shares(normalize: bool) -> None:
    counts = gc.metrics.confusion_matrix([0, 0, 0, 0, 1, 2], [0, 0, 0, 1, 1, 1])
    ax = gc.plots.confusion_matrix(counts, ["cat", "dog", "owl"], normalize=normalize)
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert texts[(1, 0)] == ("0.25" if normalize else "1")  # column 1, row 0
    assert texts[(0, 0)] == ("0.75" if normalize else "3") and len(texts) == 9
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 1, 0]])  # type: ignore[arg-type]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "dog", "owl"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


def test_confusion_matrix_refuses() -> None:
    with pytest.raises(gc.ShapeError, match=r"counts \(n, n\) are needed, got int64 \(2, 3\)"):
        gc.plots.confusion_matrix(np.ones((2, 3), int))
    with pytest.raises(gc.ShapeError, match="1 labels for 2 classes"):
        gc.plots.confusion_matrix(np.eye(2), ["a"])
    gc.plots.confusion_matrix(np.zeros((2, 2)))  # a class without rows


MISSING: dict[tuple[str, str, str], Callable[[], Any]] = {
    ("matplotlib", "matplotlib", "plots"): lambda: gc.plots.loss_curves(history()),
    ("tensorboardX", "tensorboardX", "tensorboard"): lambda: gc.TensorBoard("runs"),
    ("sklearn", "scikit-learn", "sklearn"): lambda: gc.sklearn,
}


@pytest.mark.parametrize(("names", "use"), MISSING.items(), ids=[m for m, *_ in MISSING])
def test_what_is_missing_is_named(
    names: tuple[str, str, str], use: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, package, extra = names
    for name in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(gc.ArgumentError, match=rf"needs {package}: pip install 'graphc\[{extra}\]'  \[test_plots.py"):
        use()
