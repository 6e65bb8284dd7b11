"""`Module`: a plain object that owns shared parameters and builds graph when it is called.

There is no registration: parameters, buffers, generators and other modules are found by looking at attributes, and
into lists, tuples and dicts among them, in the order in which they were set. What changes in training besides
parameters (running statistics) is remembered with the node of the call that saw the batch, so that `updates(loss)`
returns it for exactly the calls that the loss depends on. Training or evaluation is decided when graph is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from graphc.call.expected import expect_updates
from graphc.graph.arguments import checked, shown
from graphc.graph.arrays import arrays_by_name
from graphc.graph.errors import ArgumentError, at, scope_path
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node, Shared
from graphc.graph.scopes import inside
from graphc.graph.state import hold_states
from graphc.graph.tree import MAX_DEPTH, flatten
from graphc.graph.types import Array, TensorType, is_float
from graphc.random import Generator, GeneratorState

__all__ = ["Module"]

Updates = dict[Shared, Node]
Watcher = Callable[["Module", tuple[Any, ...], dict[str, Any]], Any]
watcher: ContextVar[Watcher | None] = ContextVar("graphc_nn_watcher", default=None)
"""What runs the calls of modules in place of their `forward`, where someone looks on."""
_Root = tuple[str, dict[int, str]]
_root: ContextVar[_Root | None] = ContextVar("graphc_nn_root", default=None)
"""During the call of a module from outside: the path around it, and its modules' dotted names by identity."""
_frozen: WeakSet[Shared] = WeakSet()
"""Parameters that are not trained, whichever modules hold them."""


