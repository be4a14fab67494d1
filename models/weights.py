"""Weights files: one safetensors file per released model, integers for the prior path.

NumPy only; the float networks inside are built by `runtime`, which needs torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .centroids import no_centroids
from .config import KNOT_SPACING, KNOTS, QUALITY_STEPS, ModelConfig
from .integer import StoredPrior
from .tables import Tables
from .usage import KEY

FORMAT = "1"
FOLDER = Path(__file__).parent / "weights"
"""Where released models lie, one NAME.safetensors each."""

Arrays = Mapping[str, npt.NDArray[np.generic]]


class WeightsError(ValueError):
    """A weights file is missing, damaged, or breaks the rules of the integer path."""


SET = re.compile(r"from(\d+)\.")
"""Before the names of a set's tensors: the quality index from which they hold; none: from 0."""


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A weights file, read and checked. `path` is where float networks are read from.

    A file may hold several sets of weights for as many ranges of quality. This is one of them (the
    coarsest as `load` gives it), and the way to the others.
    """

    name: str
    path: Path
    cfg: ModelConfig
    prior: StoredPrior
    tables: Tables
    log_inverse: npt.NDArray[np.float32]  # (KNOTS, channels): factors before synthesis, as logs
    centroids: npt.NDArray[np.int8]  # see `centroids.Table`
    prior_id: bytes  # 4 bytes: a file is decoded only by the prior that wrote it
    synthesis_id: bytes  # 2 bytes: another synthesis gives other pixels
    known_answer: int
    metadata: Mapping[str, str]
    first: int = 0  # quality index from which this set of weights holds
    finer: StoredModel | None = None  # the next set, for finer qualities

    @property
    def sets(self) -> tuple[StoredModel, ...]:
        """This set of weights and all finer ones, from coarse to fine."""
        return (self, *(self.finer.sets if self.finer else ()))

    def at(self, quality_index: int) -> StoredModel:
        """The set of weights that codes at a quality."""
        return [s for s in self.sets if s is self or s.first <= quality_index][-1]

    def tensors(self, wanted: Callable[[str], bool]) -> dict[str, Any]:
        """Arrays of this set whose names, without the set's prefix, are wanted."""
        own = read_tensors(self.path, lambda k: set_of(k) == self.first and wanted(bare(k)))
        return {bare(k): v for k, v in own.items()}

    def inverse_gains(self, quality_index: int) -> npt.NDArray[np.float32]:
        """Factors on dequantised symbols of context, 1/16 and 1/8 channels, linear in log."""
        k, f = divmod(quality_index, KNOT_SPACING)
        a, b = self.log_inverse[k], self.log_inverse[min(k + 1, KNOTS - 1)]
        return np.asarray(np.exp(a + (b - a) * np.float32(f / KNOT_SPACING)), np.float32)

    def context_step(self, quality_index: int) -> npt.NDArray[np.float32]:
        """Grey levels per context symbol, (context channels,)."""
        gains = self.inverse_gains(quality_index)[: self.cfg.context_channels]
        return np.asarray(gains * np.float32(self.cfg.step(quality_index)), np.float32)


def digest(cfg: ModelConfig | None, arrays: Arrays) -> bytes:
    """SHA-256 over configuration and arrays (name, type, shape, little-endian bytes), by name."""
    h = hashlib.sha256()
    if cfg is not None:
        h.update(json.dumps(cfg.to_json(), sort_keys=True).encode())
    for name in sorted(arrays):
        a = arrays[name]
        h.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
        h.update(np.ascontiguousarray(a).tobytes())
    return h.digest()


def set_of(name: str) -> int:
    """The quality index from which a stored tensor holds."""
    found = SET.match(name)
    return int(found[1]) if found else 0


def bare(name: str) -> str:
    """A stored tensor's name without the prefix of its set."""
    return SET.sub("", name, count=1)


