"""Walks over the statements and expressions of nests, and nests with some of them replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from graphc.codegen.nest.ir import Call, Expr, If, Let, Loop, Pointer, Return, Statement, Store, Var, While


def walk(expression: Expr) -> Iterator[Expr]:
    """Yield an expression and all that it is made of."""
    yield expression
    for part in expression.parts:
        yield from walk(part)


def rewritten(expression: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """Return an expression with what `change` gives in place of parts, and None for those that it leaves."""
    found = change(expression)
    if found is not None:
        return found
    parts = expression.parts
    new = [rewritten(part, change) for part in parts]
    return expression if all(a is b for a, b in zip(parts, new, strict=True)) else expression.of(*new)


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """Return the expressions that a statement itself evaluates; not what it assigns, nor those of its body."""
    if isinstance(statement, Let):
        return (statement.value,)
    if isinstance(statement, Store):
        return statement.pointer, statement.index, statement.value
    if isinstance(statement, Loop):
        return statement.start, statement.stop
    if isinstance(statement, Call):
        return (statement,)
    return (statement.condition,) if isinstance(statement, While | If) else (statement.value,)


def bodies(statement: Statement) -> tuple[list[Statement], ...]:
    """Return the statements inside a statement."""
    if isinstance(statement, Loop | While):
        return (statement.body,)
    return (statement.body, statement.otherwise) if isinstance(statement, If) else ()


def every(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Yield statements and all inside them, in their order."""
    for statement in statements:
        yield statement
        for body in bodies(statement):
            yield from every(body)


def changed(
    statement: Statement,
    change: Callable[[Expr], Expr | None],
    within: Callable[[Statement], list[Statement]] | None = None,
) -> Statement:
    """Return a statement with all its expressions, what it assigns too, as `rewritten` says.

    `within` gives what statements inside it become; None for the same.
    """

    def new(expression: Expr) -> Expr:
        return rewritten(expression, change)

    def inside(body: list[Statement]) -> list[Statement]:
        return [x for s in body for x in (within(s) if within else [changed(s, change)])]

    def variable(target: Var | Pointer) -> Var | Pointer:
        found = new(target)
        assert isinstance(found, Var | Pointer)
        return found

    match statement:
        case Let(target, value):
            return Let(variable(target), new(value))
        case Store(pointer, index, value):
            return Store(new(pointer), new(index), new(value))
        case Loop(name, start, stop, body, step):
            counter = variable(name)
            assert isinstance(counter, Var)
            return Loop(counter, new(start), new(stop), inside(body), step)
        case While(condition, body):
            return While(new(condition), inside(body))
        case If(condition, body, otherwise):
            return If(new(condition), inside(body), inside(otherwise))
        case Return(value):
            return Return(new(value))
    found = new(statement)
    assert isinstance(found, Call)
    return found