class Module:
    """Base of all layers and models: define `forward`, set parameters and layers as attributes, call the object.

    `buffer_names` are the attributes whose floats are state that no optimiser trains; integers never are. `training`
    is set for all modules inside by `train` and `eval`, and counts when graph is built. `shown` is what the repr
    prints between brackets.

    >>> import graphc as gc
    >>> class Net(gc.nn.Module):
    ...     def __init__(self):
    ...         self.layers = [gc.nn.Linear(4, 8), gc.nn.Linear(8, 2, bias=False)]
    ...
    ...     def forward(self, x):
    ...         return self.layers[1](gc.nn.relu(self.layers[0](x)))
    >>> model = Net()
    >>> list(model.parameters())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight']
    >>> model
    Net
      layers.0: Linear(4, 8)
      layers.1: Linear(8, 2, bias=False)

    A training step takes the optimiser's updates and the model's own:

    >>> x = gc.placeholder("x", shape=("n", 4), dtype="float32")
    >>> loss, adam = gc.mean(model(x) ** 2), gc.optim.Adam(1e-3)
    >>> step = gc.function([x], loss, updates=adam.updates(loss, model.parameters()) | model.updates(loss))
    """

    training: bool = True
    buffer_names: tuple[str, ...] = ()
    shown: str = ""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Build graph; what a call of the object returns."""
        raise ArgumentError(f"{type(self).__name__}: define forward(self, ...){at()}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the graph of `forward` on nodes or arrays."""
        look = watcher.get()
        with _call_of(self):
            return self.forward(*args, **kwargs) if look is None else look(self, args, kwargs)

    # -- what is inside

    @checked
    def parameters(self, *, frozen: bool = False) -> dict[str, Shared]:
        """Return the shared floats to train by dotted name; each once, under its first name.

        With `frozen`, those that `freeze` excluded too.
        """
        _name_parameters(self)
        return {e.name: e.value for e in _entries(self) if isinstance(e.value, Shared) and e.trained(frozen)}

    def buffers(self) -> dict[str, Shared]:
        """Return the shared values that are no parameters, such as running statistics, by dotted name."""
        return {e.name: e.value for e in _entries(self) if isinstance(e.value, Shared) and e.buffer}

    def generators(self) -> dict[str, Generator]:
        """Return the generators that this module draws from, by dotted name."""
        return {e.name: e.value for e in _entries(self) if isinstance(e.value, Generator)}

    def modules(self) -> dict[str, Module]:
        """Return this module, under the name "", and all inside by dotted name."""
        return dict(_modules(self, "", set()))

    # -- training

    @checked
    def train(self, mode: bool = True) -> Self:
        """Let calls from now on build graph for training (or not), here and in all modules inside."""
        for module in self.modules().values():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Let calls from now on build graph for use: no dropout, running statistics as they are."""
        return self.train(False)

    def freeze(self, *names: str) -> Self:
        """Exclude parameters from `parameters()`: all, or those whose dotted names are or begin with `names`.

        A parameter that several modules share is frozen in all of them.
        """
        _frozen.update(_named(self, "freeze", names))
        return self

    def unfreeze(self, *names: str) -> Self:
        """Undo `freeze`, for all parameters or those whose dotted names are or begin with `names`."""
        _frozen.difference_update(_named(self, "unfreeze", names))
        return self

    def updates(self, *outputs: Any) -> Updates:
        """Return the next values of buffers, for `gc.function(..., updates=...)`.

        `outputs` are what the program computes, such as its loss: the calls in training mode that they depend on
        count, one after the other where a module was called more than once. Without `outputs` every call counts whose
        result still exists; raises `ArgumentError` where these are several of one module. Calls in the body of a loop
        or branch do not count: there, put such modules into evaluation mode.
        """
        leaves = flatten(outputs)
        for leaf in leaves:
            if not isinstance(leaf, Node):
                raise ArgumentError(f"updates: outputs must be nodes, got {shown(leaf)}{at()}")
        reached = set(topological_order(leaves)) if outputs else None
        found: Updates = {}
        for name, module in self.modules().items():
            calls = [u for out, u in module._recorded().items() if reached is None or out in reached]
            if reached is None and len(calls) > 1:
                title = f"{module.title} ({name})" if name else module.title
                raise ArgumentError(
                    f"updates: {title} was called {len(calls)} times in training mode; pass what the program computes,"
                    f" as in model.updates(loss){at()}"
                )
            for call in calls:
                found |= _after(found, call)
        return found

    def with_updates(self, out: Node, updates: Mapping[Shared, Any]) -> Node:
        """Return `out`, and let `updates()` give these next values of buffers to programs that compute it.

        For `forward` of modules with running state of their own. `gc.function` warns where a program that updates
        something computes `out` and leaves the buffers as they are.
        """
        pairs = isinstance(updates, Mapping) and all(isinstance(key, Shared) for key in updates)
        if not isinstance(out, Node) or not pairs:
            raise ArgumentError(f"{self.title}: with_updates takes a node, and values by shared node{at()}")
        recorded = self._recorded().setdefault(out, {})
        recorded.update(updates)
        expect_updates(out, self.title, recorded)
        return out

    def _recorded(self) -> WeakKeyDictionary[Node, Updates]:
        """Return the updates of every call in training mode by its result, which they die with."""
        found: WeakKeyDictionary[Node, Updates] = vars(self).setdefault("_calls", WeakKeyDictionary())
        return found

    # -- state

    def state_dict(self) -> dict[str, Array]:
        """Return copies of parameters, buffers and the state of generators by dotted name.

        A generator is three uint64: key, position, splits.
        """
        return {e.name: _state_of(e.value) for e in _entries(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` returned, or arrays of the same names, shapes and dtypes from elsewhere.

        The state of generators may be missing; they then stay as they are. Raises `ArgumentError` that lists every
        name, shape and dtype that does not fit; then nothing has changed.
        """
        entries = {e.name: e for e in _entries(self)}
        arrays = arrays_by_name(f"{type(self).__name__}.load_state_dict", state)
        wrong = [text for name in (entries | arrays) if (text := _mismatch(name, entries.get(name), arrays.get(name)))]
        if wrong:
            listed = "\n  ".join(wrong)
            raise ArgumentError(f"{type(self).__name__}.load_state_dict: the state does not fit:{at()}\n  {listed}")
        shared = [(e.value, arrays[e.name]) for e in entries.values() if isinstance(e.value, Shared)]
        with hold_states([node.state for node, _ in shared]):
            for node, array in shared:
                node.state.put(array)
        for e in entries.values():
            if isinstance(e.value, Generator) and e.name in arrays:
                e.value.set_state(GeneratorState(*(int(v) for v in arrays[e.name])))

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_calls"}
        frozen = [value for _, value in _members(self) if isinstance(value, Shared) and value in _frozen]
        return state | {"_frozen": frozen} if frozen else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        _frozen.update(state.pop("_frozen", ()))
        vars(self).update(state)

    # -- text

    @property
    def title(self) -> str:
        """The class with its arguments, as errors name the layer: `Linear(4, 8)`."""
        return f"{type(self).__name__}({self.shown})"

    def __repr__(self) -> str:
        modules = {name: module for name, module in self.modules().items() if name}
        if not modules:
            return self.title
        lines = [f"{type(self).__name__}({self.shown})" if self.shown else type(self).__name__]
        parents: list[str] = []
        for name, module in modules.items():
            while parents and not name.startswith(f"{parents[-1]}."):
                parents.pop()
            local = name.removeprefix(f"{parents[-1]}.") if parents else name
            inside = any(other.startswith(f"{name}.") for other in modules)
            kind = type(module).__name__ if inside and not module.shown else module.title
            lines.append(f"{'  ' * (len(parents) + 1)}{local}: {kind}")
            parents.append(name)
        return "\n".join(lines)


