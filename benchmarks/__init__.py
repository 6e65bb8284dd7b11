"""graphc beside its peers, on the same inputs, in one run: `python -m benchmarks --peer jax=PATH_TO_PYTHON`.

In processing order: `workloads` (what is computed) and `inputs`; `rows_graphc`, `rows_graphc_loops`, `rows_jax`,
`rows_jax_loops`, `rows_torch` (each tool in its best form) behind `tool_graphc`, `tool_jax`, `tool_torch` and
`tool_torchcompile`; `worker` (one process per tool and workload); `__main__` (starts workers, checks that all tools
agree, then takes times, then prints). Only `__main__` needs graphc's environment; a peer brings its own Python.
`python -m benchmarks.profile ROW` says where graphc's time goes, kernel by kernel.
"""
