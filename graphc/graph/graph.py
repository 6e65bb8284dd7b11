"""`Graph`: chosen outputs and all they depend on, as a networkx DAG.

A graph is what every pass consumes and returns. Who reads what, and what depends on what, passes ask its `dag`. Nodes
are found in iterative post-order from the outputs, so their order is topological, dead code vanishes by construction,
and no depth overflows a stack. Passes never edit a graph: `map` and `replace` build the next one and return the map
from old to new nodes; where nothing changes, the next one is the graph itself.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from graphc.graph.arguments import shown
from graphc.graph.errors import ArgumentError, at, printable
from graphc.graph.lazy import lazy_property
from graphc.graph.node import Guard, Node, Shared
from graphc.graph.op import Constant, Placeholder, SharedValue
from graphc.graph.types import Dim, TensorType, symbols
from graphc.ops.control import Control

if TYPE_CHECKING:
    import networkx

NodeMap = dict[Node, Node]
Rebuild = Callable[[Node, tuple[Node, ...]], Node | None]


NO_DATA: Mapping[str, Any] = MappingProxyType({})
"""The attributes of every node and edge of a graph's DAG, which share one empty mapping."""


def topological_order(outputs: Iterable[Node], known: Set[Node] = frozenset()) -> list[Node]:
    """Return `outputs` and all they depend on, operands first, each once, but what is `known`; iterative.

    This finds the nodes that are not part of a graph yet. What a graph's nodes depend on, its `dag` knows.
    """
    done: set[Node] = set()
    order: list[Node] = []
    for output in outputs:
        if output in done or output in known:
            continue
        done.add(output)
        stack: list[tuple[Node, Iterator[Node]]] = [(output, iter(output.inputs))]
        while stack:
            node, rest = stack[-1]
            for x in rest:
                if x not in done and x not in known:
                    done.add(x)
                    stack.append((x, iter(x.inputs)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order


def rebuild(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Return `node` on other inputs of the same types, or itself where they are the same."""
    if inputs == node.inputs:  # nodes are equal only to themselves
        return node
    return Node(node.op, inputs, node.type, node.source, node.guards)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector: building a large graph makes no garbage for it to find."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _foreign(found: Any) -> ArgumentError:
    return ArgumentError(f"graph: nodes of it are needed, got {shown(found)}{at()}")


class Graph:
    """Ordered inputs, outputs, and the nodes between them.

    The last `len(updates)` outputs are the new values of the shared nodes in `updates`. `guards` are the
    equalities of dimensions that a call must check, collected before any pass. `dag` is the graph as any algorithm of
    networkx takes it; it holds the nodes in the order of `nodes`, and cannot be changed (a `copy` of it can).

    >>> import graphc as gc, networkx
    >>> x = gc.placeholder("x")
    >>> graph = Graph([gc.exp(x) * gc.sin(x)])
    >>> [[n.op.name for n in layer] for layer in networkx.topological_generations(graph.dag)]
    [['placeholder'], ['exp', 'sin'], ['multiply']]
    """

    def __init__(
        self,
        outputs: Node | Sequence[Node],
        inputs: Sequence[Node] | None = None,
        *,
        updates: Sequence[Shared] = (),
        guards: Sequence[Guard] | None = None,
    ) -> None:
        single = not isinstance(outputs, Iterable) or isinstance(outputs, (Node, np.ndarray))
        several: Any = (outputs,) if single else outputs
        self.outputs: tuple[Node, ...] = tuple(several)
        for output in self.outputs:
            if not isinstance(output, Node):
                raise ArgumentError(f"a graph's outputs are nodes, got {type(output).__name__}{at()}")
        self.nodes = tuple(topological_order(self.outputs))
        found = tuple(n for n in self.nodes if isinstance(n.op, Placeholder))
        self.inputs = found if inputs is None else tuple(inputs)
        self.updates = tuple(updates)
        self.guards = tuple(g for n in self.nodes for g in n.guards) if guards is None else tuple(guards)

    # -- the DAG, and what it answers

    @lazy_property
    def dag(self) -> networkx.DiGraph[Node]:
        """The networkx DAG: edges from operand to user, nodes in topological order, no attributes; read-only.

        Many graphs are only walked on the way to the next one, so a graph has its DAG from the first question on. The
        dictionaries of networkx are filled here rather than by `add_edges_from`, which takes three times as long.
        """
        import networkx

        with collector_paused():
            dag: networkx.DiGraph[Node] = networkx.DiGraph()
            inside: Any = dag  # its three dictionaries, which networkx describes for classes that derive from it
            inside._node.update(dict.fromkeys(self.nodes, NO_DATA))
            successors, predecessors = inside._succ, inside._pred
            for node in self.nodes:
                successors[node] = {}
                predecessors[node] = dict.fromkeys(node.inputs, NO_DATA)
                for x in node.inputs:
                    successors[x][node] = NO_DATA
            networkx.freeze(dag)
            return dag

    def users(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that read a value, in order, each once."""
        try:
            return tuple(self.dag.successors(node))
        except Exception:
            raise _foreign(node) from None

    def only_user(self, node: Node) -> Node | None:
        """Return the node of which a value is one operand, once, and no other's; None where there is no such node."""
        users = self.users(node)
        return users[0] if len(users) == 1 and users[0].inputs.count(node) == 1 else None

    def ancestors(self, nodes: Iterable[Node]) -> set[Node]:
        """Return nodes with all they depend on."""
        return self._reached(self.dag.reverse(copy=False), nodes)

    def descendants(self, nodes: Iterable[Node], through: Callable[[Node], bool] | None = None) -> set[Node]:
        """Return nodes with all that depend on them; with `through`, only by values for which that is true."""
        import networkx

        dag = self.dag if through is None else networkx.subgraph_view(self.dag, filter_node=through)
        return self._reached(dag, nodes)

    @staticmethod
    def _reached(dag: networkx.DiGraph[Node], nodes: Iterable[Node]) -> set[Node]:
        import networkx

        try:
            return set().union(*networkx.bfs_layers(dag, list(nodes)))
        except (TypeError, networkx.NetworkXError):
            raise _foreign(nodes) from None

    # -- queries

    @lazy_property
    def output_counts(self) -> dict[Node, int]:
        """The nodes that are outputs, each with how often."""
        return Counter(self.outputs)

    @lazy_property
    def shared(self) -> tuple[Shared, ...]:
        """The shared nodes that are read or updated."""
        read = [n for n in self.nodes if isinstance(n, Shared)]
        return tuple(dict.fromkeys([*read, *self.updates]))

    @lazy_property
    def resizable(self) -> tuple[Shared, ...]:
        """The shared nodes with dimensions whose size only a call knows."""
        return tuple(s for s in self.shared if any(isinstance(n, Dim) for n in s.shape))

    @lazy_property
    def index(self) -> dict[Node, int]:
        """The position of each node in `nodes`: its `%` number in the text."""
        return {n: i for i, n in enumerate(self.nodes)}

    @lazy_property
    def extents(self) -> tuple[Node, ...]:
        """One node, in this graph or inside its ops, for each type whose number of elements only a call knows."""
        found: dict[TensorType, Node] = {}
        graphs = [self]
        for graph in graphs:
            for node in graph.nodes:
                if any(isinstance(size, Dim) for size in node.shape):
                    found.setdefault(node.type, node)
                if isinstance(node.op, Control):
                    found.setdefault(node.type, node)
                    graphs += node.op.regions()
        return tuple(found.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def __reduce__(self) -> tuple[Any, ...]:
        from graphc.call.pickling import pack_graph

        return pack_graph(self)

    # -- the next graph

    def map(self, fn: Rebuild) -> tuple[Graph, NodeMap]:
        """Rebuild every node through `fn(node, new_inputs)` (None: unchanged) and return (graph, old to new)."""
        moved: NodeMap = {}
        stays = moved.keys().isdisjoint  # most nodes do, and sets tell it without a step of Python an operand
        for node in self.nodes:
            inputs = node.inputs
            if not stays(inputs):
                inputs = tuple([moved.get(x, x) for x in inputs])
            new = fn(node, inputs)
            if new is None:
                new = rebuild(node, inputs)
            if new is not node:
                moved[node] = new
        every = dict(zip(self.nodes, self.nodes, strict=True)) | moved
        return self.with_outputs([every[o] for o in self.outputs]), every

    def replace(self, replacements: Mapping[Node, Node]) -> tuple[Graph, NodeMap]:
        """Return the graph with nodes replaced (their own inputs are left alone), and the map.

        Where a named dimension is replaced by another size and no input is left to give it one, the program takes
        the new size wherever it mentions the dimension.
        """
        graph, moved = self.map(lambda node, inputs: replacements.get(node))
        if all(old.type is new.type or old.shape == new.shape for old, new in replacements.items()):
            return graph, moved
        from graphc.graph.substitution import resize

        return resize(graph, moved, replacements)

    def with_outputs(self, outputs: Sequence[Node]) -> Graph:
        """Return a graph of other outputs with the same signature, updates and guards; itself if they are its own."""
        if tuple(outputs) == self.outputs:
            return self
        return Graph(outputs, self.inputs, updates=self.updates, guards=self.guards)

    # -- for people

    def to_networkx(self) -> networkx.MultiDiGraph[int]:
        """Return a copy for people: nodes are ints with `op`, `type`, `source`, `label`; edges have `operand`."""
        import networkx

        out: networkx.MultiDiGraph[int] = networkx.MultiDiGraph()
        for i, n in enumerate(self.nodes):
            source = f"{n.source[0]}:{n.source[1]}"
            out.add_node(i, op=str(n.op), type=str(n.type), source=source, label=n.name or n.op.name)
            for position, x in enumerate(n.inputs):
                out.add_edge(self.index[x], i, operand=position)
        return out

    def text(self) -> str:
        """Return one line per node, `%3: f32[batch,10] = add(%1, %2)`, and a last line of outputs."""
        lines = [f"%{i}: {n.type} = {self.call_text(n)}" for i, n in enumerate(self.nodes)]
        first_update = len(self.outputs) - len(self.updates)
        returned = ", ".join(f"%{self.index[o]}" for o in self.outputs[:first_update])
        lines.append(f"return {returned}" if returned else "return")
        pairs = zip(self.updates, self.outputs[first_update:], strict=True)
        lines.extend(f"update {s.name} <- %{self.index[value]}" for s, value in pairs)
        return "\n".join(map(printable, lines))

    def call_text(self, node: Node) -> str:
        """Return the right-hand side of a node's line."""
        operands = ", ".join(f"%{self.index[x]}" for x in node.inputs)
        return f"{node.op}({operands})" if node.inputs else str(node.op)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        ins = ", ".join(f"{x.name}: {x.type}" for x in self.inputs)
        return printable(f"<Graph ({ins}) -> {', '.join(str(o.type) for o in self.outputs)}; {len(self)} nodes>")

    def to_svg(self) -> str:
        """Draw the graph as a self-contained SVG document."""
        from graphc.inspect.svg import graph_to_svg

        return graph_to_svg(self)

    def _repr_html_(self) -> str:
        return self.to_svg()


def verify(graph: Graph) -> Graph:
    """Check every invariant of a graph and return it; a broken one is a bug of graphc, hence `assert`."""
    _verify_dag(graph)
    for node in graph.nodes:
        if not isinstance(node.op, (Placeholder, SharedValue, Constant)):
            found = node.op.infer(*(x.type for x in node.inputs))
            assert found.dtype == node.dtype, f"{node!r}: infers {found}"
            assert found.ndim == node.ndim, f"{node!r}: infers {found}"
            clash = [(a, b) for a, b in zip(found.shape, node.shape, strict=True) if a != b]
            assert not any(isinstance(a, int) and isinstance(b, int) for a, b in clash), f"{node!r}: infers {found}"
        if isinstance(node.op, Placeholder):
            assert node in graph.inputs, f"placeholder is not an input: {node!r}"
    assert len(graph.updates) <= len(graph.outputs)
    return graph


def _verify_dag(graph: Graph) -> None:
    """Check that the DAG says what the nodes say, that its order is topological, and that nothing in it is dead."""
    import networkx

    dag, index = graph.dag, graph.index
    assert networkx.is_directed_acyclic_graph(dag), "cyclic"
    for node in dag:
        assert list(dag.predecessors(node)) == list(dict.fromkeys(node.inputs)), f"other operands: {node!r}"
        assert all(index[x] < index[node] for x in dag.predecessors(node)), f"operand after user: {node!r}"
    dead = set(dag) - graph.ancestors(graph.outputs)
    assert not dead, f"no output needs {dead}"


def require_inputs(graph: Graph, inputs: Sequence[Node]) -> None:
    """Raise `ArgumentError` for a placeholder that the outputs need and `inputs` lacks."""
    missing = [n for n in graph.nodes if isinstance(n.op, Placeholder) and n not in inputs]
    if missing:
        users = graph.users(missing[0])
        where = f" ({graph.call_text(users[0])}{at(users[0].source)})" if users else ""
        raise ArgumentError(
            f"placeholder {missing[0].name!r} is needed by the outputs{where} but is not among the inputs{at()}"
        )


_sources: WeakKeyDictionary[Node, tuple[Node, ...]] = WeakKeyDictionary()


def note_derived(derivatives: Iterable[Node], of: Graph) -> None:
    """Remember the inputs of what was differentiated: a derivative may need fewer, which its user cannot foresee."""
    inputs = tuple({*of.inputs, *_inputs_of_derived(of.nodes)})
    for node in derivatives:
        _sources[node] = inputs


def _inputs_of_derived(nodes: Iterable[Node]) -> set[Node]:
    return {x for n in nodes for x in _sources.get(n, ())}


def refuse_unused(graph: Graph, written: Sequence[Node]) -> None:
    """Raise for an input that no output needs, as the user wrote them.

    An input that gives a dimension its size is needed, and one that a differentiated value depends on.
    """
    unused = [x for x in graph.inputs if x not in graph.index]
    derived = _inputs_of_derived(topological_order(written)) if unused else set()
    unused = [x for x in unused if x not in derived]
    if not unused:
        return
    sizes = [s for n in graph.nodes for s in (*n.shape, *n.op.sizes())]
    needed = set(symbols(sizes))
    for x in unused:
        if not needed & set(symbols(x.shape)):
            raise ArgumentError(
                f'input {x.name!r} is not needed by any output or update; on_unused="ignore" accepts it{at()}'
            )
