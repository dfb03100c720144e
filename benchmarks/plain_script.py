"""The plain script that people write today to check a VAE: the yardstick of speed, and an oracle of the figures.

    python benchmarks/plain_script.py IMAGES --vae DIFFUSERS_FOLDER --out DIR --json FILE
        [--limit N] [--size 256] [--batch-size 8]

A loop over diffusers' AutoencoderKL, two folders of PNGs, torch-fidelity's calculate_metrics on them, the lpips
package, scikit-image for each picture. It asks each library for what it gives, in the way its documentation shows, and
neither tunes nor slows any of them; PyTorch's thread count is left alone. The weights of Inception and AlexNet come
from TORCH_HOME.

Seconds in the JSON: `import` (the libraries), `load_vae`, `vae` (the forward passes alone), `images` (reading,
resizing, writing PNGs), `inception` (calculate_metrics, loading included), `lpips` (loading included), `ssim_psnr`, and
`total`, from the script's first lines; what is left of it is the KL and the conversions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

seconds: dict[str, float] = defaultdict(float)


@contextmanager
def timed(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - start


with timed("import"):
    import lpips
    import numpy as np
    import torch
    import torch_fidelity
    from diffusers import AutoencoderKL
    from numpy.typing import NDArray
    from PIL import Image, ImageOps
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from torchvision.transforms.functional import to_tensor


def load_picture(path: Path, size: int) -> Image.Image:
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_8_bit(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)


def save_pngs(images: torch.Tensor, folder: Path, first: int) -> None:
    for offset, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{first + offset:05d}.png")


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


@torch.no_grad()
def evaluate(paths: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    originals_folder, reconstructions_folder = options.out / "originals", options.out / "reconstructions"
    for folder in (originals_folder, reconstructions_folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SystemExit(f"{folder} is not empty, and every picture in it would count; choose another --out")

    with timed("load_vae"):
        vae = AutoencoderKL.from_pretrained(options.vae).eval()
    with timed("lpips"):
        lpips_alex = lpips.LPIPS(net="alex", verbose=False).eval()

    lpips_values, psnr_values, ssim_values, kl_values, means, variances = [], [], [], [], [], []
    for first in range(0, len(paths), options.batch_size):
        with timed("images"):
            pictures = [load_picture(path, options.size) for path in paths[first : first + options.batch_size]]
            pixels = torch.stack([to_tensor(picture) for picture in pictures]) * 2 - 1
        with timed("vae"):
            posterior = vae.encode(pixels).latent_dist
            decoded = vae.decode(posterior.mode()).sample
        kl_values.append(posterior.kl())
        means.append(posterior.mean)
        variances.append(posterior.var)

        original, reconstruction = to_8_bit(pixels), to_8_bit(decoded)
        with timed("images"):
            save_pngs(original, originals_folder, first)
            save_pngs(reconstruction, reconstructions_folder, first)
        with timed("lpips"):
            lpips_values.append(lpips_alex(original / 127.5 - 1, reconstruction / 127.5 - 1).flatten())
        with timed("ssim_psnr"):
            for a, b in zip(original.permute(0, 2, 3, 1), reconstruction.permute(0, 2, 3, 1), strict=True):
                psnr_values.append(peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255))
                ssim_values.append(ssim(a.numpy(), b.numpy()))

    with timed("inception"):
        fidelity = torch_fidelity.calculate_metrics(
            input1=str(originals_folder),
            input2=str(reconstructions_folder),
            fid=True,
            cuda=False,
            cache=False,
            verbose=False,
        )

    latents, kl = torch.cat(means).double(), torch.cat(kl_values).double()
    return {
        "rfid": float(fidelity["frechet_inception_distance"]),
        "lpips_alex": float(torch.cat(lpips_values).double().mean()),
        "psnr_db": float(np.mean(psnr_values)),
        "ssim": float(np.mean(ssim_values)),
        "kl_nats_per_image": float(kl.mean()),
        "latent_mean": float(latents.mean()),
        "latent_std": float(latents.std(correction=0)),
        "posterior_std": float(torch.cat(variances).double().mean().sqrt()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="the plain way to check a VAE")
    parser.add_argument("images", type=Path, help="folder of pictures")
    parser.add_argument("--vae", type=Path, required=True, help="folder in diffusers' AutoencoderKL format")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two folders of PNGs")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--limit", type=int, help="the first N pictures by relative path")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()

    found = [path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES]
    paths = sorted(found, key=lambda path: path.relative_to(options.images).as_posix())[: options.limit]
    if len(paths) < 2:
        raise SystemExit(f"{len(paths)} pictures in {options.images}; a Frechet distance takes at least 2")

    metrics = evaluate(paths, options)
    seconds["total"] = time.perf_counter() - STARTED
    result = {
        "count": len(paths),
        "size": options.size,
        "batch_size": options.batch_size,
        "threads": torch.get_num_threads(),
        "metrics": metrics,
        "seconds": dict(seconds),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
