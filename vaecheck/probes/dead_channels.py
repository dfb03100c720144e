"""Dead channels: latents that a U-Net has to learn and that make no difference to the picture; and clamped ones.

A channel's effect is the change of the decoded pictures, root mean square in grey levels, when the channel alone is
taken from the next picture. It is nothing for a channel that the encoder holds constant (at zero or not), and for one
that the decoder ignores; the scale of the latents cannot matter, because both values are the channel's own.

Why cards beside the user's pictures: on grey pictures the channels of colour are the same in all of them.
Why gradients where there are many channels: the change to first order, for all of them, costs a few passes backward,
and a dead channel has none; the weakest and the median one are then exchanged.
Why 1 and 0.25 grey levels: one is the step of an 8-bit picture, and rounding to 8 bits alone moves a picture by 0.29.
Where many channels share the work, so that the median moves it by less than 5, the limits are that much lower.
Healthy, on photographs, drawings, grey and flat pictures of 128 to 512 pixels: the weakest of kl-f8-tiny's 4 channels
moves them by 14 grey levels or more, that of taef2's 32 by 4.8, that of a DCT with 12 channels by 3.8.
Why 2 % and 20 % at one value: clamps at 2.1 and 0.84 standard deviations of a Gaussian put that many there.
Healthy: next to none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import Levels, to_image
from vaecheck.probes.latent_signal import Channels, Signal, lively, named
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.saturation import Saturation
from vaecheck.results.types import Finding, Line, Plot

TEXTURE = -1
"""The last of the lively cards; the one before it stands in where no picture is large enough."""
FEW = 8
"""Channels that are all exchanged; of more, the weakest FEW / 2 by the gradient and the median one."""
DIRECTIONS = 2
"""Random directions in pixels along which the gradient is taken."""
LEAST, USED = 0.25, 1.0
TYPICAL = 5.0
"""Grey levels by which the median channel moves a picture, or more."""
ONE_VALUE = 0.99
CONSTANT = 1e-6
"""Part of the liveliest channel's variance below which the encoder holds a channel constant."""

SATURATED = Limit(
    (None, 0.02),
    (None, 0.2),
    "share of the channel's latents at one value",
    "floats that no one clamps do not meet at one value; a clamp at 2.1 standard deviations puts 2 % there, one at "
    "0.84 20 %",
)


class DeadChannels:
    """The least that any channel does to the picture; and the largest share of latents at a clamp."""

    id = "dead_channels"
    title = "channels that do nothing"
    limit = Limit(
        (USED, None),
        (LEAST, None),
        "grey levels, by the weakest channel",
        "1 is the step of an 8-bit picture, and rounding to 8 bits alone moves one by 0.29; lower in proportion where "
        "the median channel moves it by less than 5",
    )
    remedy = "Train with fewer latent channels, or without what silences these: a U-Net has to learn them for nothing."
    needs = Signal.needs

    def __init__(self) -> None:
        self.signal = Signal()
        self.saturation = Saturation()

    def update(self, batch: Batch) -> None:
        self.signal.update(batch)
        self.saturation.update(batch)

    def examine(self, subject: Subject) -> Examined:
        if not self.signal.pictures:
            return Examined(unavailable(self, "No picture has finite latents, so no channel can be judged."))
        clamped = self._clamped(subject)
        effects = _effects(subject)
        if effects is None or effects.median < LEAST / TYPICAL:
            least = "The decoder gives NaN or infinity" if effects is None else "No channel moves the picture"
            none = unavailable(self, f"{least}, so that none stands out.")
            return Examined(clamped if clamped and clamped.severity != "healthy" else none)
        found = [self._dead(effects), *([clamped] if clamped and clamped.severity != "healthy" else [])]
        worst = max(found, key=lambda one: (("healthy", "warning", "fault").index(one.severity), one.past_limit))
        return Examined(worst, (effects.plot(),))

    def _dead(self, effects: Effects) -> Finding:
        unit = min(effects.median / TYPICAL, 1.0)
        weakest = min(effects.exchanged, key=lambda channel: effects.exchanged[channel])
        levels = effects.exchanged[weakest]
        dead = [channel for channel, effect in sorted(effects.exchanged.items()) if effect < USED * unit]
        evidence = (
            f"Channel {weakest} does least: taken from another picture it moves this one by {levels:.2g} grey levels, "
            f"the median channel by {effects.median:.2g}."
        )
        if dead:
            variances = self.signal.between
            constant = [channel for channel in dead if variances[channel] <= CONSTANT * variances.max()]
            ignored = [channel for channel in dead if channel not in constant]
            why = [f"the encoder holds {named(constant)} constant"] if constant else []
            why += [f"the decoder makes next to nothing of {named(ignored)}"] if ignored else []
            evidence = f"{' and '.join(why).capitalize()}. {evidence}"
        return self.limit.finding(
            self,
            levels / unit,
            evidence,
            figures={"channel": float(weakest), "dead_channels": float(len(dead)), "grey_levels": levels},
        )

    def _clamped(self, subject: Subject) -> Finding | None:
        """The finding of saturated channels; None where they cannot be judged."""
        if subject.vae.card.codebook_size is not None or not self.saturation.judged:
            return None
        shares, values = self.saturation.shares()
        shares = np.where(shares < ONE_VALUE, shares, 0.0)  # such a channel is dead, not clamped
        worst = int(shares.argmax())
        many = int((shares > 0.02).sum())
        return SATURATED.finding(
            self,
            float(shares[worst]),
            f"{shares[worst]:.2%} of the latents of channel {worst} are exactly {values[worst]:.4g}; {many} of "
            f"{len(shares)} channels are clamped so.",
            remedy="Remove the clamp on the latents, or widen it: what it cuts off is lost to the decoder.",
            figures={"channel": float(worst), "at": float(values[worst])},
        )


