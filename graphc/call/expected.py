"""Updates that a program should make, by the node that needs them: what `function` warns of when they are forgotten.

`gc.nn` registers the next values of running statistics here; `function` knows nothing of modules.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from weakref import WeakKeyDictionary

from graphc.graph.errors import user_source
from graphc.graph.graph import Graph
from graphc.graph.node import Node, Shared

_expected: WeakKeyDictionary[Node, tuple[str, Mapping[Shared, Node]]] = WeakKeyDictionary()


def expect_updates(out: Node, title: str, updates: Mapping[Shared, Node]) -> None:
    """Remember that programs that train and compute `out` should make these updates."""
    _expected[out] = (title, updates)


def warn_of_forgotten_updates(graph: Graph, targets: Collection[Shared]) -> None:
    """Warn where a program that updates `targets` leaves out what a node of it expects."""
    if not targets or not _expected:
        return
    forgotten = {}
    for node in graph.nodes:
        title, updates = _expected.get(node, ("", {}))
        if updates and not any(shared in targets for shared in updates):
            forgotten[title] = [shared.name.rpartition(".")[2] for shared in updates]
    for title, names in forgotten.items():
        text = (
            f"{title} is called in training mode, but the program leaves its {', '.join(names)} as they are;"
            " join model.updates(loss) to the updates"
        )
        warnings.warn_explicit(text, UserWarning, *user_source()[:2])
