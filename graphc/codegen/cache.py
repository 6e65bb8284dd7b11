"""The disk cache of compiled kernels: object code by the hash of everything it depends on.

Object code is code: a file is read only if it and its directory belong to this user, are no links and are not
writable by others; its digest must match, and whatever is wrong with it, the kernel is compiled again. Files are
written aside and renamed, so concurrent writers are safe. Nothing here fails a program: an unwritable or missing
home only means that nothing is kept.

Configure with `gc.set_cache(directory, max_bytes=...)`; `gc.set_cache(None)` switches it off.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MAX_BYTES = 256 * 2**20
_EVICTED = ".evicted"
"""The file whose time is that of the last look through a directory."""
_WRITES, _SECONDS = 64, 3600
"""A process looks again after so many writes; the first write looks where nobody did for so long."""
_MAGIC = b"graphc kernel 1\n"


def default_directory() -> Path | None:
    """Return the user's cache folder for graphc by the platform's custom, or None where there is no home."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "graphc" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "graphc"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "graphc"


@dataclass
class Cache:
    """One directory of kernels, capped in size; None: nothing is read or kept."""

    directory: Path | None = field(default_factory=default_directory)
    max_bytes: int = MAX_BYTES
    _writes: int = 0

    def load(self, key: str) -> tuple[bytes, tuple[str, ...]] | None:
        """Return the object code and its undefined symbols, or None."""
        if self.directory is None:
            return None
        try:
            data = _read_private(self.directory, self.directory / f"{key}.gck")
        except OSError:
            return None
        return None if data is None else _unpack(key, data)

    def save(self, key: str, code: bytes, symbols: tuple[str, ...]) -> None:
        """Keep object code; silently does nothing where the directory cannot be written."""
        if self.directory is None:
            return
        try:
            self._write(self.directory, key, _pack(key, code, symbols))
        except OSError:
            return
        self._writes += 1
        if self._writes % _WRITES == 0 or (self._writes == 1 and not self._evicted_lately()):
            self.evict()

    def _evicted_lately(self) -> bool:
        """Tell whether some process looked through the directory within the hour: that takes time with many files."""
        assert self.directory is not None
        try:
            return 0 <= time.time() - (self.directory / _EVICTED).stat().st_mtime < _SECONDS
        except OSError:
            return False

    def _write(self, directory: Path, key: str, data: bytes) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory.lstat()):
            return
        import tempfile  # only writing needs it, and a process whose kernels are all here writes nothing

        handle, name = tempfile.mkstemp(dir=directory, prefix=".tmp-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, directory / f"{key}.gck")
        except OSError:
            with suppress(OSError):
                os.unlink(name)
            raise

    def evict(self) -> None:
        """Delete the oldest kernels until the directory is below its cap."""
        if self.directory is None:
            return
        with suppress(OSError):
            (self.directory / _EVICTED).touch(mode=0o600)
            files = list(self._files(self.directory))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size

    @staticmethod
    def _files(directory: Path) -> Iterator[tuple[float, int, Path]]:
        """Yield when each kernel was last used, its size and its path."""
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".gck"):
                    with suppress(OSError):  # another process may have deleted it
                        info = entry.stat(follow_symlinks=False)
                        yield info.st_mtime, info.st_size, Path(entry.path)

    def clear(self) -> None:
        """Delete every kernel of this cache."""
        if self.directory is not None:
            with suppress(OSError):
                for path in (*self.directory.glob("*.gck"), self.directory / _EVICTED):
                    path.unlink(missing_ok=True)


def _digest(key: str, body: bytes) -> bytes:
    """Return the digest of a file's contents and of its name: a file copied to another name is not that kernel."""
    return hashlib.sha256(key.encode() + b"\n" + body).hexdigest().encode()


def _pack(key: str, code: bytes, symbols: tuple[str, ...]) -> bytes:
    header = json.dumps({"symbols": symbols}).encode() + b"\n"
    body = header + code
    return _MAGIC + _digest(key, body) + b"\n" + body


def _unpack(key: str, data: bytes) -> tuple[bytes, tuple[str, ...]] | None:
    start = len(_MAGIC) + 65
    body = data[start:]
    if not data.startswith(_MAGIC) or data[len(_MAGIC) : start - 1] != _digest(key, body):
        return None
    header, _, code = body.partition(b"\n")
    try:
        return code, tuple(map(str, json.loads(header)["symbols"]))
    except (ValueError, KeyError, TypeError):
        return None


def _is_private(info: os.stat_result) -> bool:
    """Tell whether a file or directory is this user's own and no link; others must not be able to write it."""
    if sys.platform == "win32":
        return not stat.S_ISLNK(info.st_mode)
    return not stat.S_ISLNK(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022


def _read_private(directory: Path, path: Path) -> bytes | None:
    if not _is_private(directory.lstat()):
        return None
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK")]  # a pipe would block
    handle = os.open(path, os.O_RDONLY | flags[0] | flags[1] | flags[2])
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not (_is_private(info) and stat.S_ISREG(info.st_mode)):
            return None
        with suppress(OSError):
            os.utime(path)
        return file.read()


_current: list[Cache] = []


def current_cache() -> Cache:
    """Return the cache in use."""
    if not _current:
        _current.append(Cache())
    return _current[0]


def cache_directory() -> Path | None:
    """Return where compiled kernels are kept, or None where the cache is off."""
    return current_cache().directory


def set_cache(directory: str | os.PathLike[str] | Literal["default"] | None, *, max_bytes: int = MAX_BYTES) -> None:
    """Choose where compiled kernels are kept: a directory, "default", or None to keep nothing on disk.

    `max_bytes` caps its size; the kernels used longest ago go first.
    """
    chosen = (
        None if directory is None else default_directory() if directory == "default" else Path(directory).absolute()
    )
    _current[:] = [Cache(chosen, max_bytes)]