@dataclass(frozen=True)
class Effects:
    """What the channels do to the pictures, root mean square in grey levels.

    exchanged: by channel, measured. estimated: of all, (C,), to first order where that is how they were screened.
    """

    exchanged: dict[int, float]
    estimated: Channels
    median: float

    def plot(self) -> Plot:
        levels = [self.exchanged.get(channel, estimate) for channel, estimate in enumerate(self.estimated.tolist())]
        order = np.argsort(levels)[::-1]
        return Plot(
            name="channel_effects",
            about=DeadChannels.id,
            kind="bars",
            title="What each latent channel does to the picture",
            x_label="latent channel",
            y_label="grey levels",
            lines=(Line("channel taken from another picture", tuple(map(float, range(len(levels)))), tuple(levels)),),
            note=f"Strongest first: {named(order[:3].tolist())}. A channel at 0 is dead.",
        )


def _effects(subject: Subject) -> Effects | None:
    """None where the decoder gives NaN or infinity."""
    latents = subject.encode(_shown(subject)).mean.clone()
    other = latents.roll(1, 0)
    count = latents.shape[1]
    shown = subject.decode(latents)
    screened = _screened(subject, latents, other, shown) if count > FEW else None
    channels = list(range(count))
    if screened is not None:
        rank = np.argsort(screened)
        channels = [int(one) for one in [*rank[: FEW // 2], rank[count // 2]]]
    exchanged = {}
    for channel in channels:
        mixed = latents.clone()
        mixed[:, channel] = other[:, channel]
        exchanged[channel] = _change(subject.decode(mixed), shown)
    if not np.isfinite(list(exchanged.values())).all():
        return None
    if screened is not None:
        return Effects(exchanged, screened, exchanged[channels[-1]])
    estimated = np.array([exchanged[channel] for channel in channels])
    return Effects(exchanged, estimated, float(np.median(estimated)))


def _shown(subject: Subject) -> Tensor:
    """A texture and the middle of a kept picture, else of another texture: (2, channels, side, side) on the device."""
    side = subject.card_side
    cards = lively(side, subject.image_channels)
    other = cards[TEXTURE - 1]
    for picture in subject.pictures:
        height, width = picture.pixels.shape[-2:]
        if min(height, width) >= side and bool(picture.pixels.isfinite().all()):
            top, left = (height - side) // 2, (width - side) // 2
            other = picture.pixels[:, top : top + side, left : left + side]
            break
    return torch.stack([cards[TEXTURE], other]).to(subject.device)


def _change(decoded: Tensor, shown: Tensor) -> float:
    difference = to_image(decoded, Levels.CLAMP) - to_image(shown, Levels.CLAMP)
    return float(difference.double().square().mean().sqrt())


def _screened(subject: Subject, latents: Tensor, other: Tensor, shown: Tensor) -> Channels | None:
    """What exchanging each channel does to first order, in grey levels: (C,). None where there is no gradient.

    For random signs s, E[(s . J d)^2] = |J d|^2 (Hutchinson 1990), and s . J d is the gradient along s times d.
    """
    generator = torch.Generator().manual_seed(0)
    signs = [torch.randint(0, 2, shown.shape, generator=generator) * 2.0 - 1.0 for _ in range(DIRECTIONS)]
    gradients = subject.decode_gradients(latents, signs)
    if gradients is None:
        return None
    pictures = [((gradient * (other - latents)).sum((2, 3))).double().square().sum(0) for gradient in gradients]
    squares = torch.stack(pictures).mean(0).cpu().numpy() / shown.numel()
    one_level = float(to_image(torch.ones(()), Levels.NONE) - to_image(torch.zeros(()), Levels.NONE))
    return np.sqrt(squares) * one_level
