"""`FunctionModule`: a function of `gc.nn` as a module, its settings fixed when it is made.

The modules of activations, losses and poolings are tables of these.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from graphc.graph.arguments import converted, plain_rules
from graphc.graph.errors import ArgumentError, at
from graphc.graph.node import Node
from graphc.nn.module import Module

__all__ = ["FunctionModule"]


class FunctionModule(Module):
    """A function of `operands` nodes that come with each call; what follows them is given once, by place or name.

    Raises `ArgumentError` for settings that the function does not have.

    >>> import graphc as gc
    >>> gc.nn.LeakyReLU(0.5)([-2.0, 2.0]).eval()
    array([-1.,  2.])
    """

    function: ClassVar[Callable[..., Node]]
    operands: ClassVar[int] = 1
    buffer_names = ("arguments",)
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        if "function" in vars(cls):
            later = list(inspect.signature(cls.function).parameters.values())[cls.operands :]
            both = inspect.Parameter.POSITIONAL_OR_KEYWORD
            cls.__signature__ = inspect.Signature(
                [p.replace(kind=both) if p.kind is inspect.Parameter.POSITIONAL_ONLY else p for p in later]
            )

    def __init__(self, *args: Any, **settings: Any) -> None:
        kind = type(self)
        try:
            bound = kind.__signature__.bind(*args, **settings)
        except TypeError as error:
            accepted = ", ".join(map(str, kind.__signature__.parameters)) or "no arguments"
            raise ArgumentError(f"{kind.__name__}: {error}; accepted: {accepted}{at()}") from None
        rules = plain_rules(kind.function.__annotations__)
        bound.arguments.update(converted(kind.__name__, rules, bound.arguments))
        self.arguments = (bound.args, bound.kwargs)
        self.shown = ", ".join(f"{name}={value!r}" for name, value in bound.arguments.items())

    def forward(self, *operands: Any) -> Node:
        """Call the function."""
        if len(operands) != self.operands:
            raise ArgumentError(f"{self.title}: {self.operands} operands are needed, got {len(operands)}{at()}")
        args, kwargs = self.arguments
        return type(self).function(*operands, *args, **kwargs)


def module(name: str, function: Callable[..., Node], operands: int = 1) -> type[FunctionModule]:
    """Return the class of a function as a module: a row of the tables of activations, losses and poolings."""
    home = "gc" if function.__module__.startswith("graphc.ops") else "gc.nn"
    about = {
        "function": staticmethod(function),
        "operands": operands,
        "__module__": sys._getframe(1).f_globals["__name__"],
    }
    return type(name, (FunctionModule,), {**about, "__doc__": f"`{home}.{function.__name__}` as a module."})


def names_of(table: dict[str, Any]) -> list[str]:
    """Return the names of the rows of a table, the public names of its file."""
    return [name for name, row in table.items() if isinstance(row, type) and issubclass(row, FunctionModule)]
