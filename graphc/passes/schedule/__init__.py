"""From a graph to kernels: layout, padding, fusion and its costs."""
