"""Files of arrays in the safetensors format, with checksums, written whole or not at all.

The format: the header's length in 8 bytes, the header as JSON (dtype, shape and place of every array, and text of
one's own), the bytes of the arrays. Its text here is JSON too, with a checksum before it: what the caller wants to
keep, and the type and checksum of every array. Any change to a file, and any missing byte, is found when it is read.

Any safetensors reader can read these files. The package of that name is not used: its reader copies every array
once more, and its writer leaves temporary files that no later process can tell from those in use.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from graphc.graph.errors import CheckpointError, at
from graphc.graph.types import SHORT_NAMES, Array

VERSION = 1
MAX_HEADER = 100_000_000
_saves = itertools.count()


def write_tensors(path: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Write arrays, and `about` as JSON, aside; flush to the disk, rename, flush the directory.

    The dtypes must be in `SHORT_NAMES`. Raises `OSError`.
    """
    remove_leftovers(path.parent, re.escape(path.name))
    aside = path.with_name(f".{path.name}.{os.getpid()}-{next(_saves)}.tmp")
    try:
        with open(aside, "xb") as file:
            for part in _parts(arrays, about):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    _flush_directory(path.parent)


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays of a file, as views of its contents in memory, and what was written `about` them.

    Nothing is mapped: what another process does to the file while it is read is damage like any other. Raises
    `CheckpointError` where the file is not, byte for byte, as it was written, and `OSError` where it cannot be read.
    """
    try:
        return _parse(_read_regular(path))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no file of graphc: {error}{at()}") from error


def _read_regular(path: Path) -> bytearray:
    """Return the bytes of a file; pipes, which would block, and devices are refused."""
    flags = (getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))
    handle = os.open(path, os.O_RDONLY | sum(flags))
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise ValueError("it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        start = file.read(8)
        if not 2 <= int.from_bytes(start, "little") <= min(info.st_size - 8, MAX_HEADER):
            raise ValueError("it has no header")  # before memory is taken for it
        data = bytearray(info.st_size)
        data[:8] = start
        size = 8 + file.readinto(memoryview(data)[8:])
    if size < len(data):
        raise ValueError(f"{size} of {len(data)} bytes could be read")
    return data


def _parse(data: bytearray) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays of a file and what is written about them; raises in many ways where it is not intact."""
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    checksum, _, content = entries.pop("__metadata__")["graphc"].partition(" ")
    if checksum != _text_checksum(content):
        raise ValueError("the header's checksum differs")
    about = json.loads(content)
    if about.pop("version") != VERSION:
        raise ValueError("this version cannot be read")
    arrays = _views(entries, data, 8 + length)
    if {name: _sum(a) for name, a in arrays.items()} != about.pop("arrays"):
        raise ValueError("the arrays' checksums differ")
    return arrays, about


def show_type(array: Array) -> str:
    """Return an array's type as messages show it: `f32[3,4]`."""
    dtype = array.dtype.name
    return f"{SHORT_NAMES.get(dtype, dtype)}[{','.join(map(str, array.shape))}]"


def remove_leftovers(directory: Path, name: str) -> None:
    """Delete what processes that no longer run left half-written for the files whose names match a pattern."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for path in directory.iterdir():
            match = re.fullmatch(rf"\.{name}\.(\d+)-\d+\.tmp", path.name)
            if match and not _runs(int(match[1])):
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _parts(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file; the arrays with the largest elements come first, so that all are aligned."""
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    plain = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in ordered}
    content = json.dumps({"version": VERSION, "arrays": {name: _sum(a) for name, a in plain.items()}, **about})
    header: dict[str, Any] = {"__metadata__": {"graphc": f"{_text_checksum(content)} {content}"}}
    end = 0
    for name, a in plain.items():
        start, end = end, end + a.nbytes
        header[name] = {"dtype": _CODES[a.dtype.name], "shape": a.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for a in plain.values():
        yield _bytes(a)


def _views(entries: dict[str, Any], data: bytearray, base: int) -> dict[str, Array]:
    """Return the arrays that the header describes; together they must fill the file."""
    arrays, end = {}, 0
    for name, entry in entries.items():
        dtype, (start, stop) = np.dtype(_DTYPES[entry["dtype"]]), entry["data_offsets"]
        if start != end or start > stop:
            raise ValueError(f"{name} is out of place")
        count, end = (stop - start) // dtype.itemsize, stop
        arrays[name] = np.frombuffer(data, dtype, count, base + start).reshape(entry["shape"])
    if base + end != len(data):
        raise ValueError("its length is wrong")
    return arrays


_CODES = {name: short.upper() for name, short in SHORT_NAMES.items()}
_DTYPES = {code: name for name, code in _CODES.items()}


def _sum(array: Array) -> list[Any]:
    return [show_type(array), zlib.crc32(_bytes(array))]


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _text_checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _flush_directory(directory: Path) -> None:
    if sys.platform == "win32":
        return  # which opens no directories
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
