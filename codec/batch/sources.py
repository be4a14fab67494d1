"""What a batch reads: a folder, a glob, a list, a tar shard or one file, here or in a store."""

from __future__ import annotations

import glob
import os
import posixpath
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ..errors import DctcodecError, ImageError, UsageError
from . import store

__all__ = ["Found", "Source", "find", "read"]

MAGIC = frozenset("*?[")
STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "updated", "created")
"""Where fsspec's stores say which version of a file it is; the first that is there is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, or one member of a tar."""

    name: str  # relative, with `/`: where the output goes, before its suffix
    label: str  # for people and the manifest: path or URL, of a member `shard.tar!member`
    location: str = ""  # path or URL of the file, or of the tar that holds it
    stamp: str = ""  # changes when the file does; empty: unknown
    size: int = 0  # bytes
    start: int | None = None  # within the tar, bytes
    error: str | None = None  # why it cannot be used


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Sources by name, and how many files beside them have another suffix."""

    sources: tuple[Source, ...]
    ignored: int = 0


def read(source: Source) -> bytes:
    """The bytes of a source.

    Raises:
        ImageError: it cannot be read, or its tar is cut short.
    """
    if source.start is None:
        return store.read(source.location)
    return store.read(source.location, source.start, source.size)


def find(spec: str, suffixes: Collection[str], lines: Iterable[str] | None = None) -> Found:
    """All sources that `spec` names.

    Args:
        spec: a folder, a glob, a tar, a file, a URL of any of these; `-`: one per line of `lines`.
        suffixes: of files that count in folders, globs and tars, lower case with a dot.
        lines: taken as they are; a folder, glob or tar in the list is opened too.

    Raises:
        UsageError: a list is wanted and missing; ImageError: there is no such file or folder.
    """
    finder = _Finder(frozenset(suffixes))
    if spec == "-":
        if lines is None:
            raise UsageError("- needs a list on standard input")
        found: list[Source] = []
        for line in lines:
            if line:
                found += finder.listed(line)
    else:
        found = list(finder.named(spec))
    return Found(sources=tuple(sorted(found, key=lambda s: s.name)), ignored=finder.ignored)


class _Finder:
    """Counts on the way what it leaves alone."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self.suffixes, self.ignored = suffixes, 0

    def wanted(self, name: str) -> bool:
        if posixpath.splitext(name)[1].lower() in self.suffixes:
            return True
        self.ignored += 1
        return False

    def named(self, spec: str) -> Iterator[Source]:
        """From the argument: names are relative to the folder, the glob's fixed part, the tar."""
        if store.is_url(spec):
            yield from self._url(spec)
        elif os.path.isdir(spec):
            yield from self._folder(spec)
        elif os.path.isfile(spec):
            yield from self._file(spec, os.path.basename(spec), alone=True)
        elif MAGIC.intersection(spec):
            base = fixed_part(spec)
            paths = sorted(glob.glob(spec, recursive=True, include_hidden=False))
            if not paths:
                raise ImageError(f"{spec}: nothing has such a name")
            for path in filter(os.path.isfile, paths):
                name = Path(os.path.relpath(path, base or ".")).as_posix()
                if is_tar(path) or self.wanted(name):
                    yield from self._file(path, name)
        else:
            raise ImageError(f"{spec}: no such file or folder")

    def listed(self, line: str) -> Iterator[Source]:
        """From a list: the name is the whole path or URL, without its root or protocol."""
        name = line.split("://", 1)[1] if store.is_url(line) else Path(line).as_posix()
        name = posixpath.normpath(name).lstrip("/")
        if name.split("/")[0] == "..":
            name = Path(os.path.abspath(line)).as_posix().lstrip("/")
        if MAGIC.intersection(name) and not os.path.exists(line):
            name = fixed_part(name)
        try:
            if store.is_url(line):
                inner = self._url(line)
            elif os.path.isfile(line):
                yield from self._file(line, name)
                return
            else:
                inner = self.named(line)
            for s in inner:
                below = s.name if not _single(line, s) else ""
                yield replace(s, name=posixpath.join(name, below) if below else name)
        except DctcodecError as error:
            text = str(error).removeprefix(f"{line}: ")
            yield Source(name=name or line, label=line, error=text)

    def _file(self, path: str, name: str, *, alone: bool = False) -> Iterator[Source]:
        """A file; a tar's members, below the tar's name unless it is the only source."""
        stat = os.stat(path)
        # with the time of change, since an unpacked file may have any time of modification
        stamp = f"{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_size}"
        if not is_tar(path):
            yield Source(name=name, label=path, location=path, stamp=stamp, size=stat.st_size)
            return
        below = "" if alone else name.removesuffix(".tar")
        with open(path, "rb") as file:
            yield from self._members(file, path, stamp, below)

    def _folder(self, root: str) -> Iterator[Source]:
        failed: list[OSError] = []
        for folder, folders, names in os.walk(root, onerror=failed.append):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                below = Path(os.path.relpath(path, root)).as_posix()
                if self.wanted(name):
                    try:
                        yield from self._file(path, below)
                    except OSError as error:
                        yield Source(name=below, label=path, error=store.reason(error))
        for failure in failed:
            path = os.fsdecode(failure.filename)
            name = Path(os.path.relpath(path, root)).as_posix()
            yield Source(name=name, label=path, error=f"cannot be listed: {store.reason(failure)}")

    def _url(self, url: str) -> Iterator[Source]:
        fs, path = store.filesystem(url)
        try:
            if MAGIC.intersection(path):
                found = store.patiently(lambda: fs.glob(path, detail=True))
                base = fixed_part(path)
            elif store.patiently(lambda: fs.isfile(path)):
                info = store.patiently(lambda: fs.info(path))
                found, base = {path: info}, path.rpartition("/")[0]
            else:
                found, base = dict(store.patiently(lambda: fs.find(path, detail=True))), path
        except Exception as error:
            raise ImageError(f"{url}: {store.reason(error)}") from error
        if not found:
            raise ImageError(f"{url}: no such file or folder")
        alone = list(found) == [path]
        for full, info in sorted(found.items()):
            name = full[len(base) :].lstrip("/") if base and full.startswith(base) else full
            if info.get("type") == "directory" or not name:
                continue
            label, stamp = fs.unstrip_protocol(full), stamp_of(info)
            if is_tar(full) and (alone or MAGIC.intersection(path)):
                below = "" if alone else name.removesuffix(".tar")
                try:
                    with fs.open(full, "rb", block_size=1 << 20) as file:
                        yield from self._members(file, label, stamp, below)
                except OSError as error:
                    yield Source(name=name, label=label, error=store.reason(error))
            elif alone or self.wanted(name):
                size = int(info.get("size") or 0)
                yield Source(name=name, label=label, location=label, stamp=stamp, size=size)

    def _members(self, file: IO[bytes], path: str, stamp: str, below: str) -> Iterator[Source]:
        """Regular files of an uncompressed tar, with where they lie in it."""
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isreg() or member.issparse() or not self.wanted(member.name):
                        continue
                    label = f"{path}!{member.name}"
                    name = posixpath.normpath(member.name)
                    if name.startswith(("/", "../")):
                        yield Source(
                            name=name, label=label, error="its name leads out of the collection"
                        )
                        continue
                    yield Source(
                        name=posixpath.join(below, name),
                        label=label,
                        location=path,
                        stamp=f"{stamp}@{member.offset_data}" if stamp else "",
                        size=member.size,
                        start=member.offset_data,
                    )
        except tarfile.TarError as error:
            note = "; compressed tars must be unpacked first" if "header" in str(error) else ""
            name = posixpath.basename(path)
            yield Source(name=name, label=path, error=f"damaged or no plain tar: {error}{note}")


def is_tar(path: str) -> bool:
    return path.lower().endswith(".tar")


def fixed_part(pattern: str) -> str:
    """The folders of a glob before its first wildcard."""
    parts = Path(pattern).parts if not pattern.startswith("//") else tuple(pattern.split("/"))
    fixed = []
    for part in parts[:-1]:
        if MAGIC.intersection(part):
            break
        fixed.append(part)
    return str(Path(*fixed)) if fixed else ""


def stamp_of(info: dict[str, Any]) -> str:
    """Which version of a file a store shows; empty if it does not say."""
    for key in STAMPS:
        if info.get(key):
            return f"{info[key]}:{info.get('size')}"
    return ""


def _single(line: str, source: Source) -> bool:
    """Whether a listed name is this very file, not a folder, glob or tar that holds it."""
    return source.start is None and not source.error and line.endswith("/" + source.name)
