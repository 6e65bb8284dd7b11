"""graphc beside its peers, on the same inputs, in one run: `python -m benchmarks --peer jax=PATH_TO_PYTHON`.

In processing order: `workloads` (what is computed) and `inputs`; `rows_graphc`, `rows_graphc_loops`, `rows_jax`,
`rows_jax_loops`, `rows_torch`, `rows_pytensor`, `rows_pytensor_loops` (each tool in its best form) behind
`tool_graphc`, `tool_jax`, `tool_torch`, `tool_torchcompile` and `tool_pytensor`; `memory` and `worker` (one process
per tool and workload); `processes` (starts workers) and `runs` (checks that all tools agree, then takes times);
`results` (JSON), `report` (tables) and `charts` (SVG) behind `__main__`. A peer brings its own Python, in which
neither graphc nor anything after `worker` is imported.
`python -m benchmarks.profile ROW` says where graphc's time goes, kernel by kernel.
"""
