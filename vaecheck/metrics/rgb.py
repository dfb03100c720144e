"""Pictures that are not RGB before networks that know only RGB: LPIPS, Inception, EfficientNet.

Why grey is replicated and nothing else is made up: three equal channels are what these networks' own loaders make
of a grey picture. There is no such custom for an alpha channel or a second plane, and a figure that left it out
would call a VAE that loses it perfect.
"""

from __future__ import annotations

from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.metrics.protocol import Batch, View, compared
from vaecheck.pixels import to_8_bits

GREY_REMARK = "grey replicated to RGB, rounded to 8 bits"


def rgb_view(image_channels: int) -> View:
    """The view for a network of RGB. RGB itself passes as it is: the very same tensors, whose features are remembered.

    Raises SetupError for channel counts that have no agreed form in RGB.
    """
    if image_channels == 3:
        return compared
    if image_channels == 1:
        return grey_as_rgb
    raise SetupError(
        f"its network knows only RGB, and the pictures of this VAE have {image_channels} channels",
        hint="Read psnr_db and ssim instead, or wrap the VAE in a factory that encodes and decodes RGB through it.",
    )


def grey_as_rgb(batch: Batch) -> tuple[Tensor, Tensor]:
    """uint8 or float32 [0, 255] (B, 1, H, W) -> uint8 (B, 3, H, W), clamped and rounded: both sides."""
    original, reconstruction = (to_8_bits(side).expand(-1, 3, -1, -1) for side in compared(batch))
    return original, reconstruction
