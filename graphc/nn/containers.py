"""Modules of modules: `Sequential`, `ModuleList`, `ModuleDict`.

A plain list or dict as an attribute does as well; these give the parameters shorter names (`0.weight`).
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, overload

import numpy as np

from graphc.graph.arguments import shown
from graphc.graph.errors import ArgumentError, at
from graphc.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]

Layer = Callable[..., Any]


class Sequential(Module):
    """Call layers one after the other: modules, or functions such as `gc.tanh`; named by a dict, else by position.

    A tuple that a layer returns is passed on as one argument.

    >>> import graphc as gc
    >>> model = Sequential(gc.nn.Linear(2, 3), gc.tanh, gc.nn.Linear(3, 1))
    >>> list(model.parameters())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer]) -> None:
        named = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else None
        pairs = dict(named) if named is not None else {str(i): layer for i, layer in enumerate(layers)}
        self.layers_order = tuple(pairs)
        for name, layer in pairs.items():
            if not callable(layer):
                raise ArgumentError(f"Sequential: layer {name} is not callable: {type(layer).__name__}{at()}")
        _set_members(self, pairs)

    def forward(self, x: Any) -> Any:
        """Return what the last layer returns."""
        for layer in self:
            x = layer(x)
        return x

    def __iter__(self) -> Iterator[Layer]:
        return iter([vars(self)[name] for name in self.layers_order])

    def __len__(self) -> int:
        return len(self.layers_order)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        layers = list(self)
        return Sequential(*layers[index]) if isinstance(index, slice) else layers[index]


class ModuleList(Module):
    """A list of modules, named by position.

    >>> import graphc as gc
    >>> layers = ModuleList(gc.nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), list(layers[-1].parameters())
    (3, ['weight', 'bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        if not isinstance(modules, Iterable) or isinstance(modules, np.ndarray):
            raise ArgumentError(f"ModuleList: a list of modules is needed, got {shown(modules)}{at()}")
        self.extend(modules)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        _require_module("ModuleList", str(len(self)), module)
        _set_members(self, {str(len(self)): module})

    def extend(self, modules: Iterable[Module]) -> None:
        """Add modules at the end."""
        try:
            found = list(modules)
        except TypeError:
            raise ArgumentError(f"ModuleList: a list of modules is needed, got {shown(modules)}{at()}") from None
        for module in found:
            self.append(module)

    def __iter__(self) -> Iterator[Module]:
        return iter([v for v in vars(self).values() if isinstance(v, Module)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]


class ModuleDict(Module):
    """A dict of modules, named by their keys.

    >>> import graphc as gc
    >>> heads = ModuleDict({"mean": gc.nn.Linear(2, 1), "scale": gc.nn.Linear(2, 1, bias=False)})
    >>> list(heads.parameters()), "mean" in heads
    (['mean.weight', 'mean.bias', 'scale.weight'], True)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        if modules is not None and not isinstance(modules, Mapping):
            raise ArgumentError(f"ModuleDict: a dict of modules is needed, got {shown(modules)}{at()}")
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        _require_module("ModuleDict", name, module)
        _set_members(self, {name: module})

    def __getitem__(self, name: str) -> Module:
        return self._modules()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules()

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules())

    def __len__(self) -> int:
        return len(self._modules())

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._modules().keys()

    def values(self) -> ValuesView[Module]:
        """Return the modules."""
        return self._modules().values()

    def items(self) -> ItemsView[str, Module]:
        """Return names and modules."""
        return self._modules().items()

    def _modules(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}


def _set_members(module: Module, members: Mapping[str, Any]) -> None:
    """Set attributes, whose names may be numbers."""
    for name, value in members.items():
        if not isinstance(name, str) or not name or "." in name or name in dir(type(module)):
            kind = type(module).__name__
            raise ArgumentError(f"{kind}: {name!r} cannot be a layer's name (no dot, no attribute of a module){at()}")
        vars(module)[name] = value


def _require_module(kind: str, name: str, value: Any) -> None:
    if not isinstance(value, Module):
        raise ArgumentError(f"{kind}: {name} must be a module, got {type(value).__name__}{at()}")
