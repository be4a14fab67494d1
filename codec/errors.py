"""The errors of the package: one base to catch, one leaf for each thing a person can do about it.

    DctcodecError           exit code 1
    ├── BitstreamError      the file is damaged, cut short, of an unknown version, or absurd
    ├── ModelError          the file needs weights that are not here, or the weights are damaged
    ├── ImageError          the picture cannot be read, is of no supported kind, or is too large
    ├── OutputError         the result cannot be written where it should go
    └── UsageError          a value from the caller is not allowed; exit code 2; a ValueError too

A message is one line without a final full stop. It quotes the value at fault, prints both numbers
where two disagree, and says what would work. It does not name the file: the command line puts the
name in front.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BitstreamError",
    "DctcodecError",
    "ImageError",
    "ModelError",
    "OutputError",
    "UsageError",
]


class DctcodecError(Exception):
    """Base of all errors that the package raises on purpose.

    Attributes:
        exit_code: what the command line exits with when this error ends it.
    """

    exit_code: ClassVar[int] = 1


class BitstreamError(DctcodecError):
    """The bytes of a file contradict themselves or the format.

    Attributes:
        what: the message without position and extent.
        offset: where, in bytes from the start of the file; None for the file as a whole.
        intact_layers: how many leading layers are intact in every tile, the context counted as the
            first (0: none). None where salvage would not help: nothing, or nothing more, is lost.
    """

    def __init__(
        self, what: str, *, offset: int | None = None, intact_layers: int | None = None
    ) -> None:
        message = what
        if offset is not None:
            message += f", at byte {offset}"
        if intact_layers is not None:
            message += f"; {_extent(intact_layers)}; --salvage decodes what is intact"
        super().__init__(message)
        self.what, self.offset, self.intact_layers = what, offset, intact_layers

    def __reduce__(self) -> tuple[object, ...]:
        # An Exception pickles its message alone; a worker process must hand the fields back too.
        return _restore_bitstream_error, (self.what, self.offset, self.intact_layers)


class ModelError(DctcodecError):
    """The file was made with weights that are not installed, or those installed are damaged."""


class ImageError(DctcodecError):
    """The input is not an image, is of a kind that is not supported, or has too many pixels."""


class OutputError(DctcodecError):
    """The output exists already or cannot be written."""


class UsageError(DctcodecError, ValueError):
    """An argument has a value that is not allowed."""

    exit_code: ClassVar[int] = 2


def _extent(intact_layers: int) -> str:
    """How much is intact, in words: the context, then so many layers."""
    if intact_layers == 0:
        return "no layer is intact in every tile"
    if intact_layers == 1:
        return "the context is intact in every tile"
    layers = intact_layers - 1
    return f"the context and {layers} layer{'s' if layers > 1 else ''} are intact in every tile"


def _restore_bitstream_error(
    what: str, offset: int | None, intact_layers: int | None
) -> BitstreamError:
    return BitstreamError(what, offset=offset, intact_layers=intact_layers)
