"""The settings of public evaluations of image autoencoders, as data: what `--protocol NAME` sets.

Why a literal table: the same weights differ by 2 dB and the same pictures by 0.09 SSIM across published sources,
through settings alone. A reader must be able to see every one of them in one place, and what was left out.

What a protocol does not define (KID, a Frechet distance of its own that was asked for by name) stays vaecheck's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vaecheck.errors import InputError

Level = Literal["round", "truncate", "truncate_reconstruction", "clamp", "none"]
LEVELS: Mapping[Level, str] = {
    "round": "both sides 8 bits, clamped and rounded",
    "truncate": "both sides 8 bits, clamped, the fraction cut off",
    "truncate_reconstruction": "the original's 8 bits; the reconstruction clamped, its fraction cut off",
    "clamp": "both sides floats, the reconstruction clamped",
    "none": "both sides floats, the reconstruction neither clamped nor rounded",
}
"""What values of a pair are compared."""

Fit = Literal["crop", "adm", "pil_bilinear", "pil_lanczos", "tensor_bilinear", "none"]
FITS: Mapping[Fit, str] = {
    "crop": "Pillow bicubic, shorter side to the size, centre crop",
    "adm": "ADM's: halved by box while it can be, then Pillow bicubic, centre crop",
    "pil_bilinear": "Pillow bilinear, shorter side to the size, torchvision's centre crop",
    "pil_lanczos": "Pillow Lanczos, shorter side to the size, torchvision's centre crop",
    "tensor_bilinear": "bilinear with antialias on the float tensor, not rounded to 8 bits, torchvision's centre crop",
    "none": "none, each picture in its own size",
}


@dataclass(frozen=True)
class PSNR:
    """20 log10(peak / (sqrt(max(MSE, mse_floor) + mse_epsilon) + rmse_epsilon)) of each picture.

    peak: white on the scale that the MSE, its floor and the epsilons are on.
    """

    levels: Level = "round"
    peak: float = 255.0
    mse_floor: float = 0.0
    mse_epsilon: float = 0.0
    rmse_epsilon: float = 0.0

    @property
    def words(self) -> str:
        terms = {
            "the MSE at least {}": self.mse_floor,
            "{} added to the MSE": self.mse_epsilon,
            "{} added to its root": self.rmse_epsilon,
        }
        extra = [term.format(f"{value:.3g}") for term, value in terms.items() if value]
        formula = f"mean over images of 10 log10({self.peak:g}^2 / MSE), values from 0 to {self.peak:g}"
        return f"{', '.join([formula, *extra])}; {LEVELS[self.levels]}"


@dataclass(frozen=True)
class SSIM:
    """Wang et al. 2004 with K1 = 0.01 and K2 = 0.03, mean over positions and RGB; the fields say what differs.

    window: "gaussian" (11 x 11, sigma 1.5) or "uniform" (7 x 7). covariance: "population" or "sample".
    border: "valid" (windows inside the picture) or "reflect" (the picture mirrored, so that every pixel counts).
    black, white: the scale of the values. data_range: L of the constants, on that scale; None: the larger of the
    ranges that the two pictures take up.
    """

    levels: Level = "round"
    window: Literal["gaussian", "uniform"] = "gaussian"
    covariance: Literal["population", "sample"] = "population"
    border: Literal["valid", "reflect"] = "valid"
    black: float = 0.0
    white: float = 255.0
    data_range: float | None = 255.0

    @property
    def words(self) -> str:
        window = "11x11 Gaussian, sigma 1.5" if self.window == "gaussian" else "7x7 uniform"
        border = "windows inside the picture" if self.border == "valid" else "mirrored border"
        span = "each pair's own" if self.data_range is None else f"{self.data_range:g}"
        scale = f"values from {self.black:g} to {self.white:g} with data range {span}"
        return f"Wang 2004: {window}, {self.covariance} covariance, {border}, {scale}; {LEVELS[self.levels]}"


@dataclass(frozen=True)
class LPIPS:
    """LPIPS v0.1 with each of these backbones."""

    nets: tuple[Literal["alex", "vgg"], ...]
    levels: Level = "round"

    def words(self, net: str) -> str:
        return f"LPIPS v0.1 with the {net} backbone, inputs in [-1, 1], mean over images; {LEVELS[self.levels]}"


@dataclass(frozen=True)
class FID:
    """metric: the measure that the source's own comes to, or comes nearest to."""

    metric: Literal["rfid", "fd_pytorch_fid"] = "fd_pytorch_fid"
    levels: Level = "round"

    @property
    def words(self) -> str:
        network = "torch-fidelity's" if self.metric == "rfid" else "pytorch-fid's"
        return f"Frechet distance in features of {network} Inception; {LEVELS[self.levels]}"


