"""Posterior collapse: latents that are noise, because the posterior has become the prior.

The share of a channel's variance that is noise is n = E[var] / (S + E[var]), with S the variance of the posterior
means between pictures. A Gaussian channel of that share carries -ln(n) / 2 nats an element (Shannon 1949), and
E[KL(q(z|x) || N(0, I))] cannot be less. Collapsed units are the inactive ones of Burda et al. 2015 (arXiv 1509.00519,
section 5.1: Cov_x(E_q[z|x]) small), here relative to the noise, so that the scale of the latents does not matter.

Why the statistics and no decoded picture: with --posterior mode the decoder sees the means, and a mean of 0.01 under a
noise of 1 still decodes; a diffusion model learns the samples.
Why 0.95: 0.026 nats an element. A posterior std of 0.9 (n = 0.81) still carries 0.1 nats; the largest variance
published with working reconstructions is 0.94 (arXiv 2603.21085, KL weight 8: rFID 2.4 for 0.4).
Why a third of the channels is a fault: a VAE that lost them compresses by half as much again as it was built to; no
KL weight that leaves the others at work does that. One in 8 is a capacity that is paid for and not had.
Why 0.2 is a warning: every fifth part of a sample's variance is noise that no U-Net can predict, a posterior std of
0.45. The best generation there had a variance of 0.06, by a loss of its own; 0.07, by a KL weight of 1, was no better
than 1e-8.
Healthy: kl-f8-tiny 0.0003 or less on photographs, drawings and grey pictures, 0.03 on one flat picture.
A channel that is silent without noise is no collapsed one: `dead_channels` names it, unless all are silent.
"""

from __future__ import annotations

import numpy as np

from vaecheck.metrics.protocol import Batch
from vaecheck.probes.latent_signal import Channels, Signal, named, own_signal
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.results.types import Finding, Line, Plot

COLLAPSED = 0.95
"""Share of noise from which a channel counts as collapsed."""
ROUNDING = 2.0**-11
"""Of float16: what varies by less than this part of its value is constant."""
SILENT = 1e-3
"""Part of the largest channel's variance below which a channel is dead, not collapsed."""

NOISE = Limit(
    (None, 0.2),
    (None, COLLAPSED),
    "share of the latents' variance",
    "above 0.2 a fifth of every sample is noise (the variances that went best with generation are below 0.1, arXiv "
    "2603.21085); at 0.95 an element carries 0.026 nats of the picture",
)


class PosteriorCollapse:
    """The share of channels whose posterior says next to nothing of the picture; where none, the share of noise."""

    id = "posterior_collapse"
    title = "latents that are noise"
    limit = Limit(
        (None, 0.125),
        (None, 1 / 3),
        "share of the channels",
        "a channel has collapsed where 95 % of its variance is noise (0.026 nats an element); with more than a third "
        "of them the VAE compresses half as hard again as it was built to",
    )
    remedy = (
        "Check that the weights are trained and were loaded whole; if they are, lower the KL weight (LDM: 1e-6 per "
        "summed element), or raise it from 0 only after the reconstruction has settled, and train again."
    )
    needs = Signal.needs

    def __init__(self) -> None:
        self.signal = Signal()

    def update(self, batch: Batch) -> None:
        self.signal.update(batch)

    def examine(self, subject: Subject) -> Examined:
        if not self.signal.pictures:
            return Examined(unavailable(self, "No picture has finite latents, so there is no variance to measure."))
        shares = _shares(self.signal, self.signal.between)
        if self._judged(shares).severity != "healthy":
            # grey or flat pictures leave channels silent that a card wakes
            shares = _shares(self.signal, np.maximum(self.signal.between, own_signal(subject)))
        finding = self._judged(shares)
        return Examined(finding, (_plot(shares),) if self.signal.stochastic else ())

    def _judged(self, shares: Channels) -> Finding:
        collapsed = np.flatnonzero(shares > COLLAPSED)
        part, noise = len(collapsed) / len(shares), float(shares.mean())
        nats = float(-np.log(np.clip(shares, 1e-12, 1.0)).mean() / 2)
        figures = {"collapsed_channels": float(len(collapsed)), "noise_share": noise}
        if self.signal.stochastic:
            figures["nats_per_element"] = nats
        if self.limit.severity(part) != "healthy":
            evidence = (
                f"{len(collapsed)} of {len(shares)} channels ({named(collapsed)}) are at least "
                f"{min(shares[collapsed].min(), 0.99):.0%} noise: a sample of them says next to nothing of the picture."
            )
            if not self.signal.stochastic:
                evidence = f"The latents of {len(collapsed)} of {len(shares)} channels are the same for every picture."
            return self.limit.finding(self, part, evidence, figures=figures)
        if not self.signal.stochastic:
            evidence = "The encoder is deterministic: it has no posterior, and its latents vary with the picture."
            return self.limit.finding(self, part, evidence, figures=figures)
        evidence = (
            f"{max(noise, 1e-4):.2%}{' or less' if noise < 1e-4 else ''} of the latents' variance is posterior noise, "
            f"the rest varies with the picture: about {nats:.2f} nats an element."
        )
        return NOISE.finding(self, noise, evidence, figures=figures, most="warning")


def _shares(signal: Signal, of_picture: Channels) -> Channels:
    """The share of noise by channel: (C,); 0 for a channel that is silent beside the others and has no noise."""
    rounding = (ROUNDING * signal.mean) ** 2
    noise = signal.noise + rounding
    whole = of_picture + noise
    shares = np.divide(noise, whole, out=np.ones_like(noise), where=whole > 0)
    return np.where((whole < SILENT * whole.max()) & (shares > COLLAPSED), 0.0, shares)


def _plot(shares: Channels) -> Plot:
    return Plot(
        name="posterior_noise",
        about=PosteriorCollapse.id,
        kind="bars",
        title="Share of each channel's variance that is posterior noise",
        x_label="latent channel",
        y_label="share",
        lines=(Line("noise", tuple(map(float, range(len(shares)))), tuple(map(float, shares))),),
        note=f"At {COLLAPSED} a channel has collapsed; near 0 a sample is as good as the mean.",
    )
