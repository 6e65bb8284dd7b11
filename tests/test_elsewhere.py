"""Names that people know from other libraries are answered with what to write here."""

from __future__ import annotations

import re
from typing import Any

import pytest

import graphc as gc
from graphc.graph.elsewhere import NAMESPACES, SPELLED


@pytest.mark.parametrize(
    ("namespace", "name", "answer"),
    [
        ("", "concatenate", "; write gc.concat"),
        ("", "cumsum", "; write gc.cumulative_sum"),
        ("", "arctan2", "; write gc.atan2"),
        ("", "relu", "; its name here is gc.nn.relu"),
        ("", "inv", "; its name here is gc.linalg.inv"),
        ("", "erf", "; its name here is gc.special.erf"),
        ("", "Adam", "; its name here is gc.optim.Adam"),
        ("", "Linear", "; its name here is gc.nn.Linear"),
        ("", "nonzero", "; its shape would depend on data: use gc.where to choose elements"),
        ("", "unique_values", "; its shape would depend on data: use gc.where to choose elements"),
        ("", "foo", ""),
        ("special", "expit", "; write gc.sigmoid"),
        ("special", "logsumexp", "; its name here is gc.logsumexp"),
        ("linalg", "cumsum", "; write gc.cumulative_sum"),
        ("linalg", "einsum", "; its name here is gc.einsum"),
        ("nn", "softmax", "; its name here is gc.softmax"),
        ("nn", "Adam", "; its name here is gc.optim.Adam"),
        ("optim", "relu", "; its name here is gc.nn.relu"),
        ("random", "normal", "; write gc.random.Generator(seed).normal"),
        ("random", "default_rng", "; write gc.random.Generator(seed)"),
    ],
)
def test_answers(namespace: str, name: str, answer: str) -> None:
    module = getattr(gc, namespace) if namespace else gc
    full = f"graphc.{namespace}" if namespace else "graphc"
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert str(caught.value) == f"module {full!r} has no attribute {name!r}{answer}"


@pytest.mark.parametrize("name", SPELLED)
def test_what_is_written_exists(name: str) -> None:
    """Every dotted name of an answer is there, and no answered name is one of graphc's own."""
    assert name not in gc.__all__
    for found in re.findall(r"gc((?:\.\w+)+)", SPELLED[name]):
        owner: Any = gc
        for part in found[1:].split("."):
            owner = getattr(owner, part)


def test_namespaces_have_names() -> None:
    for namespace in NAMESPACES:
        assert (getattr(gc, namespace) if namespace else gc).__all__
