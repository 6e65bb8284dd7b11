"""`lower(kernel, ...) -> LoopNest`: the loop nest of a fused kernel.

The nest has outer loops, and inside them one inner nest per *phase*: values that depend on a reduction over the
inner axes run in a later phase than the reduction. A value that several phases need is computed again where it
is cheap, and kept in a row buffer (or reread from its own output) where it is not. Adjacent axes collapse into
one loop where every access allows it.

Sums over inner axes run in blocks with a compensated sum of the blocks (Neumaier 1974), whose error does not grow with
their number; the block itself is reassociated, so that it vectorises. `accumulated` has those over outer axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from graphc.codegen.nest import ir
from graphc.codegen.nest.accumulated import AccumulatedBlocks, block_of, row_in_blocks
from graphc.codegen.nest.framing import divided, framed_axes, framed_value
from graphc.codegen.nest.ir import HI, LO, ZERO, Expr, Loop, Statement, Store, Var, total
from graphc.codegen.nest.nest import Builder, LoopNest
from graphc.codegen.nest.options import KernelOptions
from graphc.codegen.nest.partials import Partials, assemble_whole, may_be_large, share
from graphc.codegen.nest.phases import Phase, first_phases, roots_by_phase, rows_to_keep
from graphc.codegen.nest.reduce import combine, reduce_row, reduce_rows
from graphc.codegen.nest.row_strips import with_row_strips
from graphc.codegen.nest.rows import ask_ahead, indexed_shape, row_length
from graphc.codegen.nest.scalars import scalar_code
from graphc.codegen.nest.strips import with_strips
from graphc.codegen.nest.target_rows import with_target_rows
from graphc.graph.node import Node
from graphc.graph.op import Constant
from graphc.graph.types import INT64, Shape, Size, product, short_name
from graphc.ops.cost import gains_from_vectors
from graphc.ops.creation import Iota
from graphc.ops.elementwise_logic import EQUAL
from graphc.ops.indexing import Gather, Scatter
from graphc.ops.pointwise import DimValue
from graphc.ops.reduction import Reduction
from graphc.passes.schedule.frame import Framed
from graphc.passes.schedule.fuse import squeeze_strides
from graphc.passes.schedule.fusion_costs import element_ns
from graphc.passes.schedule.kernels import ACCUMULATED, INNER, OUTER, TOTAL, Kernel, Schedule
from graphc.passes.schedule.layout import Access, base_strides, is_inline

Accesses = dict[Node, Access]


def lower(kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], *, divide: bool) -> LoopNest:
    """Return the nest of a kernel with a scatter; `aliased` maps state that is updated in place to its new value."""
    lowering = Lowering(kernel, schedule, aliased, divide=False)
    divide = divide and schedule.options.uses("target_rows")
    return with_target_rows(lowering, lowering.nest()) if divide else lowering.nest()


def lower_loop(kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], *, divide: bool) -> list[LoopNest]:
    """Return the nest of a loop kernel, or two of which the sizes choose one.

    `divide`: whether chunks of a large nest may run in frames of their own.
    """
    lowering = Lowering(kernel, schedule, aliased, divide)
    strips, form = (with_strips, "strips") if kernel.split is None else (with_row_strips, "row_strips")
    return strips(lowering, lowering.nest()) if schedule.options.uses(form) else [lowering.nest()]


class Lowering:
    """Lowers one loop kernel; see the module's docstring."""

    def __init__(self, kernel: Kernel, schedule: Schedule, aliased: dict[Node, Node], divide: bool) -> None:
        self.kernel = kernel
        self.unit_ns = 0.1 + sum(map(element_ns, kernel.nodes))
        self.accesses = schedule.accesses
        self.inline = schedule.inline
        self.divide = divide
        self.options = schedule.options
        self.dear = self.options.uses("vector_gathers") and any(map(gains_from_vectors, kernel.nodes))
        self.split = len(kernel.space) if kernel.split is None else kernel.split
        self.phase_of = first_phases(kernel, self.accesses)
        self.roots = roots_by_phase(kernel, self.phase_of)
        self.kept = rows_to_keep(kernel, self.accesses, self.roots, self.options)
        self.blocks = AccumulatedBlocks(self)
        written = [*kernel.stored, *(n for n in self.kept if n not in kernel.in_memory)]
        self.build = Builder([*written, *self.blocks.memory], aliased)
        chunks = divide and self.options.uses("partial_chunks") and may_be_large(kernel.space, self.unit_ns)
        self.partials = Partials(self.build) if chunks else None
        self.framed = framed_axes(kernel.nodes)
        self.groups = self._collapsed()
        self.variables = [Var(f"d{k}") for k in range(len(self.groups))]
        self.outer_values: dict[object, Expr] = {}
        self.outer_loads: list[Statement] = []
        self.phases = [Phase() for _ in range(1 + max(self.phase_of.values(), default=0))]
        self.done: dict[Node, int] = {}
        self.shared = False
        self.whole_vectors = False
        self.positions: dict[Node, list[Var]] = {}
        """The checked positions at which members gather and scatter."""
        self.before: list[Statement] = []
        self.after: list[Statement] = []

    @property
    def _single(self) -> bool:
        """Tell whether the kernel has no row reduction: one phase, all axes in one nest."""
        return self.kernel.split is None

    # -- axes

    def _collapsed(self) -> list[list[int]]:
        """Group adjacent axes of the space that every access walks as one."""
        if len(self.kernel.space) == 1:
            return [[0]]
        inner, outer = self._all_strides()
        groups: list[list[int]] = []
        for axis, size in enumerate(self.kernel.space):
            same_side = bool(groups) and (axis < self.split or axis > self.split or self._single)
            same_side = same_side and not self.framed & {axis - 1, axis} and self.options.uses("collapse")
            rows = inner + (outer if axis < self.split else [])
            if same_side and all(s[axis - 1] == s[axis] * size for s in rows):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        return groups

    def _all_strides(self) -> tuple[list[Shape], list[Shape]]:
        """Return the strides of every load and store, of inner and of outer values."""
        found: dict[str, list[Shape]] = {INNER: [], OUTER: []}
        stored = {*self.kernel.stored, *self.kept}
        for node in self.kernel.nodes:
            level = self.kernel.levels[node]
            inner = level != OUTER or isinstance(node.op, Reduction)
            for i, x in enumerate(node.inputs):
                indexed = isinstance(node.op, (Gather, Scatter)) and i == 0
                if self.accesses[x].base not in self.kernel.levels and not indexed:
                    found[INNER if inner else OUTER].append(self.operand_strides(node, x))
            if isinstance(node.op, (Gather, Scatter)):
                found[OUTER if level == OUTER else INNER].append(self.indexed_strides(node))
            if isinstance(node.op, Scatter):
                continue
            if node in stored:
                found[OUTER if level == OUTER else INNER].append(self._store_strides(node))
        return found[INNER], found[OUTER]

    def operand_strides(self, node: Node, x: Node) -> Shape:
        """Return the strides of an operand read from memory, over the squeezed axes its reader runs over."""
        access = self.accesses[x]
        shape: Shape = node.shape if isinstance(node.op, Framed) else x.shape
        strides = access.strides
        if isinstance(node.op, (Gather, Scatter)):
            shape = indexed_shape(node)
            strides = (*strides, *(0 for _ in range(len(shape) - x.ndim)))
        return squeeze_strides(strides, shape)

    def indexed_strides(self, node: Node) -> Shape:
        """Return the strides of what is gathered from, or scattered into; index axes come first."""
        assert isinstance(node.op, (Gather, Scatter))
        shape, x = indexed_shape(node), node.inputs[0]
        whole = base_strides(node) if isinstance(node.op, Scatter) else self.accesses[x].strides
        rest = [s for a, s in enumerate(whole) if a not in node.op.axes]
        return squeeze_strides((*(0 for _ in range(len(shape) - len(rest))), *rest), shape)

    def _store_strides(self, node: Node) -> Shape:
        """Return the strides at which a member is stored."""
        own = squeeze_strides(base_strides(node), node.shape)
        if self.kernel.levels[node] == ACCUMULATED:
            return self._accumulated_strides(node)
        if self.kernel.levels[node] == TOTAL:
            return tuple(0 for _ in self.kernel.space)
        if node in self.kept:
            row = squeeze_strides(base_strides(node), node.shape)[self.split :]
            return (*(0 for _ in range(self.split)), *row)
        return own

    def _accumulated_strides(self, node: Node) -> Shape:
        assert isinstance(node.op, Reduction)
        own = iter(base_strides(node))
        shape = node.inputs[0].shape
        full = tuple(0 if a in node.op.axes else next(own) for a in range(len(shape)))
        return squeeze_strides(full, shape)

    def group_strides(self, strides: Shape) -> Shape:
        """Return one stride per collapsed loop, for strides over all or the outer axes."""
        return tuple(strides[g[-1]] for g in self.groups if g[-1] < len(strides))

    # -- reading operands

    def _operand(self, node: Node, position: int, phase: int | None) -> Expr:
        """Return the expression for one operand of a member; phase None is the outer level."""
        x = node.inputs[position]
        base = self.accesses[x].base
        if base in self.kernel.levels:
            found = self._in_kernel(base, phase)
            if found is not None:
                return found
            return self._load(base, 0, self._store_strides(base), phase)
        strides = self.operand_strides(node, x)
        if base in self.inline:
            return self._inline_scalar(base)
        if is_inline(base.op):
            return self._inline(base, self.accesses[x].offset, strides)
        return self._load(base, self.accesses[x].offset, strides, phase)

    def read(self, access: Access, node: Node) -> Expr:
        """Return the expression that reads an operand of a framed value, where its region holds."""
        base, strides = access.base, squeeze_strides(access.strides, node.shape)
        if base in self.inline:
            return self._inline_scalar(base)
        if is_inline(base.op):
            return self._inline(base, access.offset, strides)
        groups = self.group_strides(strides)
        index = self.build.index(groups, self.variables[: len(groups)])
        return self.build.pointer(base, access.offset)[index]

    def _in_kernel(self, base: Node, phase: int | None) -> Expr | None:
        if base in self.outer_values:
            return self.outer_values[base]
        return None if phase is None else self.phases[phase].values.get(base)

    def _inline(self, base: Node, offset: Size, strides: Shape) -> Expr:
        op = base.op
        if isinstance(op, Constant):
            return self.build.literal(op.value.reshape(()))
        name = short_name(base.dtype)
        if isinstance(op, DimValue):
            return self.build.once(("dim", op.dim, name), "c", lambda: ir.Cast(name, self.build.size(op.dim)))
        assert isinstance(op, Iota)
        return self._counter(name, offset, strides)

    def _counter(self, name: str, offset: Size, strides: Shape) -> Expr:
        """Return the expression for an element of a range, in the dtype called `name`."""
        groups = self.group_strides(strides)
        index = self.build.index(groups, self.variables[: len(groups)])
        return ir.Cast(name, index if offset == 0 else index + self.build.size(offset))

    def _inline_scalar(self, node: Node) -> Expr:
        """Compute a scalar of sizes and literals at the top of the kernel; fusion bounds its depth."""

        def code() -> Expr:
            places = [self.accesses[x] for x in node.inputs]
            return scalar_code(node, [self._scalar_operand(at.base, at.offset) for at in places])

        return self.build.once(("scalar", node), "c", code)

    def index(self, groups: Shape) -> Expr:
        """Return the flat index of an element that is loaded; functions like exp gain most from vectors."""
        variables = self.variables[: len(groups)]
        if not groups or len(groups) < len(self.groups):
            return self.build.index(groups, variables)
        return self.build.load_index(groups, variables, steps=self.dear)

    def _scalar_operand(self, base: Node, offset: Size) -> Expr:
        return self._inline_scalar(base) if base in self.inline else self._inline(base, offset, ())

    def _load(self, base: Node, offset: Size, strides: Shape, phase: int | None) -> Expr:
        """Load once per loop level: at the top, in the outer loops or in the phase."""
        groups = self.group_strides(strides)
        index = self.index(groups)
        pointer = self.build.pointer(base, offset)
        inner = any(s != 0 and g[-1] >= self.split for s, g in zip(groups, self.groups, strict=False))
        key = (base, offset, groups)
        if index == ZERO and base not in self.build.scopes:
            return self.build.once(key, "x", lambda: pointer[ZERO])
        reread = base in self.kernel.levels  # an earlier phase stores it: only a load after that sees it
        if phase is None or not (inner or self._single or reread):
            values, statements = self.outer_values, self.outer_loads
        else:
            values, statements = self.phases[phase].values, self.phases[phase].body
        if key not in values:
            values[key] = self.build.let(statements, "x", pointer[index])
        return values[key]

    # -- computing members

    def _closure(self, root: Node, phase: int) -> list[Node]:
        """Return the inner members that a phase must compute for a root, operands first."""
        order: list[Node] = []
        stack = [(root, False)]
        seen: set[Node] = set()
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif node not in seen and node not in self.phases[phase].values and not self._reread(node, phase):
                seen.add(node)
                stack.append((node, True))
                bases = [self.accesses[x].base for x in node.inputs]
                stack.extend((b, False) for b in reversed(bases) if self.kernel.levels.get(b) == INNER)
        return order

    def _reread(self, node: Node, phase: int) -> bool:
        return self.done.get(node, phase) < phase and (node in self.kernel.in_memory or node in self.kept)

    def _compute(self, node: Node, phase: int | None) -> Var:
        """Emit the statement of one pointwise, gather or framed member and return its variable."""
        if isinstance(node.op, Framed):
            assert phase is not None
            name = self.phases[phase].values[node] = self.build.name("t", short_name(node.dtype))
            self.phases[phase].body.append(framed_value(self, node, name))
            return name
        if isinstance(node.op, Gather):
            code = self._gather(node, phase)
        else:
            operands = [self._operand(node, i, phase) for i in range(len(node.inputs))]
            code = scalar_code(node, operands if node.op is not EQUAL else self._halved(node, operands))
        if phase is None:
            name = self.outer_values[node] = self.build.let(self.phases[self.phase_of[node] - 1].after, "t", code)
            return name
        name = self.phases[phase].values[node] = self.build.let(self.phases[phase].body, "t", code)
        self.done.setdefault(node, phase)
        return name

    def _halved(self, node: Node, operands: list[Expr]) -> list[Expr]:
        """Compare an index that is the same along a row with a counter, as one-hot values do, by half the bits."""
        for number, counter in ((0, 1), (1, 0)) if self.options.uses("narrow_counters") else ():
            x, iota = node.inputs[number], self.accesses[node.inputs[counter]].base.op
            if not (isinstance(iota, Iota) and iota.dtype == INT64 and self.accesses[x].base not in self.kernel.levels):
                continue
            extent, groups = iota.shape[iota.axis], self.group_strides(self.operand_strides(node, x))
            whole = len(groups) == len(self.groups) > 0
            if isinstance(extent, int) and extent < 2**31 and whole and groups[-1] == 0:
                n, row = self.build.size(extent), operands[number]
                outside = ir.Number(-1, cast=True)
                inside = ir.Cast("i32", ir.select(row < n, ir.select(row < 0, outside, row), outside))
                other = node.inputs[counter]
                position = self._counter("i32", self.accesses[other].offset, self.operand_strides(node, other))
                return [inside, position]
        return operands

    def _gather(self, node: Node, phase: int | None) -> Expr:
        assert isinstance(node.op, Gather)
        access = self.accesses[node.inputs[0]]
        body = self.phases[self.phase_of[node] - 1].after if phase is None else self.phases[phase].body
        place = self._indexed_place(node, access.strides, 1, phase, body)
        return self.build.pointer(access.base, access.offset)[place]

    def _scatter(self, node: Node, phase: int) -> None:
        """Emit the write of a scatter; a target that is not written in place has been copied before."""
        assert isinstance(node.op, Scatter)
        body = self.phases[phase].body
        value = self._operand(node, 1, phase)
        index = self._indexed_place(node, base_strides(node), 2, phase, body)
        pointer = self.build.pointer(node, 0)
        new = combine("sum", node.dtype, pointer[index], value) if node.op.mode == "add" else value
        self.phases[phase].stores.append(Store(pointer, index, new))

    def _indexed_place(self, node: Node, whole: Shape, first: int, phase: int | None, body: list[Statement]) -> Expr:
        """Emit the checks of the indices, operands from `first` on, and return the flat index of the element."""
        assert isinstance(node.op, (Gather, Scatter))
        strides = self.group_strides(self.indexed_strides(node))
        terms = [self.build.index(strides, self.variables[: len(strides)])]
        self.build.checks.append(node)
        for position, axis in enumerate(node.op.axes, start=first):
            j = self.build.checked(body, self._operand(node, position, phase), node.inputs[0].shape[axis])
            self.positions.setdefault(node, []).append(j)
            stride = whole[axis]
            terms.append(j if stride == 1 else j * self.build.size(stride))
        return total(*terms)

    # -- assembling the nest

    def nest(self) -> LoopNest:
        """Return the loop nest."""
        for number, phase in enumerate(self.phases):
            for root in self.roots.get(number, []):
                self._root(root, number)
            for node in self.kernel.nodes:
                outer = self.kernel.levels[node] == OUTER and not isinstance(node.op, Reduction)
                if outer and self.phase_of[node] == number + 1:
                    self._compute(node, None)
            for node in self.kernel.stored:
                if self.kernel.levels[node] == OUTER and self.phase_of[node] == number + 1:
                    phase.after.append(self._store(node, self.outer_values[node]))
        extent, body = self._assemble()
        kept = tuple((n, product(squeeze_strides(n.shape, n.shape)[self.split :])) for n in self.kept)
        rows = (*kept, *self.blocks.rows())
        parts = None if self.partials is None else self.partials.finish(bool(rows), self.blocks.memory)
        return LoopNest(
            (*self.build.top, *body),
            tuple(self.build.slots),
            extent,
            product(self.kernel.space),
            tuple(self.build.checks),
            rows,
            divisible=not self.shared and not rows and self.kernel.kind != "scatter",
            unit_ns=self.unit_ns,
            options=KernelOptions(self.kernel.turns, self.whole_vectors),
            parts=parts,
        )

    def _root(self, root: Node, number: int) -> None:
        phase = self.phases[number]
        reader = isinstance(root.op, (Reduction, Scatter))
        operands = [self.accesses[x].base for x in root.inputs] if reader else [root]
        for node in operands:
            for inner in self._closure(node, number) if self.kernel.levels.get(node) == INNER else []:
                self._compute(inner, number)
                if inner in self.kept:
                    phase.stores.append(self._store(inner, phase.values[inner]))
        if isinstance(root.op, Scatter):
            self._scatter(root, number)
            return
        if not isinstance(root.op, Reduction):
            phase.stores.append(self._store(root, phase.values[root]))
            return
        value = self._operand(root, 0, number)
        if self.kernel.levels[root] == ACCUMULATED:
            self.blocks.accumulate(root, number, value, self.group_strides(self._store_strides(root)))
        elif self.kernel.levels[root] == TOTAL:
            row = reduce_row(root, self.build, phase, value, ZERO, self._blocked(root, phase))
            found = reduce_rows(root, self.build, self.before, phase.after, self.after, row)
            self.after.append(self._store(root, found))
            share(self, root, found, number)
        else:
            inside = self.groups and self.groups[-1][-1] >= self.split
            position = self.variables[-1] if inside else ZERO  # for argmax
            result = reduce_row(root, self.build, phase, value, position, self._blocked(root, phase))
            self.outer_values[root] = result
            if self.split == 0:
                share(self, root, result, number)

    def _blocked(self, root: Node, phase: Phase) -> bool:
        inner = self.kernel.space[self.split :]
        count = product(inner)
        longest = block_of(phase)
        return root.op.name == "sum" and root.dtype.kind == "f" and not (isinstance(count, int) and count <= longest)

    def _store(self, node: Node, value: Expr) -> Store:
        groups = self.group_strides(self._store_strides(node))
        index = self.build.index(groups, self.variables[: len(groups)])
        return Store(self.build.pointer(node, 0), index, value)

    def _assemble(self) -> tuple[Size, list[Statement]]:
        outer = [k for k, g in enumerate(self.groups) if g[-1] < self.split and not self._single]
        inner = [k for k in range(len(self.groups)) if k not in outer]
        extents = [product(self.kernel.space[a] for a in g) for g in self.groups]
        length = row_length(self, extents)
        stops: list[Expr] = [self.build.size(e) for e in (extents if length is None else extents[:-1])]
        stops += [] if length is None else [ir.Number(length)]
        if any(isinstance(n.op, Framed) for n in self.kernel.nodes):
            return extents[0], self._framed_nest(stops)
        if not outer and not self._single:
            return assemble_whole(self, inner, extents, stops)
        ahead = ask_ahead(self, extents, stops) if self._single or len(inner) == 1 else []
        body: list[Statement] = list(self.outer_loads) + (ahead if outer else [])
        for phase in self.phases:
            bounds = None if outer else (LO, HI)
            nest = self.inner_nest(phase, inner, stops, bounds=bounds, ahead=() if outer else ahead)
            body += [*phase.before, *nest, *phase.after]
        for k in reversed(outer):
            start, stop = (LO, HI) if k == outer[0] else (ZERO, stops[k])
            body = self.blocks.loop(k, None, start, stop, partial(self._loop_over, k, body))
        if not isinstance(body[-1], Loop):
            return 1, body
        body = body if self.partials is None else self.partials.wrap(body)
        return extents[0], [*self.before, *body, *self.after]

    def _framed_nest(self, stops: list[Expr]) -> list[Statement]:
        """Return the loops of a kernel with framed values: it has one phase."""
        (phase,) = self.phases
        starts = [LO, *(ZERO for _ in stops[1:])]
        stops = [HI, *stops[1:]]
        body = divided(self, [*phase.body, *phase.stores], starts[-1], stops[-1])
        for k in reversed(range(len(stops) - 1)):
            body = self.blocks.loop(k, None, starts[k], stops[k], partial(self._loop_over, k, body))
        return body

    def _loop_over(self, k: int, body: list[Statement], start: Expr, stop: Expr) -> list[Statement]:
        return [Loop(self.variables[k], start, stop, body)]

    def inner_nest(
        self,
        phase: Phase,
        inner: list[int],
        stops: list[Expr],
        *,
        bounds: tuple[Expr, Expr] | None = None,
        ahead: Sequence[Statement] = (),
    ) -> list[Statement]:
        """Return the loops of a phase; `bounds`: the range of the outermost; `ahead` stands before the innermost."""
        starts = {k: bounds[0] if bounds and k == inner[0] else ZERO for k in inner}
        stops = [bounds[1] if bounds and k == inner[0] else stop for k, stop in enumerate(stops)]
        statements: list[Statement] = [*phase.body, *phase.stores]
        if not statements and not phase.block_end:
            return []
        if not inner:
            return [*phase.block_start, *statements, *phase.block_end]
        last, number = inner[-1], self.phases.index(phase)
        if phase.block_end:
            nest = row_in_blocks(phase, last, self.variables[last], statements, starts[last], stops[last])
        else:
            make = partial(self._loop_over, last, statements)
            nest = self.blocks.loop(last, number, starts[last], stops[last], make)
        nest = [*ahead, *nest]
        for k in reversed(inner[:-1]):
            nest = self.blocks.loop(k, number, starts[k], stops[k], partial(self._loop_over, k, nest))
        return nest
