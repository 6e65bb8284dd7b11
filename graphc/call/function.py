"""`function`: from inputs, outputs and updates to a compiled callable that keeps every intermediate product.

The stages, in order: check the signature, make the graph, run the passes, lay out, fuse, lower, render, compile,
plan, call. `Function.__call__` is a slot that holds, after the first call, a builtin of native code for the last
shapes; whatever that does not recognise comes back to `Function._slow_call`, which converts, checks and explains.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graphc.call.signature import Signature, make_signature
from graphc.call.written import Updates, checked_updates, make_graph, output_nodes
from graphc.graph.arguments import bytes_of, checked, whole
from graphc.graph.binding import solve_sizes
from graphc.graph.errors import ArgumentError, at, printable
from graphc.graph.forks import FORK_LOCK
from graphc.graph.graph import Graph, collector_paused, refuse_unused
from graphc.graph.node import Node
from graphc.graph.tree import unflatten
from graphc.graph.types import Sizes, size_value, symbols
from graphc.passes.schedule.options import EVERYTHING, Options

if TYPE_CHECKING:
    from graphc.call.runner import Compiled, Reference
    from graphc.call.source import Source
    from graphc.call.verification import Verification
    from graphc.codegen.memory.plan import Plan
    from graphc.codegen.run.program import Bound
    from graphc.interop.scipy_adaptors import ScipyFunction
    from graphc.passes.schedule.kernel_costs import Costs
    from graphc.passes.schedule.kernels import Schedule


@checked
def function(
    inputs: Any,
    outputs: Any,
    *,
    updates: Updates | None = None,
    givens: Mapping[Node, Node] | None = None,
    name: str | None = None,
    mode: Literal["compiled", "reference", "debug"] = "compiled",
    threads: int | None = None,
    precision: Literal["vector", "polynomial", "libm"] = "vector",
    on_unused: Literal["error", "ignore"] = "error",
    memory: int | str | None = None,
) -> Function:
    """Compile a graph into a callable.

    Parameters
    ----------
    inputs, outputs
        A node or any nesting of list, tuple and dict; inputs are placeholders. Results come back in the nesting of
        `outputs`, in fresh memory.
    updates
        New values of shared nodes, written together after the outputs are computed. Same shape and dtype. Random
        generators that the program draws from advance by themselves, unless their position is updated here.
    givens
        Nodes to replace by others of the same dtype and rank. A named dimension of theirs that no input gives a size
        takes the size of what replaces them; where an input gives it, the two must be equal in each call.
    mode
        `"reference"` runs the NumPy interpreter; `"debug"` runs the generated kernels as plain Python.
    threads
        The number of threads a call may use, its own included; None: the processors of the process, or what the
        environment variable GRAPHC_NUM_THREADS says. Only calls of more than about 0.2 milliseconds are shared, in
        chunks that depend on sizes alone: results have the same bits for any number of threads. BLAS uses one.
    precision
        Elementary functions: `"vector"`, `"polynomial"`, or `"libm"` (scalar, mostly below 1 ULP). The errors of all
        three stay below 4 ULP (`gammaln`: 5).
    on_unused
        `"ignore"` accepts inputs that no output needs. What a loss depends on is needed by its gradients.
    memory
        The bytes that values in between may take, as a number or as `"4 MB"` (kB, MB, GB; KiB, MiB, GiB): where more
        would wait for a backward part, some are computed again there, those that take the least time. `str(f.plan)`
        says which, and what both ways take. All sizes must be known; the program is compiled at once. Arguments,
        results and state come on top. None: no limit.

    Raises `ArgumentError`, `ShapeError`, `DTypeError` here for what is wrong with the program, and in a call for
    what is wrong with its arguments, before any state changes.

    >>> import graphc as gc
    >>> x = gc.placeholder("x", shape=("n",))
    >>> f = gc.function([x], x * 2 + 1)
    >>> f([1.0, 2.0])
    array([3., 5.])
    """
    threads = None if threads is None else whole("function: threads", threads, 1)
    limit = None if memory is None else bytes_of("function: memory", memory)
    signature = make_signature(inputs)
    nodes = output_nodes(outputs)
    pairs = checked_updates(updates)
    graph = make_graph(signature, nodes, pairs, {} if givens is None else givens)
    if on_unused == "error":
        refuse_unused(graph, [*nodes, *(value for _, value in pairs)])
    f = Function(signature, outputs, graph, name or "function", mode, precision, threads, memory=limit)
    return f if limit is None else _fitted_at_once(f)


def _fitted_at_once(f: Function) -> Function:
    """Compile a function whose memory is limited, so that a limit that is too low is an error of this line."""
    graph = f.graph
    if f.mode == "reference":
        raise ArgumentError(f'function: memory limits compiled programs, and mode is "reference"{at()}')
    named = list(symbols([size for node in graph.extents for size in node.shape]))
    if named:
        raise ArgumentError(
            f"function: memory needs sizes that are known before a call; dimension {min(named)} is named{at()}"
        )
    return f.compile()


class Function:
    """The compiled callable; made by `function`.

    `graph` is the program as written; `optimized`, `schedule`, `plan`, `source` and `stats` are the products of the
    later stages. A function may be called from several threads and after a fork, and pickles with its state.
    """

    __slots__ = (
        "__call__",
        "__weakref__",
        "_compiled",
        "_options",
        "_outputs",
        "_runner",
        "_seconds",
        "_signature",
        "graph",
        "memory",
        "mode",
        "name",
        "precision",
        "threads",
    )

    __call__: Callable[..., Any]

    def __init__(
        self,
        signature: Signature,
        outputs: Any,
        graph: Graph,
        name: str,
        mode: str,
        precision: str,
        threads: int | None,
        options: Options = EVERYTHING,
        *,
        memory: int | None = None,
    ) -> None:
        self._signature = signature
        self._outputs = outputs
        self._runner: Compiled | Reference | None = None
        self._compiled: Compiled | None = None
        self._seconds: dict[str, float] = {}
        self.graph = graph
        self.name = name
        self.mode = mode
        self.precision = precision
        self.threads = threads
        self.memory = memory
        self._options = options
        self.__call__ = self._slow_call

    def _without(self, *names: str) -> Function:
        """Return this function compiled without some passes and forms; see `graphc.passes.schedule.options`."""
        options = self._options.without(names)
        given = self._signature, self._outputs, self.graph, self.name, self.mode, self.precision, self.threads
        return Function(*given, options, memory=self.memory)

    # -- calling

    def compile(self) -> Function:
        """Compile now rather than at the first call, and return this function."""
        if self._runner is None:
            with collector_paused():
                self._runner = self._make_runner()
        return self

    def _make_runner(self) -> Compiled | Reference:
        with FORK_LOCK:  # for which a fork waits
            from graphc.call.runner import Compiled, Reference, result_mode
            from graphc.codegen.run.program import Program
            from graphc.codegen.run.tape import LIST_MODE
            from graphc.codegen.run.team import default_threads
            from graphc.passes import optimize

        if self.mode == "reference":
            return Reference(self.graph)
        started = time.perf_counter()
        optimized = optimize(self.graph, self._options)
        self._seconds = {"passes": time.perf_counter() - started}
        debug = self.mode == "debug"
        threads = default_threads() if self.threads is None else self.threads
        program = Program(
            optimized, self.precision, self._options, compiled=not debug, threads=threads, memory=self.memory
        )
        self._seconds |= program.seconds
        mode = result_mode(self._outputs)
        mode = LIST_MODE if mode is None else mode
        self._compiled = Compiled(self.graph, program, mode, interpreted=debug, name=self.name)
        return self._compiled

    def _slow_call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run through Python, and return the results in their nesting."""
        return unflatten(self._outputs, self._slow_results(*args, **kwargs))

    def _slow_results(self, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Bind, check and convert the arguments, run, and install the native entry for these shapes."""
        runner = self.compile()._runner
        assert runner is not None
        results = runner.call(self._signature.bind(args, kwargs))
        compiled = self._compiled
        if compiled is not None and compiled.last is not None and compiled.native and self._signature.flat:
            self._install(compiled.last)
        return results

    def _install(self, bound: Bound) -> None:
        """Make the native entry this function's call; a nesting that it cannot build is built around it."""
        from graphc.call.runner import result_mode

        if result_mode(self._outputs) is not None:
            self.__call__ = bound.native(self._slow_call)
            return
        native, outputs = bound.native(self._slow_results), self._outputs
        self.__call__ = lambda *args, **kwargs: unflatten(outputs, native(*args, **kwargs))

    # -- looking inside

    @property
    def optimized(self) -> Graph:
        """The graph after all passes."""
        return self._built.program.graph

    @property
    def schedule(self) -> Schedule:
        """The kernels in order; `str` prints one line each."""
        return self._built.program.main.schedule

    @property
    def cost(self) -> Costs:
        """The bytes, the arithmetic and the special functions of every kernel, by sizes; `str` prints a table."""
        from graphc.passes.schedule.kernel_costs import kernel_costs

        return kernel_costs(self.schedule)

    @property
    def plan(self) -> Plan:
        """The arena at the sizes of the last call (at once where all sizes are static)."""
        compiled = self._built
        if compiled.last is None:
            sizes = self._sizes_of_arguments()
            if sizes is None:
                raise ArgumentError(f"the plan of {self.name} depends on sizes: call it first{at()}")
            arrays = [np.zeros([size_value(s, sizes) for s in x.shape], x.dtype) for x in self.graph.inputs]
            compiled.last = compiled.program.bind(arrays, sizes, compiled.mode)
        return compiled.last.plan

    @property
    def source(self) -> Source:
        """The program as a standalone Numba module; `source.kernels` is the text of its kernels alone."""
        from graphc.call.source import Source
        from graphc.codegen.run.module import module_text

        program, sizes = self._built.program, self._sizes_of_arguments()
        return Source(lambda: module_text(program, sizes, self.name), program.describe())

    def _sizes_of_arguments(self) -> Sizes | None:
        """Return the sizes of the last call, or those that are known before any; None where some are not."""
        last = self._built.last
        if last is not None:
            return last.sizes
        states = self.graph.resizable
        sizes = solve_sizes(states, [s.state.array.shape for s in states])
        known = all(name in sizes for x in self.graph.inputs for name in symbols(x.shape))
        return sizes if known else None

    @property
    def stats(self) -> dict[str, Any]:
        """Counts and times: nodes before and after the passes, kernels, arena bytes, seconds by stage."""
        program, last = self._built.program, self._built.last
        return {
            "nodes_before": len(self.graph),
            "nodes_after": len(program.graph),
            "kernels": len(program.sources),
            "distinct_kernels": len(set(program.kernels)),
            "peak_bytes": None if last is None else last.plan.peak_bytes,
            "compiled": program.compiled,
            "from_cache": program.from_cache,
            "compile_seconds": sum(self._seconds.values()),
            "seconds": dict(self._seconds),
        }

    # -- for other libraries

    def to_scipy(self, wrt: Any, x0: Any = None) -> ScipyFunction:
        """Return this function of one flat vector with its derivatives, as `scipy.optimize` wants it.

        `wrt` holds the variables: names of inputs, placeholders or shared nodes, one or any nesting; `x0` is a start
        in the same nesting, needed where shapes are symbolic. The other inputs are SciPy's `args`, in order. The
        function must have one output (0-d for `minimize`, residuals for `root` and `least_squares`) and no updates.

        >>> import graphc as gc
        >>> from scipy.optimize import minimize
        >>> x = gc.placeholder("x", shape=("n",))
        >>> f = gc.function([x], gc.sum((x - 3) ** 2)).to_scipy(x, x0=[0.0, 0.0])
        >>> minimize(f.fun, f.x0, jac=f.jac).x.round(6)
        array([3., 3.])
        """
        from graphc.interop.scipy_adaptors import ScipyFunction

        return ScipyFunction(self, wrt, x0)

    def verify(self, /, *args: Any, **kwargs: Any) -> Verification:
        """Compare the compiled program with the program as written, interpreted, on these arguments.

        State is afterwards as it was. Where results differ by more than rounding explains (the interpreter is run
        again with noise in the last digits, to see how far that moves them), it finds the pass, the form or the
        kernel that makes the difference, the value and your line, writes the smallest part of the program that
        differs to a file to attach to a report, and raises `graphc.call.verification.VerificationError`, whose `report`
        has all that. Takes many times as long as a call. `graphc.call.cases.load_case` reads such a file.

        >>> import graphc as gc
        >>> x = gc.placeholder("x", shape=("n",))
        >>> print(gc.function([x], gc.sum(gc.exp(x) * x)).verify([1.0, 2.0]))
        output 0: 1 elements agree, 0 are open
        """
        from graphc.call.verification import verify_function

        return verify_function(self, self._signature.bind(args, kwargs))

    def bind(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Callable[[], Any]:
        """Return a callable without arguments that runs on these arrays, in place of checking them at every call.

        It reads the arguments' present contents and writes the results into `out`, which it returns: arrays in the
        nesting of `outputs`, made here where not given. All are C-contiguous arrays of the declared dtypes, and no
        result shares memory with an argument or another result. One call at a time.

        >>> import numpy as np
        >>> import graphc as gc
        >>> x, data = gc.placeholder("x", shape=(3,)), np.zeros(3)
        >>> step = gc.function([x], x + 1).bind(data)
        >>> data += 10
        >>> step()
        array([11., 11., 11.])
        """
        from graphc.call.fixed import bind_function

        if out is not None and "out" in self._signature.names[len(args) :]:  # an input of that name
            out, kwargs = None, {**kwargs, "out": out}
        return bind_function(self, self._signature.bind(args, kwargs), self._outputs, out)

    @checked
    def njit(self, sizes: Mapping[str, int] | None = None, *, threads: int = 1) -> Any:
        """Return this function for use inside `@numba.njit` code: arrays in, new arrays out, without Python.

        Arguments are C-contiguous arrays of exactly the declared dtypes, scalars where there are no axes; results
        likewise, several as a tuple. `sizes` fixes the named dimensions. The result is thread-safe: `threads` calls
        run at once, each in memory of its own that stays for the life of the process; more wait. State can be read,
        not updated; a failed check raises `ValueError`; Ctrl-C does not end a call.

        >>> import graphc as gc, numba, numpy as np
        >>> x = gc.placeholder("x", shape=("n",))
        >>> norm = gc.function([x], gc.sqrt(gc.sum(x * x))).njit({"n": 2})
        >>> numba.njit(lambda a: norm(a) + norm(2 * a))(np.array([3.0, 4.0]))
        15.0
        """
        from graphc.interop.native import make_njit

        return make_njit(self, sizes, threads)

    @checked
    def cfunc(self, signature: str, sizes: Mapping[str, int] | None = None, *, threads: int = 1) -> Any:
        """Return this function as a C callback, a ctypes function that `scipy.LowLevelCallable` takes.

        `signature`: "double(double)" with one double an input, or "double(int, double*)", as `scipy.integrate` calls
        integrands; "int(double*, npy_intp, double*, void*)" and the form with a second length, as `scipy.ndimage`
        calls filters. A last `void*` is accepted and ignored. For `sizes`, `threads` and state see `njit`. A failed
        check or another length gives NaN, or the status 0.

        >>> import graphc as gc, scipy
        >>> x = gc.placeholder("x")
        >>> f = scipy.LowLevelCallable(gc.function([x], gc.exp(-x * x)).cfunc("double(double)"))
        >>> round(scipy.integrate.quad(f, -10, 10)[0], 10)
        1.7724538509
        """
        from graphc.interop.native import make_cfunc

        return make_cfunc(self, signature, sizes, threads)

    @property
    def _built(self) -> Compiled:
        self.compile()
        if self._compiled is None:
            raise ArgumentError(f'{self.name} has mode="reference": nothing is compiled{at()}')
        return self._compiled

    @property
    def __signature__(self) -> inspect.Signature:
        return self._signature.inspect()

    @property
    def __name__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        inside = ", ".join(f"{x.name}: {x.type}" for x in self._signature.nodes)
        results = self.graph.outputs[: len(self.graph.outputs) - len(self.graph.updates)]
        changed = f" updates {', '.join(s.name for s in self.graph.updates)}" if self.graph.updates else ""
        types = ", ".join(str(o.type) for o in results) or "None"
        return printable(f"<Function {self.name}({inside}) -> {types}{changed}>")

    def _repr_html_(self) -> str:
        from graphc.inspect.svg import function_to_svg

        return function_to_svg(self)

    def to_svg(self) -> str:
        """Draw the optimised graph, with its kernels, as a self-contained SVG document."""
        return self._repr_html_()

    def __reduce__(self) -> tuple[Any, ...]:
        from graphc.call.pickling import pack_function

        return pack_function(self)
