"""vaecheck as a library: chosen metrics, the value of every picture, a model of one's own, and results on disk.

    python examples/use_from_python.py                            # the bundled pictures and VAE
    python examples/use_from_python.py ./images sdxl-vae

Prints the chosen figures with their intervals, the three worst pictures, the shape of the latents of a batch, and the
folder with the report.
"""

import sys
import tempfile
from pathlib import Path

import torch

import vaecheck
from vaecheck.render.report import write_report

CHOSEN = vaecheck.Settings(size=64, limit=8, metrics=("psnr_db", "ssim", "latent_std"), yardstick="none", offline=True)


def use(images: str, ref: str, out: Path) -> vaecheck.Result:
    """The result, which is in `out` too, as the command line leaves it."""
    result, shown = vaecheck.reconstruct(images, ref, CHOSEN)
    for measure in result.measures.values():
        interval = f", 95 % interval {measure.ci95[0]:.4g} to {measure.ci95[1]:.4g}" if measure.ci95 else ""
        print(f"{measure.name}: {measure.value} {measure.unit}{interval}, {measure.n} pictures, {measure.status}")
    psnr = dict(zip(result.per_image.ids, result.per_image.columns["psnr_db"], strict=True))
    worst = sorted((value, name) for name, value in psnr.items() if value is not None)[:3]
    print("worst:", ", ".join(f"{name} {value:.1f} dB" for value, name in worst))
    vae = vaecheck.load_vae(ref, offline=True)
    with torch.inference_mode():
        posterior = vae.encode(torch.zeros(2, 3, 64, 64))  # (B, 3, H, W) in [-1, 1]
    print(f"latents {tuple(posterior.mean.shape)}, f {vae.card.f}, scaling factor {vae.card.scaling_factor}")
    result = write_report(result, shown, out)
    print(f"report: {out / result.artifacts['report_html']}")
    return result


if __name__ == "__main__":
    images = sys.argv[1] if len(sys.argv) > 1 else "samples"
    ref = sys.argv[2] if len(sys.argv) > 2 else "kl-f8-tiny"
    use(images, ref, Path(tempfile.mkdtemp(prefix="vaecheck-")))