# -- paths


@contextmanager
def _call_of(module: Module) -> Iterator[None]:
    """Give what a call builds the path of the module: its name inside the module that is called from outside."""
    root = _root.get()
    if root is not None and id(module) in root[1]:
        with inside(f"{root[0]}{root[1][id(module)]}."):
            yield
        return
    around = scope_path.get()
    _name_parameters(module)
    token = _root.set((around, {id(m): name for name, m in module.modules().items() if name}))
    try:
        yield
    finally:
        _root.reset(token)


def _name_parameters(module: Module) -> None:
    """Lengthen the names of shared values to their paths: `weight` becomes `encoder.layers.0.weight`.

    A name that the user has chosen otherwise stays, and so does a longer path, of a module that is around this one.
    """
    for e in _entries(module):
        if isinstance(e.value, Shared) and e.name.endswith(f".{e.value.name}"):
            e.value.state.name = e.name


# -- walking through attributes


@dataclass(frozen=True)
class _Entry:
    """A shared value or generator: its dotted name, and the module and name that own it."""

    name: str
    value: Shared | Generator
    owner: Module
    local: str

    @property
    def buffer(self) -> bool:
        return not is_float(_type(self.value).dtype) or self.local.split(".")[0] in self.owner.buffer_names

    def trained(self, frozen: bool) -> bool:
        return not self.buffer and (frozen or self.value not in _frozen)


def _members(module: Module) -> Iterator[tuple[str, Any]]:
    """Yield what the attributes of a module hold, lists, tuples and dicts opened, with dotted names."""
    stack = [(name, value, 0) for name, value in reversed(vars(module).items())]
    while stack:
        name, value, depth = stack.pop()
        if isinstance(value, (dict, list, tuple)) and depth > MAX_DEPTH:
            title = f"{type(module).__name__}: attribute {name.partition('.')[0]}"
            raise ArgumentError(f"{title} is inside itself, or nested deeper than {MAX_DEPTH}{at()}")
        if isinstance(value, dict):
            stack += [(f"{name}.{key}", item, depth + 1) for key, item in reversed(value.items())]
        elif isinstance(value, (list, tuple)):
            stack += [(f"{name}.{i}", value[i], depth + 1) for i in reversed(range(len(value)))]
        elif isinstance(value, (Shared, Generator, Module)):
            yield name, value


