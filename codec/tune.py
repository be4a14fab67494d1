"""What an error costs, place by place and frequency by frequency. The decoder does not know.

PSNR counts every error alike. (MS-)SSIM compares structure: in a window whose luma has the variance
σ², an error of variance e lowers it by about e / (2σ² + C₂), C₂ = (0.03 · 255)² (Wang et al. 2004,
Eq. 13, to first order in e), so that an error in a smooth place counts more than one among leaves;
and its finest scale has a weight of 0.045 of 1 (Wang et al. 2003), so that high frequencies count
less. The encoder's choice of symbols follows that with a power of it. The first steps that way buy
most and cost least: `balanced` goes half as far as `ms-ssim`. See docs/study.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.config import PartConfig

TUNES: Final = {"balanced": 0.5, "psnr": 0.0, "ms-ssim": 1.0}
"""How far each goes from PSNR towards MS-SSIM."""
DEFAULT_TUNE: Final = "balanced"

POWER: Final = 0.4  # for ms-ssim
ALIKE: Final = 500.0
"""2σ² + C₂ of a place whose errors cost what they cost for PSNR, squared grey levels."""
C2: Final = (0.03 * 255) ** 2
SIDE: Final = 11  # of the window, pixels
LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Tune:
    """What the encoder aims at: `psnr`, `ms-ssim`, or `balanced` between the two.

    Raises:
        UsageError: none of them.
    """

    name: str = DEFAULT_TUNE

    def __post_init__(self) -> None:
        if self.name not in TUNES:
            raise UsageError(f"tune {self.name!r} is none of {', '.join(TUNES)}")

    @property
    def share(self) -> float:
        """Of the way from PSNR to MS-SSIM, 0…1."""
        return TUNES[self.name]

    def worth(self, x: Tensor) -> Tensor | None:
        """What the error of each pixel costs by itself, (1, 1, h, w); None: alike everywhere.

        Args:
            x: (1, 3, h, w) grey levels, whatever they are counted from.
        """
        import torch.nn.functional as F

        if not self.share:
            return None
        y = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        mean, square = (
            F.avg_pool2d(v, SIDE, 1, SIDE // 2, count_include_pad=False) for v in (y, y * y)
        )
        return ALIKE / (2 * (square - mean * mean).clamp_min(0) + C2)

    def places(self, worth: Tensor, stride: int) -> Tensor:
        """What the encoder takes it to cost, in blocks of `stride` pixels a side.

        Args:
            worth: as `worth` gives it.
        """
        import torch.nn.functional as F

        return F.avg_pool2d(worth, stride) ** (self.share * POWER)

    def band(self, part: PartConfig) -> float:
        """What errors in a part of the latents cost, for its frequencies."""
        cycles = (part.low + part.high) / 4 / part.stride  # per pixel, the middle of its band
        return float((1.3 - 1.5 * cycles) ** self.share)
