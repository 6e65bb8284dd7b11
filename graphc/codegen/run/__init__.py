"""Programs of kernels: sections, tapes, threads, and the libraries they call."""
