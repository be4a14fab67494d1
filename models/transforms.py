"""Fixed transforms: orthonormal opponent colours, the DCT, and the context built from them.

NumPy only: a context can be turned into a picture without torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

GREY = 128.0
"""Mid-grey, taken off before and added after all transforms; grey levels are 0…255."""


def opponent_matrix() -> Floats:
    """Rows: luma, red-blue, green-magenta; orthonormal, so squared errors are kept. (3, 3)."""
    m = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float64)
    return np.asarray(m / np.linalg.norm(m, axis=1, keepdims=True), np.float32)


def dct_matrix(n: int) -> npt.NDArray[np.float64]:
    """Orthonormal type-II DCT, (frequency, sample)."""
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    m = np.cos(np.pi * (2 * i + 1) * k / (2 * n)) * np.sqrt(2 / n)
    m[0] /= np.sqrt(2)
    return np.asarray(m)


def block_basis(
    n: int, frequencies: Sequence[tuple[int, int]], colours: Sequence[int] = (0, 1, 2)
) -> Floats:
    """Basis pictures of the block DCT in opponent colours.

    Returns:
        (len(colours)·len(frequencies), 3, n, n), orthonormal; colours outermost. As the weight of
        a convolution with stride n it is the transform, transposed it is the inverse.
    """
    m, col = dct_matrix(n), opponent_matrix()
    planes = [np.outer(m[u], m[v]) for u, v in frequencies]
    out = [col[c][:, None, None] * p[None] for c in colours for p in planes]
    return np.stack(out).astype(np.float32)


def context_basis(block: int, kept: int) -> Floats:
    """Basis of the context: the kept×kept lowest DCT coefficients of each opponent plane."""
    return block_basis(block, [(u, v) for u in range(kept) for v in range(kept)])


def pooling_basis(block: int, kept: int) -> Floats:
    """Average pooling to kept×kept per block and colour, scaled to be orthonormal.

    The downsampling context of arXiv 2302.09976 (Algorithm 3); the transpose is upsampling by
    nearest neighbour (Algorithm 4). Where `kept` does not divide `block`, cells are as even as
    whole pixels allow.

    Returns:
        (3·kept², 3, block, block); order and colours as `context_basis`.
    """
    edges = [block * i // kept for i in range(kept + 1)]
    col = opponent_matrix()
    out = np.zeros((3, kept, kept, 3, block, block), np.float32)
    for u in range(kept):
        for v in range(kept):
            rows, columns = slice(edges[u], edges[u + 1]), slice(edges[v], edges[v + 1])
            area = (edges[u + 1] - edges[u]) * (edges[v + 1] - edges[v])
            out[:, u, v, :, rows, columns] = (col / np.sqrt(area))[:, :, None, None]
    return out.reshape(3 * kept * kept, 3, block, block)


def basis_of(kind: str, block: int, kept: int) -> Floats:
    """Basis of a context of either kind: `dct` or `down`."""
    return (context_basis if kind == "dct" else pooling_basis)(block, kept)


def inverse_context(coefficients: Floats, block: int, kept: int) -> Floats:
    """Picture from context coefficients alone, by the separable inverse DCT.

    Args:
        coefficients: (3·kept², rows, columns), grey levels (already multiplied by their step).

    Returns:
        (3, rows·block, columns·block) RGB grey levels around 128, not clipped.
    """
    _, rows, columns = coefficients.shape
    m = dct_matrix(block)[:kept].astype(np.float32)
    c = coefficients.reshape(3, kept, kept, rows, columns)
    planes = np.einsum("cuvij,ua,vb->ciajb", c, m, m, optimize=True)
    planes = planes.reshape(3, rows * block, columns * block)
    return np.asarray(np.tensordot(opponent_matrix().T, planes, 1) + GREY, np.float32)
