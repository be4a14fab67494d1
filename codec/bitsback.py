"""Bits-back coding of a Gaussian diffusion prior on the ANS stack of `constriction`.

Coding y0 with latents y1…yT costs −ELBO bits on average if the latents are not chosen freely but
read from the stack that is being written: popping them under q takes −log q bits off it, pushing
them under p puts −log p bits back. The steps are interleaved (Bit-Swap, arXiv 1905.06845):

    pop y1 ~ q(y1|y0), push y0 under p(y0|y1), pop y2 ~ q(y2|y1), push y1 under p(y1|y2), …, push yT

so that a patch needs the bits of one step beforehand, not of all T. Patches are chained: what one
pushed is what the next pops. The first has nothing to pop: it borrows words of a fixed
pseudo-random sequence, which stay in the stream; a decoder checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from ..models.context_priors.diffusion import IntegerDiffusion
from ..models.context_priors.normal import PRECISION, NormalTables
from ..models.context_priors.unet import StepOps
from ..models.integer import CONTEXT_LIMIT
from .errors import BitstreamError

Ints = npt.NDArray[np.int64]
Coder = Any  # constriction ships no types

Denoise = Callable[[int, npt.NDArray[np.float32]], tuple[Ints, Ints]]
"""(t, y_t) → v and scale indices."""

BORROWED_SEED = 0x6463_7463

MOST_CELLS = 2**21
"""Largest magnitude of y_t: that of symbols times the finest grid, and float32 still counts it."""

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""How many patches a link may have: patches that are coded side by side, the network running on all
of them at once. After each link its size is pushed."""

CAUTION = 1.2
"""Bits that a patch is expected to take off the stack, as a multiple of what the last ones took."""


def borrowed_words(count: int) -> npt.NDArray[np.uint32]:
    """The words that a first patch may pop, the first to be popped last in the array."""
    words = np.random.Philox(BORROWED_SEED).random_raw(count).astype(np.uint64)
    out = (words & 0xFFFFFFFF).astype(np.uint32)
    if count:
        out[0] |= 1  # a stream may not end in an empty word
    return out[::-1].copy()


def ans_model(frequencies: Ints) -> Any:
    """A constriction model with exactly these frequencies, sum 2^24; see `entropy.ans_model`."""
    p = (frequencies - 1).astype(np.float32)
    return constriction.stream.model.Categorical(p, perfect=False, lazy=False)


