"""How much goes through a VAE at once: batches that do not fit into memory are halved, and that is remembered.

Why remembered: a batch that fails costs the time until the allocator gives up, and every later one of its size would
fail again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.vae.protocol import VAE
from vaecheck.vae.tiling import LEAST_LATENTS, Tiled

Output = TypeVar("Output")

TILES = (1024, 512, 256, 128, 64, 32)
"""Sides that are proposed for --tiling."""
NO_MEMORY = (
    "out of memory",  # CUDA's libraries and Metal's allocator
    "can't allocate memory",  # torch's CPU allocator, on Linux and macOS
    "not enough memory",  # the same, on Windows
    "cannot allocate memory",  # the operating system's own words
    "ALLOC_FAILED",  # cuDNN and cuBLAS
)


@dataclass
class Room:
    """What one VAE's stages take at once, as found in this run.

    elements: positions (batch x H x W of the input) that a stage takes at most, where it is known to have a limit.
    halved: by stage, the first batch that did not fit and the largest that was then used.
    """

    elements: dict[str, int] = field(default_factory=dict)
    halved: dict[str, tuple[int, int]] = field(default_factory=dict)

    def through(self, stage: str, vae: VAE, model: Callable[[Tensor], Output], batch: Tensor) -> list[Output]:
        """model(batch), in as many parts as its memory asks for.

        stage: "encode" or "decode". Raises SetupError, with the remedies, where one picture alone does not fit.
        """
        outputs: list[Output] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self._most(stage, batch)]
            try:
                outputs.append(model(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise _does_not_fit(stage, vae, part) from error
            else:
                start += len(part)
                continue
            self._halve(stage, part)
            _release(batch.device)
        return outputs

    def batch_size(self, asked: int) -> int:
        """Of the stage that took the least at once; `asked` where all batches fitted."""
        return min([asked, *(used for _, used in self.halved.values())])

    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"batches of {_pictures(asked)} did not fit into memory; {used} at a time went through {stage}"
            for stage, (asked, used) in self.halved.items()
        )

    def state(self) -> dict[str, list[int]]:
        """A cell's: what was halved is told of all processes, and of what a run did before it was stopped."""
        return {stage: list(pair) for stage, pair in self.halved.items()}

    def merge(self, state: dict[str, list[int]]) -> None:
        for stage, (asked, used) in state.items():
            most, least = self.halved.get(stage, (asked, used))
            self.halved[stage] = max(most, asked), min(least, used)

    def _most(self, stage: str, batch: Tensor) -> int:
        if stage not in self.elements:
            return len(batch)
        return max(1, self.elements[stage] // (batch.shape[-2] * batch.shape[-1]))

    def _halve(self, stage: str, part: Tensor) -> None:
        half = len(part) // 2
        first, least = self.halved.get(stage, (len(part), half))
        self.halved[stage] = first, min(least, half)
        self.elements[stage] = half * part.shape[-2] * part.shape[-1]


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on any device; also behind an error that was raised from it."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY):
            return True
        error = error.__cause__
    return False


def weights_do_not_fit(ref: str, device: torch.device, dtype: str) -> SetupError:
    """The error of a VAE that cannot even be loaded."""
    remedies = ["--dtype bfloat16"] * (dtype == "float32") + ["--device cpu"] * (device.type != "cpu")
    hint = f"Try {' or '.join(remedies)}." if remedies else "Free memory, or use another machine."
    return SetupError(f"the weights of {ref} do not fit into the memory of {device} as {dtype}", hint=hint)


def _does_not_fit(stage: str, vae: VAE, part: Tensor) -> SetupError:
    height, width = part.shape[-2:]
    scale = vae.card.f if stage == "decode" else 1
    remedies = [f"--tiling {side}" for side in _smaller_tile(vae, max(height, width) * scale)]
    if vae.card.dtype == "float32":
        remedies.append("--dtype bfloat16")
    remedies.append("a smaller --size")
    if part.device.type != "cpu":
        remedies.append("--device cpu")
    return SetupError(
        f"one picture of {width * scale}x{height * scale} pixels does not fit into the memory of {part.device} "
        f"({stage} of {vae.card.ref}, {vae.card.dtype})",
        hint=f"Try {', '.join(remedies[:-1])} or {remedies[-1]}." if remedies[1:] else f"Try {remedies[0]}.",
    )


def _smaller_tile(vae: VAE, side: int) -> Iterator[int]:
    """The largest tile of those proposed that this VAE takes and that is at most half of what did not fit."""
    if getattr(vae, "fixed_size", None) is not None:
        return
    largest = (vae.side if isinstance(vae, Tiled) else side) // 2
    f = vae.card.f
    yield from [tile for tile in TILES if tile <= largest and tile % f == 0 and tile >= LEAST_LATENTS * f][:1]


def _release(device: torch.device) -> None:
    """Give back what the allocator keeps in pieces too small for the next try."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
