"""graphc beside its peers, on the same inputs, in one run: `python -m benchmarks --peer jax=PATH_TO_PYTHON`.

In processing order: `workloads` (what is computed, and its inputs), `tool_graphc` and `tool_jax` (each tool in its
best form), `worker` (one process per tool and workload), `__main__` (starts workers, checks that all tools agree,
then takes times, then prints). Only `__main__` needs graphc's environment; a peer brings its own Python.
"""
