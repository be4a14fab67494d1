"""One picture through one codec at one level: a real file, its cost and its worth."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ...codec.errors import DctcodecError
from ...codec.pictures import atomic_write
from ..metrics import bits_per_pixel, ms_ssim, ms_ssim_db, psnr, psnr_y, ssim
from .dataset import Photo
from .peers import Peer, Pixels
from .rows import Row

__all__ = ["file_name", "level_label", "machine", "measure", "measured_call", "warm_up"]

T = TypeVar("T")

WARM_UP_SIDE = 64


def measure(peer: Peer, level: float, order: int, photo: Photo, pixels: Pixels, out: Path) -> Row:
    """Encode to a file, decode from that file, compare.

    Args:
        out: folder of the results; the file lies in it under `file_name`.

    Raises:
        DctcodecError: what the codec gave back is no picture of this size, or any error of ours.
    """
    warm_up(peer, level, pixels)
    data, encode_s, encode_mb = measured_call(lambda: peer.encode(pixels, level))
    path = out / file_name(peer, level, photo.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data, force=True)
    data = path.read_bytes()
    decoded, decode_s, decode_mb = measured_call(lambda: peer.decode(data))
    if decoded.shape != pixels.shape:
        raise DctcodecError(f"a picture of {pixels.shape} came back as {decoded.shape}")
    ms = ms_ssim(pixels, decoded)
    similarity = ssim(pixels, decoded)
    return Row(
        codec=peer.name,
        version=peer.version(),
        setting=level_label(level),
        order=order,
        settings=peer.settings(level),
        image=photo.name,
        width=photo.width,
        height=photo.height,
        bytes=len(data),
        bpp=round(bits_per_pixel(len(data), photo.width, photo.height), 6),
        psnr_rgb=round(psnr(pixels, decoded), 4),
        psnr_y=round(psnr_y(pixels, decoded), 4),
        ms_ssim=None if ms is None else round(ms, 7),
        ms_ssim_db=None if ms is None else round(ms_ssim_db(ms), 4),
        ssim=None if similarity is None else round(similarity, 6),
        encode_s=round(encode_s, 4),
        decode_s=round(decode_s, 4),
        peak_memory_mb=_highest(encode_mb, decode_mb),
        file=file_name(peer, level, photo.name),
        image_sha256=photo.sha256,
        machine=machine(),
    )


def warm_up(peer: Peer, level: float, pixels: Pixels) -> None:
    """Once per process and level: libraries and weights are loaded before anything is timed."""
    if (peer.name, level) not in _warm():
        corner = pixels[:WARM_UP_SIDE, :WARM_UP_SIDE].copy()
        peer.decode(peer.encode(corner, level))
        _warm().add((peer.name, level))


@lru_cache(maxsize=1)
def _warm() -> set[tuple[str, float]]:
    """What is warm in this process."""
    return set()


def measured_call(call: Callable[[], T]) -> tuple[T, float, float | None]:
    """(result, processor seconds of this process, rise of its resident peak in MB).

    Processor seconds are those of all threads; with one thread and an idle core they are those of
    the clock, and unlike it they do not tell what else the machine was doing.

    The rise is the highest resident memory during the call above what was resident before, so
    libraries and weights do not count; memory that was free but still held is given back first.
    Linux only, elsewhere None.
    """
    before = _reset_peak()
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    peak = _status("VmHWM") if before is not None else None
    rise = None if before is None or peak is None else max(0.0, (peak - before) / 1e6)
    return result, seconds, rise


def file_name(peer: Peer, level: float, image: str) -> str:
    """Of a compressed file, from the folder of the results."""
    return f"files/{peer.name}/{image}-{level_label(level)}{peer.suffix}"


def level_label(level: float) -> str:
    return f"{abs(level):g}"


@lru_cache(maxsize=1)
def machine() -> str:
    """Processor, how many cores this process may use, system."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {cores()} cores, {platform.system()} {platform.machine()}"


def cores() -> int:
    """Of the machine."""
    import os

    return os.cpu_count() or 1


def _reset_peak() -> int | None:
    """Resident bytes, after giving free memory back and forgetting the peak so far."""
    try:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident size
    except OSError:
        return None
    return _status("VmRSS")


def _status(field: str) -> int | None:
    """A size of /proc/self/status in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def _highest(*sizes: float | None) -> float | None:
    known = [size for size in sizes if size is not None]
    return round(max(known), 1) if known else None
