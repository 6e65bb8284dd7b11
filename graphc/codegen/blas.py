"""Addresses of BLAS and LAPACK routines, from SciPy's Cython interface: the library that SciPy was built with."""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from graphc.codegen.kernels import COMPILER_LOCK

_extensions: dict[str, Any] = {}


@cache
def routine_address(name: str) -> int:
    """Return the address of a Fortran-style routine such as `dgemm` or `dpotrf`; loads SciPy's at the first call."""
    capsules: dict[str, object] = dict(blas_module().__pyx_capi__)
    if name not in capsules:
        capsules = dict(_extension("cython_lapack").__pyx_capi__)
    capsule = capsules[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))


def blas_module() -> Any:
    """Return SciPy's `cython_blas`."""
    return _extension("cython_blas")


def _extension(name: str) -> Any:
    """Return an extension module of `scipy.linalg`; one thread at a time, since such a module starts only once."""
    with COMPILER_LOCK:
        if name not in _extensions:
            _extensions[name] = _load(name)
        return _extensions[name]


def _load(name: str) -> Any:
    """Load an extension module of `scipy.linalg` by its file: the package around it takes 0.1 s to import.

    A program that imports it later, the usual way, gets the same module. Where SciPy keeps it elsewhere, it is
    imported the usual way here too.
    """
    full = f"scipy.linalg.{name}"
    scipy = importlib.import_module("scipy")  # it prepares where the libraries are found
    for folder in [] if full in sys.modules else scipy.__path__:
        for suffix in EXTENSION_SUFFIXES:
            spec = spec_from_file_location(full, Path(folder, "linalg", name + suffix))
            if spec is not None and spec.loader is not None and Path(str(spec.origin)).exists():
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                sys.modules.pop(full, None)  # so that an import finds it again, and makes it its package's attribute
                return module
    return importlib.import_module(full)
