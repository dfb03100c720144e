"""What goes wrong in the training of a VAE, told in words as soon as its figures show it.

Limits: the figures are means over the steps of one report. Each is far from what a healthy run shows, because a
warning that comes for nothing is not read the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REPORTS = 3
"""That a figure must be past its limit, one after the other."""
WON_BELOW = 0.1
"""Of the discriminator's loss: with the hinge a perfect one has 0 and one that cannot tell has 1; vanilla has 0.69."""
COLLAPSED_BELOW = 0.02
"""Nats an element: a signal of a fifth of the noise (0.5 ln(1 + 0.04)) is less than any decoder can use."""
EXPLODED_ABOVE = 20.0
"""Of the latents' deviation, where `diagnose` too finds a fault (latent_scale)."""
OUTLIERS_ABOVE = 50.0
"""Deviations, of the largest latent."""

Figures = Mapping[str, float]


def _discriminator_wins(figures: Figures) -> bool:
    return figures.get("discriminator_loss", 1.0) < WON_BELOW


def _kl_collapses(figures: Figures) -> bool:
    return "posterior_std" in figures and figures["kl_nats_per_element"] < COLLAPSED_BELOW


def _latents_explode(figures: Figures) -> bool:
    std = figures.get("latent_std", 0.0)
    return std > EXPLODED_ABOVE or figures.get("latent_max", 0.0) > OUTLIERS_ABOVE * max(std, 1e-12)


ALARMS: Mapping[str, tuple[Callable[[Figures], bool], str]] = {
    "discriminator": (
        _discriminator_wins,
        "the discriminator wins: its loss is {discriminator_loss:.3g}, real patches have a logit of {logits_real:.2f} "
        "and decoded ones {logits_fake:.2f}, so it tells the decoder little. Start it later, or give adversarial less",
    ),
    "kl": (
        _kl_collapses,
        "the KL collapses: {kl_nats_per_element:.2g} nats an element, the posterior's deviation is "
        "{posterior_std:.2f}, so the latents are noise. Lower kl in [loss]",
    ),
    "latents": (
        _latents_explode,
        "the latents explode: their deviation is {latent_std:.3g} and the largest is {latent_max:.3g}. Raise kl in "
        "[loss], or lower learning_rate",
    ),
}


@dataclass
class Alarms:
    """Listens to the reports of one training."""

    _past: dict[str, int] = field(default_factory=dict)

    def heard(self, step: int, figures: Figures) -> list[str]:
        """The warnings that this report is the first to justify; one comes again only after it was over."""
        warnings = []
        for name, (is_wrong, words) in ALARMS.items():
            self._past[name] = self._past.get(name, 0) + 1 if is_wrong(figures) else 0
            if self._past[name] == REPORTS:
                warnings.append(f"step {step}: {words.format_map(figures)}")
        return warnings
