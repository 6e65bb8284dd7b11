"""The scalar vocabulary of kernels, and how each of its functions is computed."""
