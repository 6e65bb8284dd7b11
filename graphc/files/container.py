"""One file of named arrays and texts, in the safetensors format: written whole or not at all, checked when read.

The format is eight bytes with the length of a header, the header (JSON: for every array its dtype, shape and place),
and the arrays' bytes one after the other without gaps. Reading runs no code and decompresses nothing: memory is
bounded by the size of the file, which the caller caps. A SHA-256 over everything else stands among the texts, so
damage is told from a file that someone else wrote; it protects against accidents, not against an author.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from graphc.graph.arguments import PathLike
from graphc.graph.errors import FormatError
from graphc.graph.types import Array, DType, as_dtype

MAX_HEADER = 32 << 20
MAX_RANK = 32
DIGEST = "sha256"
"""The text that holds the checksum."""
_BLANK = "0" * 64
_NAMES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F32": "float32",
    "F64": "float64",
}
_CODES = {name: code for code, name in _NAMES.items()}


def write_tensors(path: PathLike, arrays: Mapping[str, Array], texts: Mapping[str, str]) -> None:
    """Write a file in one step: at any moment the path holds the old file or the whole new one.

    Raises `OSError` where the directory cannot be written, `FormatError` where the header is too long.
    """
    widest_first = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)  # so that all are aligned
    data = {name: _little_endian(array) for name, array in widest_first}
    header = _header(data, {DIGEST: _BLANK, **texts})
    if len(header) > MAX_HEADER:
        raise FormatError(f"the header has {len(header)} bytes, {MAX_HEADER} are allowed")
    blocks = [a.reshape(-1).view(np.uint8).data for a in data.values()]
    digest = _digest([header, *blocks])
    replace_file(path, [len(header).to_bytes(8, "little"), header.replace(_BLANK.encode(), digest, 1), *blocks])


def _little_endian(array: Array) -> Array:
    """Return a contiguous array whose bytes are what the file holds."""
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _header(data: Mapping[str, Array], texts: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(texts)}
    start = 0
    for name, array in data.items():
        places = [start, start + array.nbytes]
        entries[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": places}
        start += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _digest(parts: Iterable[bytes | memoryview]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest().encode()


def replace_file(path: PathLike, parts: Iterable[bytes | memoryview]) -> None:
    """Write a new file beside the old one, force it to the disk, and put it in the old one's place."""
    target = os.path.realpath(path)  # a link stays a link
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(directory)


def _sync_directory(directory: str) -> None:
    """Force a rename to the disk, where directories can be opened."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_tensors(path: PathLike, max_bytes: int) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a file of `write_tensors`: new arrays by name, and the texts.

    Raises `FormatError` for anything but a whole and unaltered file of at most `max_bytes`, `OSError` where there is
    no file to read.
    """
    data = memoryview(_read_regular(path, max_bytes))
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(len(data) - 8, MAX_HEADER):
        raise FormatError("the file is truncated, or not of this format: its header's length is wrong")
    header, body = bytes(data[8 : 8 + length]), data[8 + length :]
    entries = parse_json(header)
    if not isinstance(entries, dict):
        raise FormatError("the header is not an object")
    texts = entries.pop("__metadata__", None)
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise FormatError("the header holds no texts")
    _check_digest(header, body, texts)
    return dict(_arrays(entries, body)), texts


def _read_regular(path: PathLike, max_bytes: int) -> bytes:
    flags = (getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))  # a pipe would block
    handle = os.open(path, os.O_RDONLY | sum(flags))
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise FormatError("not a regular file")
        if info.st_size > max_bytes:
            raise FormatError(f"the file has {info.st_size} bytes; max_bytes={max_bytes} allows less")
        return file.read(info.st_size)


def parse_json(text: bytes | str) -> Any:
    """Parse strict JSON: no repeated keys, no NaN, bounded depth; raises `FormatError`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is no valid JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormatError("the header repeats a name")
    return found


def _refuse_constant(name: str) -> Any:
    raise FormatError(f"the header holds {name}")


def _check_digest(header: bytes, body: memoryview, texts: Mapping[str, str]) -> None:
    written = texts.get(DIGEST, "").encode()
    if len(written) != len(_BLANK) or header.count(written) != 1:
        raise FormatError("the file has no checksum")
    if _digest([header.replace(written, _BLANK.encode()), body]) != written:
        raise FormatError("the file is truncated or altered: its checksum differs")


def _arrays(entries: Mapping[str, Any], body: memoryview) -> Iterator[tuple[str, Array]]:
    """Yield the arrays; their places must follow one another and fill the body."""
    expected = 0
    for name, entry in entries.items():
        dtype, shape, (start, stop) = _entry(name, entry)
        if start != expected or stop - start != math.prod(shape) * dtype.itemsize or stop > len(body):
            raise FormatError(f"array {name!r} is not where the header says")
        raw = np.frombuffer(body[start:stop], dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype)
        if dtype.kind == "b" and (raw.view(np.uint8) > 1).any():
            raise FormatError(f"array {name!r} holds bytes that are no bool")
        yield name, np.array(raw, dtype).reshape(shape)
        expected = stop
    if expected != len(body):
        raise FormatError(f"{len(body) - expected} bytes belong to no array")


def _entry(name: str, entry: Any) -> tuple[DType, tuple[int, ...], tuple[int, int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"array {name!r} is not described by dtype, shape and data_offsets")
    code, shape, places = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _NAMES:
        raise FormatError(f"array {name!r} has an unknown dtype")
    if not _are_counts(shape) or len(shape) > MAX_RANK or not _are_counts(places) or len(places) != 2:
        raise FormatError(f"array {name!r} has an impossible shape or place")
    return as_dtype(_NAMES[code]), tuple(shape), (places[0], places[1])


def _are_counts(items: Any) -> bool:
    return isinstance(items, list) and all(type(i) is int and 0 <= i < 2**48 for i in items)
