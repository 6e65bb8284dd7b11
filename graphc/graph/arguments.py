"""Plain arguments of public functions: flags, ints, numbers, choices, and sequences of ints, checked once.

A public function says in its annotations what its plain parameters are, and `checked` holds callers to that: a
parameter annotated `bool`, `int`, `float`, `str`, `PathLike`, `Literal[...]`, or one of these `| None`, is converted
to that Python type or refused in one sentence that names function, parameter and value. What no annotation can say
(ranges, axes, operands) is checked where it is used, by `whole`, `number`, `chosen` and `entries`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphc.graph.errors import ArgumentError, at

MANY = 1 << 16
"""The most of what is built one by one, each with nodes of its own: layers, pieces of an axis, repeated steps."""

P = ParamSpec("P")
R = TypeVar("R")

Check = Callable[[str, Any], Any]
"""(what, value) to the value as its Python type, or `ArgumentError`."""


def shown(value: Any) -> str:
    """Return a value as errors show it, on one line of at most 80 characters."""
    try:
        if isinstance(value, np.ndarray) and value.size > 4:
            return f"an array {value.dtype}{list(value.shape)}"
        text = " ".join(repr(value).split())
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def flag(what: str, value: Any) -> bool:
    """Return True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ArgumentError(f"{what} must be True or False, got {shown(value)}{at()}")


