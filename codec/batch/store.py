"""Whole files in and out: paths, and URLs through fsspec. A file appears whole or not at all.

On a path, bytes go to a temporary file beside the target, which then takes its name. An object
store shows an object only once it is whole; other remote file systems get the temporary name too.
What drops or stalls on the way is tried again.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import DctcodecError, ImageError, OutputError, UsageError

__all__ = [
    "files",
    "filesystem",
    "is_url",
    "join",
    "read",
    "remove_leftovers",
    "sizes",
    "write",
]

T = TypeVar("T")

TRIES: Final = 6
FIRST_WAIT: Final = 0.2  # seconds; doubled each time
ATOMIC: Final = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"))
"""Where one upload makes one whole object."""
FINAL_ERRORS: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Trying these again changes nothing."""
PART: Final = ".part"


def is_url(location: str) -> bool:
    return "://" in location


def join(root: str, name: str) -> str:
    """A file below a folder; `name` is relative, with `/`."""
    return f"{root.rstrip('/')}/{name}" if is_url(root) else str(Path(root, *name.split("/")))


def filesystem(location: str) -> tuple[Any, str]:
    """fsspec's file system for a URL and the path in it.

    Raises:
        UsageError: fsspec or what it needs for this kind of store is not installed, or there is no
            such kind.
    """
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(location)
    except ImportError as error:
        raise UsageError(
            f'{location}: this store needs more packages: pip install "dctcodec[store]" ({error})'
        ) from error
    except ValueError as error:
        raise UsageError(f"{location}: {error}") from error
    return fs, str(path)


def read(location: str, start: int | None = None, size: int | None = None) -> bytes:
    """All bytes of a file, or `size` bytes from `start`.

    Raises:
        ImageError: it cannot be read, or ends too early.
    """
    try:
        if is_url(location):
            fs, path = filesystem(location)
            end = None if start is None or size is None else start + size
            data = bytes(patiently(lambda: fs.cat_file(path, start=start, end=end)))
        else:
            with open(location, "rb") as file:
                file.seek(start or 0)
                data = file.read(-1 if size is None else size)
    except UsageError:
        raise
    except Exception as error:  # each store has errors of its own
        raise ImageError(f"cannot be read: {reason(error)}") from error
    if start is not None and size is not None and len(data) < size:
        raise ImageError(f"cut short: {size} bytes are promised, {len(data)} are there")
    return data


def write(
    location: str,
    data: bytes,
    *,
    compare: bool = False,
    before: Callable[[], None] | None = None,
    replace: bool = True,
) -> None:
    """Write a whole file, making its folder.

    Args:
        compare: read it back, before it has its name where it first has another.
        before: called just before the file takes its name.
        replace: overwrite what is there.

    Raises:
        OutputError: it cannot be written, exists, or reads back differently.
    """
    steps = _Steps(data, compare, before)
    try:
        if not is_url(location):
            _write_path(Path(location), steps, replace)
            return
        fs, path = filesystem(location)
        if not replace and patiently(lambda: fs.exists(path)):
            raise OutputError("exists already; --force overwrites it")
        if _atomic(fs):
            steps.ready()
            patiently(lambda: fs.pipe_file(path, data))
            steps.check(lambda: bytes(patiently(lambda: fs.cat_file(path))))
        else:
            _write_remote(fs, path, steps)
    except DctcodecError:
        raise
    except Exception as error:
        raise OutputError(f"cannot be written: {reason(error)}") from error


@dataclass(frozen=True, slots=True)
class _Steps:
    """What each way to write has to do."""

    data: bytes
    compare: bool
    before: Callable[[], None] | None

    def check(self, read_back: Callable[[], bytes]) -> None:
        if self.compare and read_back() != self.data:
            raise OutputError("verification failed: what was written reads back differently")

    def ready(self) -> None:
        if self.before:
            self.before()


def _atomic(fs: Any) -> bool:
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return bool(ATOMIC.intersection(names))


def part_name(name: str) -> str:
    """A temporary name beside a file, which tells whose it is."""
    return f".{name}.{secrets.token_hex(4)}{PART}"


def owner_of(part: str) -> str | None:
    """The name for which `part_name` made this one; None if it did not."""
    if not (part.startswith(".") and part.endswith(PART)):
        return None
    stem, _, token = part[1 : -len(PART)].rpartition(".")
    return stem if stem and len(token) == 8 else None


def _write_path(target: Path, steps: _Steps, replace: bool) -> None:
    if target.is_dir():
        raise OutputError("is a folder")
    if target.exists() and not replace:
        raise OutputError("exists already; --force overwrites it")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(part_name(target.name))
    try:
        with open(part, "xb") as file:
            file.write(steps.data)
            file.flush()
            os.fsync(file.fileno())
        steps.check(part.read_bytes)
        steps.ready()
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_remote(fs: Any, path: str, steps: _Steps) -> None:
    folder, _, name = path.rpartition("/")
    part = f"{folder}/{part_name(name)}"
    fs.makedirs(folder, exist_ok=True)
    try:
        patiently(lambda: fs.pipe_file(part, steps.data))
        steps.check(lambda: bytes(patiently(lambda: fs.cat_file(part))))
        steps.ready()
        patiently(lambda: fs.mv(part, path))
    except BaseException:
        with suppress(Exception):  # if the line is cut, the next run removes it
            fs.rm_file(part)
        raise


def files(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name below `root`, fsspec's details) of all files below a URL, by name.

    Raises:
        ImageError: it cannot be listed.
    """
    fs, path = filesystem(root)
    try:
        fs.invalidate_cache()
        found = patiently(lambda: fs.find(path, detail=True))
    except FileNotFoundError:
        return
    except Exception as error:
        raise ImageError(f"{root}: cannot be listed: {reason(error)}") from error
    for name in sorted(found):
        below = name[len(path) :].lstrip("/") if name.startswith(path) else name
        if below:
            yield below, found[name]


def sizes(root: str) -> dict[str, int]:
    """Bytes of every file below a folder, by its name relative to it; empty if there is none."""
    if is_url(root):
        return {name: int(info.get("size") or 0) for name, info in files(root)}
    out = {}
    for folder, _, names in os.walk(root):
        base = Path(folder).relative_to(root).as_posix()
        for name in names:
            try:
                size = os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue
            out[name if base == "." else f"{base}/{name}"] = size
    return out


def remove_leftovers(root: str, present: dict[str, int], outputs: set[str]) -> None:
    """Remove temporary files of a run that was killed while it wrote one of `outputs`."""
    for name in list(present):
        folder, _, last = name.rpartition("/")
        owner = owner_of(last)
        if owner is None or (f"{folder}/{owner}" if folder else owner) not in outputs:
            continue
        del present[name]
        place = join(root, name)
        if is_url(root):
            fs, path = filesystem(place)
            patiently(lambda fs=fs, path=path: fs.rm_file(path))  # type: ignore[misc]
        else:
            Path(place).unlink(missing_ok=True)


def patiently(action: Callable[[], T]) -> T:
    """Do something over a network; lost connections and time-outs are tried again.

    Waits 0.2 s, 0.4 s, … with up to as much again at random, so that many workers do not knock
    together.
    """
    for attempt in range(TRIES):
        try:
            return action()
        except FINAL_ERRORS:
            raise
        except Exception:
            if attempt == TRIES - 1:
                raise
            wait = FIRST_WAIT * 2**attempt
            time.sleep(wait * (1 + random.random()))
    raise AssertionError


def reason(error: BaseException) -> str:
    """An error of another library in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