def _modules(module: Module, name: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    seen.add(id(module))
    yield name, module
    for local, value in _members(module):
        if isinstance(value, Module) and id(value) not in seen:
            yield from _modules(value, f"{name}.{local}" if name else local, seen)


def _entries(module: Module) -> list[_Entry]:
    """Return every shared value and generator once, where it is first found."""
    found: dict[str, _Entry] = {}
    seen: set[int] = set()
    _collect(module, "", found, seen)
    return list(found.values())


def _collect(module: Module, prefix: str, found: dict[str, _Entry], seen: set[int]) -> None:
    seen.add(id(module))
    for local, value in _members(module):
        if id(value) in seen:
            continue
        seen.add(id(value))
        name = prefix + local
        if isinstance(value, Module):
            _collect(value, f"{name}.", found, seen)
        elif name in found:
            raise ArgumentError(f"{type(module).__name__}: two values are called {name!r}{at()}")
        else:
            found[name] = _Entry(name, value, module, local)


def _named(module: Module, what: str, names: tuple[str, ...]) -> list[Shared]:
    """Return the parameters that names select, all without names; shared ones have several."""
    buffers = {e.value for e in _entries(module) if e.buffer}
    found = [(name, value) for name, value in _all_names(module, "", ()) if value not in buffers]
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"{what}: names of parameters are strings, got {shown(name)}{at()}")
        if not any(_selects(name, dotted) for dotted, _ in found):
            known = ", ".join(dotted for dotted, _ in found)
            raise ArgumentError(f"{what}: no parameter is or is inside {name!r}; there are {known or 'none'}{at()}")
    return [value for dotted, value in found if not names or any(_selects(name, dotted) for name in names)]


def _all_names(module: Module, prefix: str, around: tuple[Module, ...]) -> Iterator[tuple[str, Shared]]:
    """Yield shared values under every name that they have; modules that contain themselves are not followed."""
    for local, value in _members(module):
        if isinstance(value, Shared):
            yield prefix + local, value
        elif isinstance(value, Module) and value is not module and value not in around:
            yield from _all_names(value, f"{prefix}{local}.", (*around, module))


def _selects(name: str, dotted: str) -> bool:
    return dotted == name or dotted.startswith(f"{name}.")


def _after(found: Updates, call: Updates) -> Updates:
    """Return the updates of a call that comes after those found."""
    before: dict[Node, Node] = {key: found[key] for key in call if key in found}
    if not before:
        return call
    chained, _ = Graph(list(call.values())).replace(before)
    return dict(zip(call, chained.outputs, strict=True))


# -- state


def _type(value: Shared | Generator) -> TensorType:
    return value.type if isinstance(value, Shared) else TensorType(np.dtype("uint64"), (3,))


def _state_of(value: Shared | Generator) -> Array:
    if isinstance(value, Shared):
        return value.get_value()
    state = value.get_state()
    return np.array([state.key, state.position, state.splits], "uint64")


def _mismatch(name: str, entry: _Entry | None, array: Array | None) -> str:
    """Say how what is given for a name differs from what is needed; empty where it does not."""
    got = "" if array is None else f"{array.dtype}[{','.join(map(str, array.shape))}]"
    if entry is None:
        return f"{name}: {got} given, not known here"
    needed = f"{_type(entry.value).dtype}[{','.join(map(str, _type(entry.value).shape))}]"
    if array is None:
        return "" if isinstance(entry.value, Generator) else f"{name}: missing, {needed} needed"
    fits = entry.value.takes(array.shape) if isinstance(entry.value, Shared) else got == needed
    return "" if fits and array.dtype == _type(entry.value).dtype else f"{name}: {got} given, {needed} needed"
