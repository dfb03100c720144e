"""A training script that asks the gate first: no GPU hour is spent on latents of a broken VAE.

    python examples/gate/pretrain.py                       # the bundled pictures and VAE
    python examples/gate/pretrain.py --images ./train --vae sd-vae-ft-mse --min-psnr 24

The hook is `check_vae`; put it before the first step of your own script. It returns the gate's report, or ends the
script with the gate's exit code: 1 where a rule is broken, 3 where a figure is missing. Below it stands the smallest
latent diffusion training there is, a denoiser of one layer, for the hook to guard.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import vaecheck

SIZE = 64


def check_vae(images: str, vae: str, min_psnr: float) -> vaecheck.GateReport:
    """Judge the VAE on a few of the training pictures."""
    rules = {
        "psnr_db": {"min": min_psnr},
        "std_after": {"min": 0.8, "max": 1.25},
        "diagnose": {"fail_on": "fault", "only": ["constant_output", "posterior_collapse", "latent_outliers"]},
    }
    try:
        return vaecheck.gate(images, rules, vae=vae, settings=vaecheck.Settings(size=SIZE, limit=8))
    except vaecheck.VaecheckError as error:  # GateFailed and GateIncomplete, with their `report`; or a wrong path
        print(f"not training: {error.message}\n{error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


def train(images: str, ref: str, steps: int = 50) -> float:
    """The loss of the last step."""
    torch.manual_seed(0)
    vae = vaecheck.load_vae(ref)
    with torch.inference_mode():
        latents = vae.encode(pixels(images)).mean
    scale = vae.card.scaling_factor or 1 / float(latents.std())
    clean = (latents * scale).clone()
    denoiser = nn.Conv2d(clean.shape[1], clean.shape[1], 3, padding=1)
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-2)
    loss = torch.tensor(math.nan)
    for _ in range(steps):
        noise, level = torch.randn_like(clean), torch.rand(len(clean), 1, 1, 1)
        noisy = (1 - level).sqrt() * clean + level.sqrt() * noise
        loss = (denoiser(noisy) - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def pixels(images: str) -> torch.Tensor:
    """Pictures of a folder as (B, 3, SIZE, SIZE) in [-1, 1]."""
    folder = Path(vaecheck.__file__).parent / "assets" / "samples" if images == "samples" else Path(images)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))[:8]
    squares = [np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE)), np.float32) for file in files]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 255 * 2 - 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default="samples")
    parser.add_argument("--vae", default="kl-f8-tiny")
    parser.add_argument("--min-psnr", type=float, default=18)
    options = parser.parse_args()
    report = check_vae(options.images, options.vae, options.min_psnr)
    print(f"the VAE passes: {len(report.checks)} checks, {report.verdict}")
    print(f"last loss {train(options.images, options.vae):.3f}")
