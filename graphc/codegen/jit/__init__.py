"""Machine code: the compiler of kernels, its cache and its loader."""
