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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from graphc.graph.arguments import PathLike, checked

MAX_BYTES = 256 * 2**20
MAX_KERNEL = 64 * 2**20
"""The largest file that can be a kernel: what is larger is not read."""
_ACCOUNT, _BLOCK = ".size", 1024
"""The file with a byte for every block of kernels that was written: its length is what all processes know without a
look through the directory, which takes long with many files."""
_ROOM = 0.9
"""What eviction leaves of the cap, so that the next writes need no eviction."""
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
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else home / ".cache") / "graphc"  # relative ones are invalid, by the standard


@dataclass
class Cache:
    """One directory of kernels, capped in size; None: nothing is read or kept."""

    directory: Path | None = field(default_factory=default_directory)
    max_bytes: int = MAX_BYTES

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
        with suppress(OSError):
            self._write(self.directory, key, _pack(key, code, symbols))

    def _write(self, directory: Path, key: str, data: bytes) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory.lstat()) or len(data) > min(self.max_bytes, MAX_KERNEL):
            return
        self._make_room(directory, len(data))
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

    def _make_room(self, directory: Path, size: int) -> None:
        """Account for a file of this size before it is written, and evict where the cap would be passed."""
        handle = os.open(directory / _ACCOUNT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as file:
            unknown = not file.tell()
            file.write(bytes(-(-size // _BLOCK)))
            blocks = file.tell()
        if unknown or blocks * _BLOCK > self.max_bytes:
            self.evict(size)

    def evict(self, room: int = 0) -> None:
        """Delete the oldest kernels until the directory, with `room` bytes more, is below its cap."""
        if self.directory is None:
            return
        with suppress(OSError):
            files = list(self._files(self.directory))
            total = sum(size for _, size, _ in files) + room
            enough = _ROOM * self.max_bytes if total > self.max_bytes else total
            for _, size, path in sorted(files):
                if total <= max(enough, room):
                    break
                path.unlink(missing_ok=True)
                total -= size
            os.truncate(self.directory / _ACCOUNT, -(-total // _BLOCK))

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
                for path in (*self.directory.glob("*.gck"), self.directory / _ACCOUNT):
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
        if not (_is_private(info) and stat.S_ISREG(info.st_mode)) or info.st_size > MAX_KERNEL:
            return None
        with suppress(OSError):
            os.utime(path)
        return file.read(info.st_size)


_current: list[Cache] = []


def current_cache() -> Cache:
    """Return the cache in use."""
    if not _current:
        _current.append(Cache())
    return _current[0]


def cache_directory() -> Path | None:
    """Return where compiled kernels are kept, or None where the cache is off."""
    return current_cache().directory


@checked
def set_cache(directory: PathLike | None, *, max_bytes: int = MAX_BYTES) -> None:
    """Choose where compiled kernels are kept: a directory, "default", or None to keep nothing on disk.

    `max_bytes` caps the bytes of all kernels in it, at any time; the kernels used longest ago go first.
    """
    chosen = (
        None if directory is None else default_directory() if directory == "default" else Path(directory).absolute()
    )
    _current[:] = [Cache(chosen, max_bytes)]
