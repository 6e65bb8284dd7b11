"""Functions for other libraries: SciPy, scikit-learn, Numba and C."""
