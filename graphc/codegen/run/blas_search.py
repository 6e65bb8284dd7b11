"""Where MKL and OpenBLAS are installed: by pip, by conda, or by the system."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FILES = {
    "mkl": r"(lib)?mkl_rt(\.\d+)*\.(so(\.\d+)*|dylib|dll)",
    "openblas": r"(lib)?(scipy_)?openblas(p|o)?(-r[\d.]+)?(\.\d+)*\.(so(\.\d+)*|dylib|dll)",
}
_PACKAGES = {"mkl": ("mkl",), "openblas": ("scipy-openblas32", "openblas")}
_SYSTEM = {"mkl": "mkl_rt", "openblas": "openblas"}
NAMES = tuple(_FILES)
"""The libraries that are found by name."""


def candidates(name: str) -> Iterator[str]:
    """Yield the files that may be a library, the likeliest first."""
    for package in _PACKAGES[name]:
        yield from _of_package(package, _FILES[name])
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        for folder in (Path(prefix, "lib"), Path(prefix, "Library", "bin")):
            yield from _matching(folder.glob("*"), _FILES[name])
    from ctypes.util import find_library  # it may start a compiler to ask it

    found = find_library(_SYSTEM[name])
    if found is not None:
        yield found


def _of_package(package: str, pattern: str) -> Iterator[str]:
    """Yield the files of a package that pip installed."""
    from importlib.metadata import PackageNotFoundError, files  # 40 ms, for those who ask for such a library

    try:
        listed = files(package) or ()
    except PackageNotFoundError:
        return
    yield from _matching((Path(str(f.locate())).resolve() for f in listed), pattern)


def _matching(paths: Iterator[Path], pattern: str) -> Iterator[str]:
    """Yield the paths whose file is called like a library: the highest version first."""
    found = [p for p in paths if re.fullmatch(pattern, p.name, re.IGNORECASE) and p.exists()]
    yield from (str(p) for p in sorted(found, key=_version, reverse=True))


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))
