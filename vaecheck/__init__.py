"""vaecheck: check a VAE before training a latent diffusion model on it.

    result, shown = vaecheck.reconstruct("./images", "sd-vae-ft-mse", vaecheck.Settings(size=256))
    result.measures["psnr_db"].value

Public names are bound on first use (PEP 562), so that `import vaecheck` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "reconstruct": "vaecheck.tasks.reconstruct",
    "compare": "vaecheck.tasks.compare",
    "scale_factor": "vaecheck.tasks.scale_factor",
    "score": "vaecheck.tasks.score",
    "bench": "vaecheck.tasks.bench",
    "gate": "vaecheck.tasks.gate",
    "diagnose": "vaecheck.tasks.diagnose",
    "latents": "vaecheck.tasks.latents",
    "watch": "vaecheck.tasks.watch",
    "WatchRules": "vaecheck.tasks.watch_history",
    "Settings": "vaecheck.tasks.settings",
    "load_vae": "vaecheck.vae.load",
    "KLAutoencoder": "vaecheck.vae.kl_f8",
    "KLConfig": "vaecheck.vae.kl_f8",
    "Result": "vaecheck.results.types",
    "Comparison": "vaecheck.results.comparison",
    "Measure": "vaecheck.results.types",
    "Finding": "vaecheck.results.types",
    "GateReport": "vaecheck.results.gate",
    "VaecheckError": "vaecheck.errors",
    "GateFailed": "vaecheck.errors",
    "GateIncomplete": "vaecheck.errors",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from vaecheck.errors import GateFailed as GateFailed
    from vaecheck.errors import GateIncomplete as GateIncomplete
    from vaecheck.errors import VaecheckError as VaecheckError
    from vaecheck.results.comparison import Comparison as Comparison
    from vaecheck.results.gate import GateReport as GateReport
    from vaecheck.results.types import Finding as Finding
    from vaecheck.results.types import Measure as Measure
    from vaecheck.results.types import Result as Result
    from vaecheck.tasks.bench import bench as bench
    from vaecheck.tasks.compare import compare as compare
    from vaecheck.tasks.diagnose import diagnose as diagnose
    from vaecheck.tasks.gate import gate as gate
    from vaecheck.tasks.latents import latents as latents
    from vaecheck.tasks.reconstruct import reconstruct as reconstruct
    from vaecheck.tasks.scale_factor import scale_factor as scale_factor
    from vaecheck.tasks.score import score as score
    from vaecheck.tasks.settings import Settings as Settings
    from vaecheck.tasks.watch import watch as watch
    from vaecheck.tasks.watch_history import WatchRules as WatchRules
    from vaecheck.vae.kl_f8 import KLAutoencoder as KLAutoencoder
    from vaecheck.vae.kl_f8 import KLConfig as KLConfig
    from vaecheck.vae.load import load_vae as load_vae


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaecheck' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
