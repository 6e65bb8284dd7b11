"""What the tests of passes are written with: a pass, a program, and the text it must become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent

from graphc.graph.graph import Graph, verify
from graphc.graph.node import Node


def becomes(apply_pass: Callable[[Graph], Graph], outputs: Node | Sequence[Node], expected: str) -> None:
    """Assert that a pass turns the graph of `outputs` into this text, and that the result is a valid graph."""
    graph = Graph([outputs] if isinstance(outputs, Node) else outputs)
    found = verify(apply_pass(graph)).text()
    assert found == dedent(expected).strip(), f"\n{found}"


def stays(apply_pass: Callable[[Graph], Graph], outputs: Node | Sequence[Node]) -> None:
    """Assert that a pass finds nothing to do: the very same nodes come back."""
    graph = Graph([outputs] if isinstance(outputs, Node) else outputs)
    after = verify(apply_pass(graph))
    assert after.outputs == graph.outputs, after.text()
