"""CIFAR-10 from its python batches, read without running what a pickle could hold."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)


class _Plain(pickle.Unpickler):
    """Plain values and NumPy arrays only; anything else in the pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            if name == "_reconstruct":
                return np.zeros(0).__reduce__()[0]
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, coding: text.encode(coding)
        raise ValueError(f"{module}.{name} has no place in a CIFAR-10 batch")


def read_batch(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Pictures of one batch, (count, 3, 32, 32), 0…255.

    Raises:
        ValueError: it is no batch of CIFAR-10.
    """
    try:
        batch = _Plain(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{name}: no CIFAR-10 batch ({error})") from error
    pixels = batch.get(b"data") if isinstance(batch, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"{name}: no CIFAR-10 batch: it holds no array of bytes named 'data'")
    if pixels.shape[1] != 3072:
        raise ValueError(f"{name}: rows of {pixels.shape[1]} bytes, CIFAR-10 has 3072")
    return pixels.reshape(-1, 3, 32, 32)


def read_cifar10(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(training, test) pictures, each (count, 3, 32, 32), from a folder or the original tar.

    Raises:
        ValueError: a batch is missing or is none.
    """
    wanted = set(TRAIN + TEST)
    found: dict[str, bytes] = {}
    if path.is_dir():
        found = {p.name: p.read_bytes() for p in path.rglob("*_batch*") if p.name in wanted}
    else:
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    inside = tar.extractfile(member) if name in wanted else None
                    if inside is not None:
                        found[name] = inside.read()
        except tarfile.TarError as error:
            raise ValueError(f"{path}: neither a folder nor a tar ({error})") from error
    missing = sorted(wanted - set(found))
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} not found")
    train = [read_batch(found[n], f"{path}: {n}") for n in TRAIN]
    test = [read_batch(found[n], f"{path}: {n}") for n in TEST]
    return np.concatenate(train), np.concatenate(test)
