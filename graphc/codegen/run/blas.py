"""The libraries of BLAS and LAPACK: SciPy's, through its Cython interface, or one that the user chose.

A nest takes all its routines from one library, the chosen one if it has them. Addresses go into frames when a program
is bound to sizes, so kernels, on disk too, are the same for every library.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from graphc.codegen.nest.blas_choice import DEFAULT, blas_choice, blas_setting
from graphc.codegen.run.blas_search import NAMES, candidates
from graphc.graph.errors import ArgumentError, at
from graphc.graph.forks import FORK_LOCK

PRODUCTS = ("sgemm", "dgemm")
"""The routines that a chosen library must have."""
_FORMS = ("{}_", "scipy_{}_", "{}")
"""How libraries call a Fortran routine with 32-bit integers."""


@dataclass(frozen=True)
class Library:
    """A loaded library: `handle` is SciPy's `cython_blas` or what ctypes loaded, `path` its file."""

    handle: Any
    path: str

    @property
    def is_scipy(self) -> bool:
        """Tell whether this is the library that SciPy was built with."""
        return isinstance(self.handle, ModuleType)

    def address(self, routine: str) -> int:
        """Return the address of a Fortran-style routine such as `dgemm` or `dpotrf`, 0 where it is missing."""
        if self.is_scipy:
            return _scipy_address(routine)
        found = (getattr(self.handle, form.format(routine), None) for form in _FORMS)
        return next((ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found if f is not None), 0)


def blas_library() -> str:
    """Return the file of the BLAS in use, which is loaded now; SciPy's is named by its own module.

    Raises `ArgumentError` where the chosen one cannot serve; see `set_blas`.
    """
    return library_for(PRODUCTS).path


def library_for(routines: Sequence[str], choice: str | None = None) -> Library:
    """Return the library for a nest that calls some routines: the chosen one, or SciPy's where it lacks one."""
    with FORK_LOCK:
        chosen = _load_choice(blas_choice() if choice is None else choice)
        return chosen if all(chosen.address(r) for r in routines) else _scipy()


@cache
def _load_choice(choice: str) -> Library:
    """Load a library, by name or path; errors name the setting."""
    if choice == DEFAULT:
        return _scipy()
    problems = []
    for path in candidates(choice) if choice in NAMES else [choice]:
        try:
            library = Library(ctypes.CDLL(path), path)
        except OSError as error:
            problems.append(str(error))
            continue
        problem = _problem(library)
        if not problem:
            return library
        problems.append(f"{path} {problem}")
    reason = "; ".join(problems) or "it is not installed"
    accepted = f"{', '.join(map(repr, (DEFAULT, *NAMES)))} or the path of a shared library"
    raise ArgumentError(f"{blas_setting()}: cannot use {choice!r}: {reason}; give {accepted}{at()}")


def _problem(library: Library) -> str:
    """Return why a library cannot serve, or nothing."""
    missing = [r for r in PRODUCTS if not library.address(r)]
    if missing:
        return f"has no {' and no '.join(f'{r}_' for r in missing)}"
    return "takes 64-bit integers, 32-bit ones are needed" if _counts_in_64_bits(library) else ""


def _counts_in_64_bits(library: Library) -> bool:
    """Ask for the sum of a number whose count is 1 as 32-bit integer and negative as 64-bit one: then it is 0."""
    address = library.address("dasum")
    if not address:
        return False
    dasum = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_void_p] * 3)(address)
    count, x, step = ctypes.c_int64(1 - (1 << 32)), ctypes.c_double(1), ctypes.c_int64(1)
    return float(dasum(*(ctypes.addressof(v) for v in (count, x, step)))) == 0


# -- SciPy's

_extensions: dict[str, Any] = {}


@cache
def _scipy() -> Library:
    module = _extension("cython_blas")
    return Library(module, str(module.__file__))


@cache
def _scipy_address(name: str) -> int:
    capsules: dict[str, object] = dict(_extension("cython_blas").__pyx_capi__)
    if name not in capsules:
        capsules = dict(_extension("cython_lapack").__pyx_capi__)
    capsule = capsules[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))


def _extension(name: str) -> Any:
    """Return an extension module of `scipy.linalg`; one thread at a time, since such a module starts only once."""
    with FORK_LOCK:
        if name not in _extensions:
            _extensions[name] = _load_extension(name)
        return _extensions[name]


def _load_extension(name: str) -> Any:
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
