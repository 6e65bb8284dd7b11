"""The numbers that textbooks print, from the pages in `examples/textbook/`.

The functions are the pages' own; the numbers here are copied from the books, the closed forms are NumPy's or mpmath's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from examples.textbook import page1_functions as page1
from examples.textbook import page2_graphs as page2
from examples.textbook import page3_derivatives_of_functions as page3
from examples.textbook import page4_framework as page4

# -- page 1: functions


def test_value_and_gradient_of_the_composition() -> None:
    assert page1.value(page1.square, 10.0) == 100
    assert page1.value(page1.exp_of_square, 0.5) == pytest.approx(1.648721270700128, rel=1e-15)
    assert page1.automatic_backward(page1.exp_of_square, 0.5) == pytest.approx(
        (1.648721270700128, 3.297442541400256), rel=1e-15
    )
    assert page1.automatic_backward(page1.square, 3.0) == (9, 6)


def test_the_chain_rule_by_hand() -> None:
    assert page1.manual_backward(0.5) == pytest.approx((2.568050833375483, 3.297442541400256, 3.297442541400256))


def test_numerical_and_automatic_derivatives_agree() -> None:
    assert page1.numerical_diff(page1.exp_of_square, 0.5) == pytest.approx(3.297442541400256, abs=1e-6)
    assert page1.check_gradients() < 1e-5


def test_a_chain_deeper_than_the_stack() -> None:
    value, slope = page1.deep_chain(3000, 1.0)
    x, product = 1.0, 1.0
    for _ in range(3000):
        product *= math.cos(x)
        x = math.sin(x)
    assert (value, slope) == pytest.approx((x, product), rel=1e-12)


# -- page 2: graphs


def test_variables_used_twice_and_the_diamond() -> None:
    assert page2.slopes(page2.twice, 3.0) == (6, 2)
    assert page2.slopes(page2.three_times, 3.0) == (9, 3)
    assert page2.slopes(page2.sum_of_squares, 2.0, 3.0) == (13, 4, 6)
    assert page2.slopes(page2.diamond, 2.0) == (32, 64)


def test_calls_accumulate_only_on_purpose() -> None:
    assert page2.called_twice(page2.twice, 3.0) == (2, 2)
    assert page2.called_twice(page2.diamond, 2.0) == (64, 64)
    assert page2.accumulated(page2.twice, 3.0, calls=3) == 6


def test_nodes_stand_after_their_operands() -> None:
    seen: set[str] = set()
    for line in page2.order_of_nodes().splitlines():
        name, _, rest = line.partition(": ")
        used = {token.strip("(),") for token in rest.split() if "%" in token}
        assert {token[token.index("%") :] for token in used} <= seen
        seen.add(name)
    assert len(seen) > 10


# -- page 3: functions of functions


def test_slopes_of_sin_cos() -> None:
    printed = np.array([-0.7216062, -0.831692, -0.07743199], "float32")
    slope = page3.grad(page3.sin_cos)(page3.POINTS)
    value, again = page3.value_and_grad(page3.sin_cos)(page3.POINTS)
    assert slope.dtype == value.dtype == np.float32
    np.testing.assert_allclose(slope, printed, rtol=0, atol=1e-7)
    np.testing.assert_allclose(again, printed, rtol=0, atol=1e-7)
    np.testing.assert_allclose(value, np.sin(np.cos([1.0, 2.0, 3.0])), rtol=0, atol=1e-7)


CLOSED = (
    (page3.sin_sin, lambda x: np.cos(np.sin(x)) * np.cos(x)),
    (page3.cos_sin_cos, lambda x: np.sin(np.sin(np.cos(x))) * np.cos(np.cos(x)) * np.sin(x)),
)


@pytest.mark.parametrize(("f", "closed"), CLOSED, ids=["sin_sin", "cos_sin_cos"])
def test_slopes_against_closed_forms(f: Any, closed: Any) -> None:
    np.testing.assert_allclose(page3.grad(f)(page3.POINTS), closed(np.array([1.0, 2.0, 3.0])), rtol=0, atol=1e-7)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("f", [page3.sin_cos, page3.sin_sin], ids=lambda f: f.__name__)
def test_higher_orders(f: Any, order: int) -> None:
    inner = mpmath.cos if f is page3.sin_cos else mpmath.sin
    with mpmath.workdps(30):
        wanted = [float(mpmath.diff(lambda t: mpmath.sin(inner(t)), x, order)) for x in (1, 2, 3)]
    np.testing.assert_allclose(page3.grad(f, order)(page3.POINTS), wanted, rtol=3e-7, atol=2e-7)


# -- page 4: the framework


def test_hand_written_net() -> None:
    losses = page4.hand_written()
    assert losses[:3] == pytest.approx([5.066439994622395, 0.4959907791902342, 0.4180671892167177], rel=1e-12)
    assert len(losses) == 10 and losses[-1] == pytest.approx(0.11613979792168384, rel=1e-12)


LINEAR: tuple[float, ...] = (2.33428272, 0.06743796, 0.0521849, 0.04079507, 0.03184365)
LINEAR += (0.02479336, 0.01925443, 0.01491699, 0.01153118, 0.00889602)
NONLINEAR: tuple[float, ...] = (1.06372865, 0.75148144, 0.57384259, 0.39574294, 0.2482279)
NONLINEAR += (0.15515294, 0.10423398, 0.07571169, 0.05837623, 0.04700013)
CLASSES: tuple[float, ...] = (
    1.3885032434928422,
    0.9558181509266036,
    0.6823083585795604,
    0.509525996749312,
    0.39574491472895856,
)
CLASSES += (0.3175252728534828, 0.26172228619642157, 0.22061283923954234, 0.18946427334830074, 0.16527389263866676)


def rounded(printed: Sequence[float]) -> Any:
    """Return what compares equal to numbers that were printed with eight digits after the point."""
    return pytest.approx(list(printed), rel=0, abs=5.1e-9)


def test_linear_layers() -> None:
    assert page4.linear_layers() == rounded(LINEAR)


def test_nonlinear_layers() -> None:
    assert page4.nonlinear_layers() == rounded(NONLINEAR)


def test_embedding_and_cross_entropy() -> None:
    assert page4.embedding_and_cross_entropy() == pytest.approx(list(CLASSES), rel=1e-12)


def test_rnn_cell_remembers_the_first_word() -> None:
    losses, places = page4.read_stories()
    assert losses[0] > 2 and losses[-1] < 0.05
    assert places == [story[-1] for story in page4.STORIES]


def test_stop_gradient_changes_the_gradient_only() -> None:
    whole, cut, norm, cut_norm = page4.truncated_gradients(2)
    assert cut == pytest.approx(whole, rel=1e-12)
    assert 0 < cut_norm < norm / 2
    # The sentence has five words to read: a cut every ten steps is none but at the start, which has no gradient.
    assert page4.truncated_gradients(10)[3] == pytest.approx(norm, rel=1e-12)


# -- the pages as scripts: `main` prints the numbers (`test_examples` runs scripts in processes of their own)

PRINTED = (
    (page1, ["= 1.64872127070012", "by gc.grad:                   3.29744254140025", "square'(3) = 6"]),
    (page2, ["(2, 3):          13.0 4.0 6.0", "at 2:     32.0 64.0", "called twice: 2.0 2.0"]),
    (page3, ["slope: [-0.72160", "-0.0774"]),
    (
        page4,
        [
            "0.4959907791902",
            "\n   0.00889602\n",
            "\n   0.04700013\n",
            "0.165273892638",
            "mary went back to the ... garden",
        ],
    ),
)


@pytest.mark.parametrize(("page", "wanted"), PRINTED, ids=lambda v: getattr(v, "__name__", ""))
def test_pages_print_their_numbers(page: Any, wanted: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    page.main()
    printed = capsys.readouterr().out
    assert [number for number in wanted if number not in printed] == []


def test_every_page_is_tested() -> None:
    folder = Path(str(page1.__file__)).parent
    assert {Path(str(page.__file__)) for page, _ in PRINTED} == set(folder.glob("*.py"))
