"""The latents' scale: a U-Net is built for latents of unit variance.

Source: Rombach et al. 2022, section 4.3.2 and appendix G: latents are divided by their standard deviation, that of
posterior samples, so that the noise schedule means what it says.

Why 0.8 to 1.25 and 0.5 to 2: a factor that is off by r moves the signal-to-noise ratio at every timestep by r^2:
a quarter either way is 2 dB, about what a data set's own variety does (kl-f8-tiny, with a factor made on photographs:
0.89 to 1.13 on subsets of other photographs); 2 is 6 dB, and every published mistake (another family's factor,
divided instead of multiplied, the factor left out) is at least that.
Why a low std of pictures without contrast is no fault: the std is theirs. Latents that stay too large on them are one.
"""

from __future__ import annotations

import math

from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.latent import LatentMoments, Moments, Scaled
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.probes.protocol import Examined, Limit, Subject, finite, unavailable
from vaecheck.results.types import Finding, LatentScaling, Severity

PATCHES = (1, 2)
"""Sides of the patches that published scalings fold: 2 for Flux.2, 1 for all others."""
DULL = 0.2
"""Std of all pixels in [-1, 1] below which pictures have little contrast; photographs have about 0.5."""

RAW = Limit(None, (0.05, 20.0), "std of the raw latents", "without a factor any scale will do that a factor can mend")
CHANNEL = Limit(
    (0.25, 4.0),
    None,
    "std of the worst channel after the factor",
    "the channels of a published VAE that ships a std for each (Wan 2.1) are within a factor of 2 of their common one; "
    "4 is twice that",
)


class LatentScale:
    """The std of posterior samples after the VAE's own (or the given) scaling; of raw latents where there is none.

    std^2 = Var(posterior means) + mean posterior variance, after the whole scaling (shift, per channel, patches).
    """

    id = "latent_scale"
    title = "latents far from unit variance"
    limit = Limit(
        (0.8, 1.25),
        (0.5, 2.0),
        "std of the scaled latents",
        "a U-Net is built for a std of 1; a factor off by 1.25 moves the signal-to-noise ratio of every timestep by "
        "2 dB, one off by 2 by 6 dB",
    )
    remedy = "Scale the latents by 1 / std, in training and in sampling: vaecheck scale-factor gives it ready to paste."
    needs = frozenset({Need.POSTERIOR})

    def __init__(self) -> None:
        self.moments = {patch: LatentMoments(patch=patch) for patch in PATCHES}
        self._pixels = [0.0, 0.0, 0.0]

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        for moments in self.moments.values():
            moments.update(batch)
        pixels = to_float64(batch.pixels)
        for place, part in enumerate((float(pixels.numel()), float(pixels.sum()), float(pixels.square().sum()))):
            self._pixels[place] += part

    def examine(self, subject: Subject) -> Examined:
        scaling = subject.vae.card.scaling
        latents = self.moments.get(scaling.patch, self.moments[1])
        try:
            moments = latents.moments()
        except NotEnoughImages as error:
            return Examined(unavailable(self, f"{error.message[0].upper()}{error.message[1:]}.", error.hint))
        after = latents.scaled(scaling) if scaling.known else None
        if after is None:
            return Examined(self._raw(moments, scaling))
        return Examined(self._scaled(moments, scaling, after))

    def _raw(self, moments: Moments, scaling: LatentScaling) -> Finding:
        why = "This VAE ships no scaling factor"
        if scaling.known:
            why = "The means and stds that it ships are not of these latents' channels"
        evidence = f"{why}; the raw latents have a std of {moments.std:.4g}{_recommended(moments)}."
        return RAW.finding(self, moments.std, evidence, figures=self._figures(moments, None), most=self._most(moments))

    def _scaled(self, moments: Moments, scaling: LatentScaling, after: Scaled) -> Finding:
        whose = "given" if scaling.given else "shipped"
        each = scaling.channel_stds is not None
        what = "means and stds of each channel" if each else f"factor {scaling.scaling_factor:.6g}"
        evidence = (
            f"The {whose} {what} give{'' if each else 's'} these latents a std of {after.std:.3f}"
            f"{_recommended(moments)}."
        )
        figures = self._figures(moments, after)
        if self.limit.severity(after.std) == "healthy" and CHANNEL.severity(after.worst_std) != "healthy":
            alone = f"{evidence} Channel {after.worst_channel} alone comes to {after.worst_std:.3g}."
            remedy = "Scale each channel by its own mean and std: vaecheck scale-factor gives them ready to paste."
            return CHANNEL.finding(self, after.worst_std, alone, remedy=remedy, figures=figures)
        most = self._most(moments, after.std)
        return self.limit.finding(self, after.std, evidence, figures=figures, most=most)

    def _most(self, moments: Moments, std: float | None = None) -> Severity:
        """The gravest that these pictures can show: a small std is theirs where they have no contrast."""
        count, total, squares = self._pixels
        contrast = math.sqrt(max(squares / count - (total / count) ** 2, 0.0))
        return "warning" if contrast < DULL and (moments.std if std is None else std) < 1 else "fault"

    def _figures(self, moments: Moments, after: Scaled | None) -> dict[str, float | None]:
        return {
            "std": finite(moments.std),
            "recommended_factor": finite(1 / moments.std) if moments.std > 0 else None,
            "worst_channel": after.worst_channel if after else None,
            "worst_channel_std_after": finite(after.worst_std) if after else None,
        }


def _recommended(moments: Moments) -> str:
    return f"; 1 / std is {1 / moments.std:.5g}" if moments.std > 0 else ""