@dataclass(frozen=True)
class Protocol:
    """One public evaluation.

    source: the repository, its commit and the script, or the page. sizes: that --size may ask for, the default
    first; any_size: or any other; empty where each picture keeps its own. lpips, fid: None where the source has none.
    not_reproduced: what a run under this name does otherwise than the source did, one sentence each.
    """

    name: str
    about: str
    source: str
    fit: Fit
    posterior: Literal["mode", "sample"]
    psnr: PSNR
    ssim: SSIM
    lpips: LPIPS | None
    fid: FID | None
    sizes: tuple[int, ...] = (256,)
    any_size: bool = False
    not_reproduced: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, str]:
        """What it fixes, in words, by the names of options and measures."""
        sizes = " or ".join(map(str, self.sizes)) or "each picture's own"
        words = {
            "size": f"{sizes}, or as --size says" if self.any_size else sizes,
            "fit": FITS[self.fit],
            "posterior": self.posterior,
        }
        measures = (self.fid.metric if self.fid else None, *self.lpips_names, "psnr_db", "ssim")
        return words | {name: self.definition(name) or "" for name in measures if name}

    @property
    def lpips_names(self) -> tuple[str, ...]:
        return tuple(f"lpips_{net}" for net in self.lpips.nets) if self.lpips else ()

    def definition(self, name: str) -> str | None:
        """A measure as this protocol has it, in words; None where it has no such measure."""
        if name == "psnr_db":
            return self.psnr.words
        if name == "ssim":
            return self.ssim.words
        if self.lpips and name in self.lpips_names:
            return self.lpips.words(name.removeprefix("lpips_"))
        return self.fid.words if self.fid and name == self.fid.metric else None

    def on_files(self) -> Protocol:
        """The same for reconstructions that are read from files: their fractions are gone, and not cut off again."""

        def whole(levels: Level) -> Level:
            return "round" if levels in ("truncate", "truncate_reconstruction") else levels

        return replace(
            self,
            psnr=replace(self.psnr, levels=whole(self.psnr.levels)),
            ssim=replace(self.ssim, levels=whole(self.ssim.levels)),
            lpips=replace(self.lpips, levels=whole(self.lpips.levels)) if self.lpips else None,
            fid=replace(self.fid, levels=whole(self.fid.levels)) if self.fid else None,
        )

    def levels(self, name: str) -> Level:
        """What values of a pair the measure compares; "round" for a measure that this protocol does not have."""
        if name == "psnr_db":
            return self.psnr.levels
        if name == "ssim":
            return self.ssim.levels
        if self.lpips and name in self.lpips_names:
            return self.lpips.levels
        return self.fid.levels if self.fid and name == self.fid.metric else "round"


