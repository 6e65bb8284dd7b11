"""Values and the graphs of them: types, nodes, errors, nestings, the reference interpreter."""