def prefixed(first: int, arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of the set that holds from quality index `first` on, named as they are stored."""
    return {f"from{first}.{k}" if first else k: v for k, v in arrays.items()}


def is_prior(name: str) -> bool:
    return bare(name).startswith(("context.", "state.", "part", "tables."))


def is_synthesis(name: str) -> bool:
    return bare(name).startswith("synthesis.") or bare(name) in ("log_inverse", "centroids")


def save(
    path: Path,
    name: str,
    cfg: ModelConfig,
    arrays: Arrays,
    known_answers: Sequence[int],
    card: Mapping[str, str],
) -> None:
    """Write a weights file.

    Args:
        arrays: see `load`; of several sets: by `prefixed`.
        known_answers: one of each set, from coarse to fine.
    """
    prior = {k: v for k, v in arrays.items() if is_prior(k)}
    synthesis = {k: v for k, v in arrays.items() if is_synthesis(k)}
    metadata = {
        "format": FORMAT,
        "name": name,
        "config": json.dumps(cfg.to_json()),
        "prior_id": digest(cfg, prior)[:4].hex(),
        "synthesis_id": digest(None, synthesis)[:2].hex(),
        "known_answer": ",".join(map(str, known_answers)),
        **card,
    }
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, metadata)


def store(
    path: Path,
    name: str,
    cfg: ModelConfig,
    arrays: Arrays,
    known_answers: Sequence[int],
    card: Mapping[str, str],
) -> None:
    """`save`, read back and checked: `path` appears whole or not at all, and may be there.

    Raises:
        WeightsError: as `load`.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        save(partial, name, cfg, arrays, known_answers, card)
        load(partial)
        partial.replace(path)
    load.cache_clear()


USAGE_KEY = KEY
"""Metadata with the figures of `models.usage`."""

OWN_KEYS = frozenset({"format", "name", "config", "prior_id", "synthesis_id", "known_answer"})
"""Metadata that is not the card's."""


def known_answers(stored: StoredModel) -> list[int]:
    """Of all sets of a model, as `save` takes them."""
    return [s.known_answer for s in stored.sets]


def add_usage(path: Path, found: Mapping[str, Any], out: Path) -> None:
    """The same model with `models.usage.usage` figures in its metadata; ids and answer stay.

    `out` may be `path`.
    """
    stored = load(path)
    card = {k: v for k, v in stored.metadata.items() if k not in OWN_KEYS}
    card[USAGE_KEY] = json.dumps(found, separators=(",", ":"))
    arrays = read_tensors(path, lambda _: True)
    store(out, stored.name, stored.cfg, arrays, known_answers(stored), card)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as f:
            return dict(f.metadata() or {})
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path.name}: not a readable weights file ({e})") from e


def read_tensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The arrays of a weights file whose names are wanted."""
    with safe_open(path, framework="numpy") as f:
        return {k: f.get_tensor(k) for k in filter(wanted, f.keys())}


@lru_cache(maxsize=8)
def load(path: Path) -> StoredModel:
    """Read the exact half of a weights file: prior path and tables; check every bound and id.

    The set of the coarsest qualities; `StoredModel.at` gives that of any quality.

    Raises:
        WeightsError: unreadable, of an unknown format, or against the rules.
    """
    meta = _metadata(path)
    if meta.get("format") != FORMAT:
        raise WeightsError(f"{path.name}: weights of format {meta.get('format')!r}, not {FORMAT!r}")
    try:
        cfg = ModelConfig.from_json(json.loads(meta["config"]))
        arrays = read_tensors(
            path, lambda k: is_prior(k) or bare(k) in ("log_inverse", "centroids")
        )
        prior_id = bytes.fromhex(meta["prior_id"])
        if digest(cfg, {k: v for k, v in arrays.items() if is_prior(k)})[:4] != prior_id:
            raise WeightsError(f"{path.name}: the prior does not match its hash {prior_id.hex()}")
        answers = [int(n) for n in meta["known_answer"].split(",")]
        starts = sorted({set_of(k) for k in arrays})
        if starts[0] or starts[-1] > QUALITY_STEPS:
            raise WeightsError(f"{path.name}: sets of weights from qualities {starts}, not from 0")
        none = no_centroids(len(cfg.parts))
        found: StoredModel | None = None
        for first, answer in reversed(list(zip(starts, answers, strict=True))):
            own = {bare(k): v for k, v in arrays.items() if set_of(k) == first}
            tables = Tables(
                own["tables.reach"], own["tables.frequencies"], int(own["tables.skip_below"][0])
            )
            found = StoredModel(
                name=meta["name"],
                path=path,
                cfg=cfg,
                prior=StoredPrior.from_arrays(cfg, own),
                tables=tables,
                log_inverse=own["log_inverse"],
                centroids=own.get("centroids", none).astype(np.int8),
                prior_id=prior_id,
                synthesis_id=bytes.fromhex(meta["synthesis_id"]),
                known_answer=answer,
                metadata=meta,
                first=first,
                finer=found,
            )
        assert found is not None
        return found
    except WeightsError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, SafetensorError) as e:
        raise WeightsError(f"{path.name}: damaged weights ({e})") from e


def float_arrays(model: StoredModel) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors of analysis and synthesis and the gains of one set, as float32."""
    return {k: v.astype(np.float32) for k, v in model.tensors(lambda k: not is_prior(k)).items()}


def released() -> Iterator[tuple[str, bytes, Path]]:
    """(name, prior id, path) of every model in the package, by name."""
    for path in sorted(FOLDER.glob("*.safetensors")):
        meta = _metadata(path)
        yield meta.get("name", path.stem), bytes.fromhex(meta.get("prior_id", "")), path


DEFAULT_MODEL = "base-9"


def default() -> StoredModel:
    """The model that encodes."""
    path = FOLDER / f"{DEFAULT_MODEL}.safetensors"
    if not path.exists():
        raise WeightsError(f"{path.name} is missing from the package; reinstall dctcodec")
    return load(path)


def find(prior_id: bytes, own: StoredModel | None = None) -> StoredModel | None:
    """The model with this prior: `own`, if it is the one, or a released one, or None."""
    if own is not None and own.prior_id == prior_id:
        return own
    for _, known, path in released():
        if known == prior_id:
            return load(path)
    return None
