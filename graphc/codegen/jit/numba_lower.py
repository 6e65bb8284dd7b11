"""Numba's lowering of kernels: words are called, variables are registers, ranges are plain counters.

A variable that one assignment reaches is a register; others live in memory, which LLVM turns into registers. A loop
over a range is tested at its end, with a latch of its own that may ask LLVM to interleave iterations.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.ir as ll
from numba.core import ir, types
from numba.core.lowering import Lower

from graphc.codegen.jit.numba_emit import ADDRESS, I64, LL, Module, kind_of
from graphc.codegen.jit.numba_flow import Flow, Loop
from graphc.codegen.jit.numba_types import PointerType, RangeType
from graphc.codegen.jit.numba_words import literal_cast
from graphc.codegen.math.llvm_text import TYPES

LONG_LOOP = 20
"""Instructions in a loop, but for those of positions, from which it is mathematics that waits for itself; LLVM
interleaves loads and sums as it should."""


class KernelLower(Lower):
    """Numba's lowering, where variables are registers and loops are counters."""

    def init(self) -> None:
        """Take what `numba_flow` found."""
        self.flow: Flow = self.metadata["flow"]
        self.values: dict[str, Any] = {}
        self.slots: dict[str, Any] = {}
        self.ranges: dict[str, tuple[Any, Any]] = {}
        self.counters: dict[int, Any] = {}
        self.bounds: dict[int, Any] = {}
        self.loads: dict[int, tuple[Loop, Any]] = {}
        self.weights: dict[int, tuple[int, int]] = {}
        self.graphc = Module(self.metadata["options"], self.flow, self.module)

    def lower(self) -> None:
        """Lower the function, and add it to no library: its module is taken as text."""
        self.setup_function(self.fndesc)
        self.graphc.builder = self.builder
        self.builder.graphc = self.graphc
        self.fnargs = self.function.args
        flow = self.flow
        for offset in flow.order:
            self.blkmap[offset] = self.function.append_basic_block(f"B{offset}")
        entry = self.builder.block
        for offset in flow.order:
            if offset not in flow.loops:
                self.lower_kernel_block(offset)
        for offset, loop in flow.loops.items():
            self.lower_latch(offset, loop)
        self.builder.position_at_end(entry)
        self.builder.branch(self.blkmap[self.firstblk])

    def lower_kernel_block(self, offset: int) -> None:
        """Lower a block; a loop's body begins by reading its counter."""
        self.builder.position_at_end(self.blkmap[offset])
        m = self.graphc
        before = m.weight, m.forks
        if (loop := self.flow.bodies.get(offset)) is not None:
            value = self.builder.load(self.counters[loop.header], typ=I64)
            for name in loop.names:
                self.storevar(value, name)
        for inst in self.blocks[offset].body:
            self.loc = inst.loc
            if isinstance(inst, ir.Jump):
                self.go(offset, inst.target)
            elif isinstance(inst, ir.Assign) and isinstance(self.typeof(inst.target.name), types.Callable):
                pass
            elif isinstance(inst, ir.Assign) and isinstance(self.typeof(inst.target.name), RangeType):
                self.assign_range(inst)
            elif isinstance(inst, ir.Branch):
                self.builder.cbranch(
                    self.loadvar(inst.cond.name), *map(self.into, (inst.truebr, inst.falsebr), (offset, offset))
                )
            elif isinstance(inst, ir.Return) and self.typeof(inst.value.name) is types.none:
                self.builder.ret(I64(0))
            elif isinstance(inst, ir.Return):
                self.builder.ret(m.index(self.loadvar(inst.value.name), self.typeof(inst.value.name)))
            else:
                self.lower_inst(inst)
        self.weights[offset] = m.weight - before[0], m.forks - before[1]

    def go(self, offset: int, target: int) -> None:
        """Jump; into a loop by its test."""
        loop = self.flow.loops.get(target)
        if loop is None or offset in loop.blocks:
            self.builder.branch(self.blkmap[target])
            return
        start, stop = self.ranges[loop.source]
        self.counters[target] = counter = self.slot(I64)
        self.bounds[target] = stop
        self.builder.store(start, counter)
        more = self.builder.icmp_signed("<" if loop.step > 0 else ">", start, stop)
        self.builder.cbranch(more, self.blkmap[loop.body], self.into(loop.exit, target))

    def into(self, target: int, offset: int) -> Any:
        """Return the block that a branch goes to; into a loop by a block of its own, since its test comes first."""
        loop = self.flow.loops.get(target)
        if loop is None or offset in loop.blocks:
            return self.blkmap[target]
        block = self.function.append_basic_block()
        with self.builder.goto_block(block):
            self.go(offset, target)
        return block

    def lower_latch(self, offset: int, loop: Loop) -> None:
        """Lower the end of a loop: count, test, and go on."""
        self.builder.position_at_end(self.blkmap[offset])
        if offset not in self.counters:
            self.builder.unreachable()
            return
        counter = self.counters[offset]
        following = self.builder.add(self.builder.load(counter, typ=I64), I64(loop.step), flags=("nsw",))
        self.builder.store(following, counter)
        more = self.builder.icmp_signed("<" if loop.step > 0 else ">", following, self.bounds[offset])
        branch = self.builder.cbranch(more, self.blkmap[loop.body], self.into(loop.exit, offset))
        weight, forks = (sum(x) for x in zip(*(self.weights.get(b, (0, 0)) for b in loop.blocks), strict=True))
        options = self.graphc.options
        long = options.whole_vectors or weight + 1 > LONG_LOOP
        if loop.straight and not (options.control or forks) and long:
            self.in_turns(branch, 1 if options.whole_vectors else options.turns)

    def in_turns(self, branch: Any, turns: int) -> None:
        """Ask for a loop that takes several vectors at a time.

        Mathematics in a row has to wait for itself: a chain of tanh runs 1.6 times as fast when two of them take
        turns. LLVM interleaves short loops by itself.
        """
        count = self.module.add_metadata(["llvm.loop.interleave.count", ll.IntType(32)(turns)])
        loop = ll.MDValue(self.module, [], str(len(self.module.metadata)))
        loop.operands = (loop, count)
        branch.set_metadata("llvm.loop", loop)

    # -- Numba's hooks

    def assign_range(self, inst: Any) -> None:
        """Keep the bounds of a range; an iterator and its copies are the range."""
        value, name = inst.value, inst.target.name
        if isinstance(value, ir.Expr) and value.op == "call":
            bounds = [self.graphc.index(self.loadvar(a.name), self.typeof(a.name)) for a in value.args[:2]]
            self.ranges[name] = (bounds[0], bounds[1]) if len(bounds) == 2 else (I64(0), bounds[0])
        else:
            self.ranges[name] = self.ranges[(value if isinstance(value, ir.Var) else value.value).name]

    def lower_assign(self, ty: Any, inst: Any) -> Any:
        """Lower an assignment."""
        value = inst.value
        if isinstance(value, ir.Const) and value.value is None:
            return None
        if isinstance(value, ir.Const):
            return LL[kind_of(ty)](value.value)
        if isinstance(value, ir.Var):
            return self.loadvar(value.name)
        if isinstance(value, ir.Arg):
            return self.fnargs[value.index]
        if value.op == "cast":
            return None if ty is types.none else self.loadvar(value.value.name)
        if value.op == "call":
            name = getattr(self.flow.words.get(value.func.name), "name", "")
            if name in TYPES and value.args[0].name in self.flow.constants:
                return ll.FormattedConstant(LL[name], literal_cast(self.flow.constants[value.args[0].name], name))
        return self.lower_expr(ty, value)

    def lower_inst(self, inst: Any) -> None:
        """Lower a statement, without what Numba keeps for debuggers."""
        if isinstance(inst, ir.Assign):
            name = inst.target.name
            value = self.lower_assign(self.typeof(name), inst)
            if value is not None:
                self.storevar(value, name)
        elif isinstance(inst, ir.StaticSetItem | ir.SetItem):
            index = inst.index_var if isinstance(inst, ir.StaticSetItem) else inst.index
            self.lower_setitem(inst.target, index, inst.value, self.fndesc.calltypes[inst])
        else:
            super().lower_inst(inst)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """Lower an operator."""
        return self.apply(op, expr, [expr.lhs, expr.rhs])

    def lower_getitem(self, resty: Any, expr: Any, value: Any, index: Any, signature: Any) -> Any:
        """Lower a read."""
        return self.apply(operator.getitem, expr, [value, index])

    def lower_setitem(self, target_var: Any, index_var: Any, value_var: Any, signature: Any) -> Any:
        """Lower a write."""
        return self.invoke(operator.setitem, signature, [target_var, index_var, value_var])

    def lower_call(self, resty: Any, expr: Any) -> Any:
        """Lower a call."""
        word = self.flow.words[expr.func.name]
        return self.apply(word, expr, expr.args)

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        """Lower an expression."""
        if expr.op == "unary":
            return self.apply(expr.fn, expr, [expr.value])
        if expr.op == "static_getitem":
            return self.apply(operator.getitem, expr, [expr.value, expr.index_var])
        return super().lower_expr(resty, expr)

    def apply(self, key: Any, expr: Any, operands: Any) -> Any:
        """Call what the target's registry has for a word and these types."""
        return self.invoke(key, self.fndesc.calltypes[expr], operands)

    def invoke(self, key: Any, signature: Any, operands: Any) -> Any:
        """Call what the target's registry has for a word and these types."""
        implementation = self.context.implementation(key, signature)
        return implementation(self.context, self.builder, signature, [self.loadvar(v.name) for v in operands])

    def loadvar(self, name: str) -> Any:
        """Return a variable's value."""
        value = self.values.get(name)
        if value is None:
            slot = self.slots.get(name)
            if slot is None:
                slot = self.slots[name] = self.slot(self.lltype(name))
            value = self.builder.load(slot, typ=self.lltype(name))
        return value

    def storevar(self, value: Any, name: str, argidx: Any = None) -> None:
        """Assign to a variable."""
        if name in self.flow.registers:
            self.values[name] = value
            return
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = self.slot(self.lltype(name))
        self.builder.store(value, slot)

    def lltype(self, name: str) -> Any:
        """Return LLVM's type of a variable."""
        type_ = self.typeof(name)
        return ADDRESS if isinstance(type_, PointerType) else LL[kind_of(type_)]

    def slot(self, type_: Any) -> Any:
        """Reserve memory for a variable."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(type_)