def find(name: str) -> Protocol:
    """The protocol of that name. Raises InputError with the nearest names."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(PROTOCOLS)}."
        raise InputError(f"there is no protocol named {name!r}", hint=hint)
    return PROTOCOLS[name]


_PADDED = "its sampler repeats pictures until they divide by the number of GPUs; here each counts once"
_TORCHMETRICS = (
    "its torchmetrics version is not stated: from 1.5 on the mirrored border is averaged too, as here; before, it was "
    "cut off"
)
_SEED = "posterior samples are drawn with vaecheck's noise, not with that of the source's seed"
_TENSOR_RESIZE = (
    "with torchvision before 0.17 the same lines do not antialias: the pictures differ by about 37 dB of PSNR"
)

_DC_AE = Protocol(
    name="dc-ae",
    about="DC-AE's evaluation",
    source="mit-han-lab/efficientvit at de7d773, applications/dc_ae/eval_dc_ae_model.py",
    fit="adm",
    posterior="sample",
    psnr=PSNR(),
    ssim=SSIM(border="reflect"),
    lpips=LPIPS(("alex",)),
    fid=FID(),
    sizes=(512,),
    any_size=True,
    not_reproduced=(_PADDED, _TORCHMETRICS, _SEED),
)
_LIGHTNINGDIT = Protocol(
    name="lightningdit",
    about="LightningDiT's tokenizer evaluation (VA-VAE)",
    source="hustvl/LightningDiT at 2725fed, evaluate_tokenizer.py",
    fit="tensor_bilinear",
    posterior="sample",
    psnr=PSNR(),
    ssim=SSIM(levels="clamp", border="reflect", black=-1.0, white=1.0, data_range=2.0),
    lpips=LPIPS(("vgg",), levels="none"),
    fid=FID(),
    not_reproduced=(
        "it averages the means of batches in LPIPS and SSIM; here every picture weighs the same",
        _PADDED,
        _TORCHMETRICS,
        _TENSOR_RESIZE,
        _SEED,
    ),
)
_BSQ_VIT = Protocol(
    name="bsq-vit",
    about="BSQ-ViT's evaluation of public tokenizers, with the script's default resize",
    source="zhaoyue-zephyrus/bsq-vit at 37d212d, scripts/evaluate_public_tokenizer.py",
    fit="pil_bilinear",
    posterior="mode",
    psnr=PSNR(levels="none"),
    ssim=SSIM(levels="none"),
    lpips=LPIPS(("alex",), levels="none"),
    fid=FID(levels="none"),
    not_reproduced=(
        "its MS-SSIM is not measured",
        "which of its two resize filters (bilinear, or lanczos) made the published table is not stated",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _DC_AE,
        replace(
            _DC_AE,
            name="dc-gen",
            about="DC-Gen's evaluation of autoencoders",
            source="dc-ai-projects/DC-Gen at cae2205, applications/dc_ae/eval_dc_ae_model.py",
            not_reproduced=(
                *_DC_AE.not_reproduced,
                "its CLIP-IQA is not measured; its latent mean and rms are scale-factor's",
            ),
        ),
        _LIGHTNINGDIT,
        replace(
            _LIGHTNINGDIT,
            name="eq-vae",
            about="EQ-VAE's evaluation",
            source="zelaki/eqvae at c34589c, eval.py",
            ssim=SSIM(levels="none", border="reflect", black=-1.0, white=1.0, data_range=None),
            not_reproduced=(_PADDED, _TORCHMETRICS, _TENSOR_RESIZE, _SEED),
        ),
        _BSQ_VIT,
        replace(
            _BSQ_VIT,
            name="bsq-vit-lanczos",
            about="the same with --interpolation lanczos",
            fit="pil_lanczos",
        ),
        Protocol(
            name="llamagen",
            about="LlamaGen's evaluation of VAEs",
            source="FoundationVision/LlamaGen at ce98ec4, tokenizer/vae/reconstruction_vae_ddp.py",
            fit="adm",
            posterior="sample",
            psnr=PSNR(),
            ssim=SSIM(window="uniform", covariance="sample", white=1.0, data_range=2.0),
            lpips=None,
            fid=FID(metric="rfid"),
            sizes=(256, 512),
            not_reproduced=(
                "its FID is that of OpenAI's TensorFlow evaluator on saved arrays; rfid has the same features by "
                "torch-fidelity's port",
                "the VAE runs with TF32 there",
                _PADDED,
                _SEED,
            ),
        ),
        Protocol(
            name="omnidoc",
            about="OmniDoc-TokenBench, documents of 256 x 256",
            source="alibaba/OmniDoc-TokenBench at f2815a7, example_recon.py and eval_metrics.py",
            fit="none",
            posterior="mode",
            psnr=PSNR(peak=1.0, mse_epsilon=1e-8),
            ssim=SSIM(white=1.0, data_range=1.0),
            lpips=LPIPS(("vgg",)),
            fid=FID(),
            sizes=(),
            not_reproduced=(
                "its NED (text recognition by PaddleOCR) is not measured",
                "a reconstruction of another size than its original is resized there; here it is left out and listed",
            ),
        ),
        Protocol(
            name="sd-model-card",
            about="the tables of the sd-vae-ft-mse, sd-vae-ft-ema and sdxl-vae model cards",
            source="huggingface.co/stabilityai/sd-vae-ft-mse, README.md",
            fit="crop",
            posterior="mode",
            psnr=PSNR(),
            ssim=SSIM(),
            lpips=None,
            fid=FID(metric="rfid"),
            not_reproduced=(
                "the evaluation's code is not published: only 256 x 256 pixels, COCO 2017 val and LAION-Aesthetics "
                "are stated; crop, posterior, rounding, SSIM and FID are vaecheck's own",
                "its PSIM is not measured: how it is computed was never published, and it is not LPIPS",
            ),
        ),
        Protocol(
            name="rae",
            about="RAE's evaluation of reconstructions",
            source="bytetriper/RAE at a4d18c4, src/eval",
            fit="adm",
            posterior="mode",
            psnr=PSNR(levels="truncate_reconstruction", peak=1.0, mse_floor=1e-10),
            ssim=SSIM(levels="truncate_reconstruction", border="reflect", white=1.0, data_range=1.0),
            lpips=LPIPS(("vgg",), levels="truncate_reconstruction"),
            fid=FID(metric="rfid", levels="truncate_reconstruction"),
            not_reproduced=(
                "it evaluates models without a posterior; of another VAE the posterior's mean is decoded",
                _TORCHMETRICS,
            ),
        ),
        Protocol(
            name="seed-voken",
            about="Open-MAGVIT2's and IBQ's evaluation",
            source="TencentARC/SEED-Voken at b9a17ea, evaluation_image.py",
            fit="pil_bilinear",
            posterior="mode",
            psnr=PSNR(levels="truncate"),
            ssim=SSIM(levels="truncate", window="uniform", covariance="sample"),
            lpips=LPIPS(("alex", "vgg"), levels="clamp"),
            fid=FID(levels="clamp"),
            any_size=True,
            not_reproduced=(
                "it averages the means of batches in PSNR and SSIM, so that a short last batch weighs too much; here "
                "every picture weighs the same",
                "it evaluates quantised models alone; of another VAE the posterior's mean is decoded",
            ),
        ),
        Protocol(
            name="tokenbench",
            about="TokenBench's metrics on pairs of pictures",
            source="NVlabs/TokenBench at dcbb7d5, token_bench/metrics_cli.py",
            fit="none",
            posterior="mode",
            psnr=PSNR(rmse_epsilon=2.0**-23),
            ssim=SSIM(window="uniform", covariance="sample"),
            lpips=LPIPS(("vgg",)),
            fid=None,
            sizes=(),
            not_reproduced=(
                "its FVD and its leaderboard are of video; here pictures are compared",
                "it runs no model and compares two folders, as `vaecheck score` does; `reconstruct` decodes the "
                "posterior's mean of pictures in their own size",
            ),
        ),
    )
}
