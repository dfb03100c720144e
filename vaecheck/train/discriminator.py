"""The PatchGAN discriminator of latent diffusion's first stage: is each patch of a picture real?"""

from __future__ import annotations

from torch import Tensor, nn

SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """(B, 3, H, W) pixels in [-1, 1] -> one logit for each patch, (B, 1, h, w); high where it looks real.

    With 3 layers a logit sees 70 x 70 pixels and h = H / 8 - 2.
    Source: Isola et al. 2017, section 3.2.2 and appendix 6.1.2; Rombach et al. 2022, appendix G.
    Why BatchNorm: it is what both have. Its statistics are those of one process's share of the batch, so several
    processes train another discriminator than one does.
    """

    def __init__(self, layers: int = 3, width: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            blocks += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=False),
                nn.BatchNorm2d(widths[i]),
                nn.LeakyReLU(SLOPE),
            ]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(_initialise)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.blocks(pixels)
        return logits


def _initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, as pix2pix has them."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