def whole(what: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return an int from `least` to `most`; NumPy's integers are ints, bools are not."""
    try:
        if isinstance(value, (bool, np.bool_)) or not hasattr(type(value), "__index__"):
            raise TypeError
        found = operator.index(value)
    except Exception:
        raise ArgumentError(f"{what} must be an int, got {shown(value)}{at()}") from None
    if (least is not None and found < least) or (most is not None and found > most):
        limits = f"of at least {least}" if most is None else f"of at most {most}"
        limits = f"from {least} to {most}" if None not in (least, most) else limits
        raise ArgumentError(f"{what} must be an int {limits}, got {shown(value)}{at()}")
    return found


_UNITS = {"b": 1} | {f"{p}b": 1000 ** (k + 1) for k, p in enumerate("kmgt")}
_UNITS |= {f"{p}ib": 1024 ** (k + 1) for k, p in enumerate("kmgt")}


def bytes_of(what: str, value: Any) -> int:
    """Return a number of bytes, given as an int or with a unit.

    >>> bytes_of("memory", "4 MB"), bytes_of("memory", "1.5 KiB"), bytes_of("memory", 64)
    (4000000, 1536, 64)
    """
    if not isinstance(value, str):
        return whole(what, value, 0)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
    if found is None or found[2].lower() not in _UNITS:
        raise ArgumentError(f"{what} must be bytes, as in 4_000_000 or '4 MB', got {shown(value)}{at()}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def number(what: str, value: Any) -> Any:
    """Return a Python int or float; NumPy's scalars and 0-d arrays are numbers, bools are not."""
    plain = value.item() if isinstance(value, (np.generic, np.ndarray)) and not np.ndim(value) else value
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        return plain
    raise ArgumentError(f"{what} must be a number, got {shown(value)}{at()}")


def text(what: str, value: Any) -> str:
    """Return a string."""
    if isinstance(value, str):
        return value
    raise ArgumentError(f"{what} must be a string, got {shown(value)}{at()}")


PathLike = str | os.PathLike[str]


def path_text(what: str, value: Any) -> str:
    """Return a path as text; descriptors of open files are none."""
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str) or not found or "\0" in found:
        raise ArgumentError(f"{what} must be a path, got {shown(value)}{at()}")
    return found


def chosen(what: str, value: Any, options: Sequence[Any]) -> Any:
    """Return the option that `value` is."""
    for option in options:
        if type(value) is type(option) and value == option:
            return option
    names = [f'"{o}"' if isinstance(o, str) else repr(o) for o in options]
    raise ArgumentError(f"{what} must be {', '.join(names[:-1])} or {names[-1]}, got {shown(value)}{at()}")


def entries(value: Any) -> tuple[Any, ...]:
    """Return what stands for one or several (an entry, a list, a tuple, a 1-d array of NumPy) as a tuple."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, (list, tuple, range)) else (value,)


def optional(module: str, what: str, package: str, extra: str) -> ModuleType:
    """Return a module of a package that graphc can do without; `what` needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and something that it needs is not
        raise ArgumentError(f"{what} needs {package}: pip install 'graphc[{extra}]'{at()}") from None


# -- by annotation

Annotated = tuple[frozenset[type], Check]
"""The types of values that need no look, and the check of all others."""

_CHECKS: dict[str, Annotated] = {
    "bool": (frozenset({bool}), flag),
    "int": (frozenset({int}), whole),
    "float": (frozenset({float, int}), number),
    "str": (frozenset({str}), text),
    "PathLike": (frozenset(), path_text),
}
_NODES: set[type] = set()
"""The classes whose objects `float | Node` lets through; see `accept_nodes`."""


def accept_nodes(*classes: type) -> None:
    """Take the classes that stand for numbers of a call, where a parameter may be one; called once by `graphc.ops`."""
    _NODES.update(classes)


def _number_or_node(what: str, value: Any) -> Any:
    return value if isinstance(value, tuple(_NODES)) else number(what, value)


_CHECKS["float | Node"] = (frozenset({float, int}), _number_or_node)


def annotated(annotation: Any) -> Annotated | None:
    """Return the check that an annotation, written out as text, asks for; None where it asks for nothing."""
    if not isinstance(annotation, str):
        return None
    plain = annotation.removesuffix(" | None")
    if plain.startswith("Literal["):
        options = ast.literal_eval(f"({plain[len('Literal[') : -1]},)")
        known, check = frozenset[type](), lambda what, value: chosen(what, value, options)
    elif plain in _CHECKS:
        known, check = _CHECKS[plain]
    else:
        return None
    return (known, check) if plain == annotation else (known | {type(None)}, check)


def plain_rules(hints: Mapping[str, Any]) -> dict[str, Annotated]:
    """Return the checks of those of some annotations, by name, that ask for one."""
    return {name: rule for name, hint in hints.items() if name != "return" and (rule := annotated(hint))}


def converted(caller: str, rules: Mapping[str, Annotated], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name, those with a rule converted by it."""
    return {n: rules[n][1](f"{caller}: {n}", v) if n in rules else v for n, v in values.items()}


def require_function(what: str, value: Any, operands: Sequence[Any] | None = None) -> None:
    """Raise where no function was given, or one that does not take these operands."""
    if not callable(value):
        raise ArgumentError(f"{what} must be a function, got {shown(value)}{at()}")
    if operands is None:
        return
    try:
        inspect.signature(value).bind(*operands)
    except TypeError as error:
        raise ArgumentError(f"{what}: {len(operands)} operands are given, and {error}{at()}") from None
    except ValueError:  # a function of C without a signature
        return


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Convert the plain arguments of every call of `function` by its annotations; see the module.

    >>> @checked
    ... def scaled(x: float, times: int = 2) -> float:
    ...     return x * times
    >>> scaled(np.float32(1.5))
    3.0
    >>> scaled(1.5, times=True)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    graphc.graph.errors.ArgumentError: scaled: times must be an int, got True...
    """
    found = plain_rules(function.__annotations__)
    code = function.__code__
    order = code.co_varnames[: code.co_argcount]
    places = [(i, name, *found[name]) for i, name in enumerate(order) if name in found]
    assert found, f"{function.__qualname__} has no parameter to check"
    title, constructor = function.__name__, function.__name__ == "__init__"

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given: Any = args
        for place, name, known, check in places:
            if place < len(args) and type(args[place]) not in known:
                caller = type(args[0]).__name__ if constructor else title
                given = (*given[:place], check(f"{caller}: {name}", args[place]), *given[place + 1 :])
        for name, value in kwargs.items():
            if name in found and type(value) not in found[name][0]:
                caller = type(args[0]).__name__ if constructor else title
                kwargs[name] = found[name][1](f"{caller}: {name}", value)
        return function(*given, **kwargs)

    return call
