"""The linear autoencoder and the bicubic one: what any trained VAE of the same latent size has to beat.

    python benchmarks/linear_baseline.py --fit FOLDER --measure FOLDER [--size 256] [--f 8] [--channels 4]

Linear: every f x f patch of 3 colours is coded by its projections on the leading eigenvectors of the patches'
covariance, fitted on one folder and measured on another. Bicubic: Pillow's BICUBIC down by f and up again. Prints the
mean over pictures of the PSNR in dB of 8-bit RGB.

Why NumPy and Pillow alone: it is an oracle for the yardsticks of vaecheck, so it shares no line with the package.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]


def pictures(folder: Path, size: int) -> Iterator[Picture]:
    """Every picture under the folder by relative path: uint8 (size, size, 3)."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    for path in sorted(found, key=lambda each: each.relative_to(folder).as_posix()):
        yield crop(path, size)


def crop(path: Path, size: int) -> Picture:
    """Upright, RGB, shorter side resized to `size`, centre window."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def to_patches(picture: Picture, f: int) -> Floats:
    """uint8 (H, W, 3) -> float64 (H/f * W/f, f * f * 3), grey levels."""
    rows, columns = picture.shape[0] // f, picture.shape[1] // f
    blocks = picture.reshape(rows, f, columns, f, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows * columns, f * f * 3).astype(np.float64)


def from_patches(patches: Floats, size: int, f: int) -> Picture:
    """The inverse of to_patches, clamped and rounded to 8 bits."""
    side = size // f
    blocks = patches.reshape(side, side, f, f, 3).transpose(0, 2, 1, 3, 4).reshape(size, size, 3)
    return np.rint(np.clip(blocks, 0, 255)).astype(np.uint8)


def fit(folder: Path, size: int, f: int, channels: int) -> tuple[Floats, Floats, int]:
    """Mean patch (D,), leading eigenvectors (D, channels) of the covariance, and the number of pictures."""
    dimensions = f * f * 3
    total, products = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    patch_count = picture_count = 0
    for picture in pictures(folder, size):
        patches = to_patches(picture, f)
        total += patches.sum(axis=0)
        products += patches.T @ patches
        patch_count += len(patches)
        picture_count += 1
    if not picture_count:
        raise SystemExit(f"no picture in {folder}")
    mean = total / patch_count
    covariance = products / patch_count - np.outer(mean, mean)
    eigenvectors = np.linalg.eigh(covariance)[1]
    return mean, eigenvectors[:, ::-1][:, :channels], picture_count


def linear(picture: Picture, mean: Floats, basis: Floats, f: int) -> Picture:
    latents = (to_patches(picture, f) - mean) @ basis
    return from_patches(latents @ basis.T + mean, len(picture), f)


def bicubic(picture: Picture, f: int) -> Picture:
    size, bicubic_filter = len(picture), Image.Resampling.BICUBIC
    small = Image.fromarray(picture).resize((size // f, size // f), bicubic_filter)
    return np.asarray(small.resize((size, size), bicubic_filter))


def psnr_db(original: Picture, reconstruction: Picture) -> float:
    mse = np.mean((original.astype(np.float64) - reconstruction.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / mse))


def measure(fit_on: Path, measure_on: Path, *, size: int, f: int, channels: int) -> tuple[float, float, int]:
    """(PSNR of the linear autoencoder in dB, of the bicubic one, pictures measured)."""
    mean, basis, _ = fit(fit_on, size, f, channels)
    pairs = [
        (psnr_db(picture, linear(picture, mean, basis, f)), psnr_db(picture, bicubic(picture, f)))
        for picture in pictures(measure_on, size)
    ]
    if not pairs:
        raise SystemExit(f"no picture in {measure_on}")
    linear_db, bicubic_db = np.mean(pairs, axis=0)
    return float(linear_db), float(bicubic_db), len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description="PSNR of the linear and the bicubic autoencoder on a folder")
    parser.add_argument("--fit", type=Path, required=True, help="folder to fit the linear autoencoder on")
    parser.add_argument("--measure", type=Path, required=True, help="folder to measure on")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--f", type=int, default=8)
    parser.add_argument("--channels", type=int, default=4)
    options = parser.parse_args()
    if options.size % options.f:
        raise SystemExit(f"--size {options.size} is not a multiple of --f {options.f}")
    linear_db, bicubic_db, n = measure(
        options.fit, options.measure, size=options.size, f=options.f, channels=options.channels
    )
    print(f"linear {linear_db:.4f} dB  f {options.f}  channels {options.channels}  n {n}")
    print(f"bicubic {bicubic_db:.4f} dB  f {options.f}  n {n}")


if __name__ == "__main__":
    main()