class NormalModels:
    """Normal tables as constriction models, made when first used."""

    def __init__(self, tables: NormalTables) -> None:
        self.tables = tables
        self._made: dict[int, tuple[Any, npt.NDArray[np.float64]]] = {}
        uniform = np.full(32, 2**PRECISION // 32)
        self.length, self.bit = ans_model(uniform), ans_model(np.full(2, 2 ** (PRECISION - 1)))

    def get(self, key: int) -> tuple[Any, npt.NDArray[np.float64]]:
        """Model and bits of each symbol; `key` as `_places` packs it."""
        made = self._made.get(key)
        if made is None:
            escape, rest = key & 1, key >> 1
            rest, high = divmod(rest, 4096)
            rest, low = divmod(rest, 4096)
            index, phase = divmod(rest, 16)
            f = self.tables.frequencies(index, phase - 8, -low, high, bool(escape))
            made = self._made[key] = ans_model(f), PRECISION - np.log2(f)
        return made


class Stack:
    """An ANS stack of normally distributed whole numbers.

    Args:
        words: what lies on it; its last is not 0.
        limit: values under `bounded` calls are within ±limit.
    """

    def __init__(self, models: NormalModels, words: npt.NDArray[np.uint32], limit: int) -> None:
        self.models, self.limit = models, limit
        self.coder: Coder = constriction.stream.stack.AnsCoder(words)
        self.cost = 0.0  # bits pushed less bits popped, by the tables
        self.lowest = len(words)  # words of which none was ever touched, and the state's two
        self.least = self.link_least = 0.0  # the lowest cost so far, and in this link

    def _places(
        self, mean: Ints, index: Ints, bounded: bool, escape: bool
    ) -> tuple[Ints, Ints, Ints]:
        """Rounded means, lowest cells below them, and keys of the tables; all flat."""
        tables = self.models.tables
        step = tables.mean_step[index]
        mean = (mean + (step >> 1)) // step * step
        whole = (mean + 8) >> 4
        phase = mean - (whole << 4) + 8
        low = high = tables.reach[index]
        if bounded and self.limit:
            inside = np.clip(whole, -self.limit, self.limit)
            phase = np.where(inside == whole, phase, 8)
            whole = inside
            low = np.minimum(low, self.limit + whole)
            high = np.minimum(high, self.limit - whole)
        keys = ((((index * 16 + phase) * 4096 + low) * 4096 + high) << 1) | int(escape)
        return whole, low, keys

    def push(self, values: Ints, mean: Ints, index: Ints, *, bounded: bool, escape: bool) -> None:
        """Values (n,) with means in sixteenths and scale indices (n,).

        Without `escape` all values must be within the tables' reach, as popped ones are.
        """
        whole, low, keys = self._places(mean, index, bounded, escape)
        distance = values - whole
        groups = _groups(keys)
        high = (keys >> 1) & 4095
        out = (distance < -low) | (distance > high)
        if out.any():
            if not escape:
                raise BitstreamError("a latent of the context is out of reach")
            for i in np.flatnonzero(out)[::-1]:
                self._push_escape(int(distance[i]), int(low[i]), int(high[i]))
        coded = np.where(out, low + high + 1, distance + low).astype(np.int32)
        for key, where in reversed(groups):
            model, bits = self.models.get(key)
            self.coder.encode_reverse(np.ascontiguousarray(coded[where]), model)
            self.cost += float(bits[coded[where]].sum())

    def pop(self, mean: Ints, index: Ints, *, bounded: bool, escape: bool) -> Ints:
        """The values that were pushed with these means and indices."""
        whole, low, keys = self._places(mean, index, bounded, escape)
        out = np.empty(len(keys), np.int64)
        for key, where in _groups(keys):
            model, bits = self.models.get(key)
            got = self.coder.decode(model, len(where))
            self.cost -= float(bits[got].sum())
            out[where] = got
        self.lowest = min(self.lowest, self.coder.num_words())
        self.least = min(self.least, self.cost)
        self.link_least = min(self.link_least, self.cost)
        distance = out - low
        if escape:
            high = (keys >> 1) & 4095
            for i in np.flatnonzero(distance == high + 1):
                distance[i] = self._pop_escape(int(low[i]), int(high[i]))
        return np.asarray(whole + distance)

    def _push_escape(self, distance: int, low: int, high: int) -> None:
        beyond = 2 * (distance - high) - 1 if distance > high else 2 * (-low - distance)
        length = beyond.bit_length() - 1
        digits = [(beyond >> b) & 1 for b in range(length - 1, -1, -1)]
        if digits:
            self.coder.encode_reverse(np.array(digits, np.int32), self.models.bit)
        self.coder.encode_reverse(np.array([length], np.int32), self.models.length)
        self.cost += 5 + length

    def _pop_escape(self, low: int, high: int) -> int:
        length, beyond = int(self.coder.decode(self.models.length)), 1
        if length:
            for digit in self.coder.decode(self.models.bit, length):
                beyond = 2 * beyond + int(digit)
        self.cost -= 5 + length
        half, odd = divmod(beyond, 2)
        return high + half + 1 if odd else -low - half

    def push_uniform(self, value: int, count: int) -> None:
        """One of `count` (a power of two) equally likely values."""
        model = ans_model(np.full(count, 2**PRECISION // count))
        self.coder.encode_reverse(np.array([value], np.int32), model)
        self.cost += float(np.log2(count))

    def pop_uniform(self, count: int) -> int:
        self.cost -= float(np.log2(count))
        return int(self.coder.decode(ans_model(np.full(count, 2**PRECISION // count))))

    def words(self) -> npt.NDArray[np.uint32]:
        return np.asarray(self.coder.get_compressed(), np.uint32)


def _groups(keys: Ints) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """(key, positions), keys ascending, positions in order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ends = np.append(starts[1:], len(keys))
    return [(int(ordered[a]), order[a:b]) for a, b in zip(starts, ends, strict=True)]


class BitsBack:
    """Codes patches of symbols against a Gaussian diffusion prior.

    Args:
        steps: executors of the network for t = 1…T, of either library.
        limit: largest magnitude of a symbol, or 0.
    """

    def __init__(
        self, diffusion: IntegerDiffusion, steps: Sequence[StepOps[Any]], limit: int
    ) -> None:
        self.diffusion, self.steps, self.limit = diffusion, steps, limit
        self.models = NormalModels(NormalTables(diffusion.inverse))

    def _reverse(self, t: int, y: Ints) -> tuple[Ints, Ints]:
        """Means and indices of p(y_{t−1}|y_t), flat."""
        v, more = self.steps[t - 1].heads(y.astype(np.float32))
        d = self.diffusion
        return d.reverse_mean(t, y, v).ravel(), d.reverse_index(t, more).ravel()

    def _forward(self, t: int, y: Ints) -> tuple[Ints, Ints]:
        """Means and indices of q(y_t|y_{t−1}), flat."""
        mean = self.diffusion.forward_mean(t, y).ravel()
        return mean, np.full(mean.shape, self.diffusion.forward_index(t))

    def encode(self, patches: Ints) -> tuple[npt.NDArray[np.uint32], float, int]:
        """Patches (n, channels, rows, columns) of symbols.

        Returns:
            words; cost in bits (pushed less popped); borrowed words among them.
        """
        available = 1024 + patches.size // 4
        while True:
            stack = Stack(self.models, borrowed_words(available), self.limit)
            self._encode_chain(stack, patches)
            if stack.lowest > 3:
                break
            available *= 2
        unused = stack.lowest - 3  # two words are the state; one may have been looked at
        return stack.words()[unused:], stack.cost, available - unused

    def _encode_chain(self, stack: Stack, patches: Ints) -> None:
        """Links as large as the stack can pay for without borrowing more than the first patch."""
        n, need = 0, 0.0
        while n < len(patches):
            before = stack.cost
            most = min(len(patches) - n, (before - stack.least) / (CAUTION * need) if n else 1)
            k = max(i for i, size in enumerate(SIZES) if size <= max(1, most))
            stack.link_least = before
            self._encode_link(stack, patches[n : n + SIZES[k]])
            taken = (before - stack.link_least) / SIZES[k]
            need = max(taken, 0.8 * need, 1.0)
            stack.push_uniform(k, len(SIZES))
            n += SIZES[k]

    def _encode_link(self, stack: Stack, y: Ints) -> None:
        for t in range(1, self.diffusion.steps + 1):
            mean, index = self._forward(t, y)
            later = stack.pop(mean, index, bounded=False, escape=False).reshape(y.shape)
            mean, index = self._reverse(t, later)
            stack.push(y.ravel(), mean, index, bounded=t == 1, escape=True)
            y = later
        stack.push(y.ravel(), *self._last(y.size), bounded=False, escape=True)

    def _last(self, count: int) -> tuple[Ints, Ints]:
        return np.zeros(count, np.int64), np.full(count, self.diffusion.last_index)

    def decode(self, words: npt.NDArray[np.uint32], shape: tuple[int, int, int, int]) -> Ints:
        """The patches of `encode`.

        Raises:
            BitstreamError: what remains is not what the encoder borrowed.
        """
        if len(words) and words[-1] == 0:
            raise BitstreamError("a stream ends in an empty word")
        stack = Stack(self.models, words, self.limit)
        out = np.zeros(shape, np.int64)
        left = shape[0]
        while left:
            size = SIZES[stack.pop_uniform(len(SIZES))]
            if size > left:
                raise BitstreamError(f"a link of {size} patches, of which {left} are left")
            out[left - size : left] = self._decode_link(stack, (size, *shape[1:]))
            left -= size
        rest = stack.words()
        if not np.array_equal(rest, borrowed_words(len(rest))):
            raise BitstreamError("the context holds more or less than its symbols")
        return out

    def _decode_link(self, stack: Stack, shape: tuple[int, ...]) -> Ints:
        size = int(np.prod(shape))
        y = stack.pop(*self._last(size), bounded=False, escape=True).reshape(shape)
        for t in range(self.diffusion.steps, 0, -1):
            mean, index = self._reverse(t, y)
            earlier = stack.pop(mean, index, bounded=t == 1, escape=True).reshape(shape)
            most = CONTEXT_LIMIT if t == 1 else MOST_CELLS
            if np.abs(earlier).max(initial=0) > most:
                raise BitstreamError("a context symbol is out of range")
            mean, index = self._forward(t, earlier)
            stack.push(y.ravel(), mean, index, bounded=False, escape=False)
            y = earlier
        return y


__all__ = ["BitsBack", "NormalModels", "Stack", "borrowed_words"]
