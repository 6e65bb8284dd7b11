"""From the schedule of kernels to the compiled program; the folders stand in the order of `graphc.__doc__`."""
