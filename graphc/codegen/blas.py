"""Addresses of BLAS and LAPACK routines, from SciPy's Cython interface: the library that SciPy was built with."""

from __future__ import annotations

import ctypes
import importlib
from functools import cache


@cache
def routine_address(name: str) -> int:
    """Return the address of a Fortran-style routine such as `dgemm` or `dpotrf`; imports SciPy at the first call."""
    capsules: dict[str, object] = dict(importlib.import_module("scipy.linalg.cython_blas").__pyx_capi__)
    if name not in capsules:
        capsules = dict(importlib.import_module("scipy.linalg.cython_lapack").__pyx_capi__)
    capsule = capsules[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))
