"""How often a GPU would have to wait: pictures that cannot be looked at stand in for those on one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vaecheck import pipeline
from vaecheck.metrics import kept_features
from vaecheck.tasks.compare import compare
from vaecheck.tasks.latents import latents
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.scale_factor import scale_factor
from vaecheck.tasks.settings import Settings
from vaecheck.transfers import Transfers

BATCHES = 3
METRICS = ("rfid", "lpips_alex", "psnr_db")
LOOKS = {
    *("cpu", "numpy", "tolist", "item", "nonzero", "unique", "masked_select", "equal", "allclose"),
    *("__bool__", "__float__", "__int__", "__index__", "__array__", "__contains__"),
}
"""What needs values in main memory, beside `to("cpu")` and an index that is a mask."""


class Far(Tensor):
    """A tensor whose values are far away, like all that is made of it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        assert name not in LOOKS, f"{name} waits for the device"
        assert name != "to" or "cpu" not in _flat((args[1:], kwargs)), "to main memory waits for the device"
        if name in ("__getitem__", "__setitem__"):
            masks = [one for one in _flat(args[1:2]) if isinstance(one, Tensor) and one.dtype is torch.bool]
            assert not masks, "an index that is a mask has a size that waits for the device"
        return super().__torch_function__(func, types, args, kwargs or {})


def _flat(values: Any) -> list[Any]:
    if isinstance(values, dict):
        return _flat(list(values.values()))
    return [inner for one in values for inner in _flat(one)] if isinstance(values, (list, tuple)) else [values]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tensors came with each wait."""
    found: list[int] = []
    settle = Transfers.settle

    def sent_for(self: Transfers, tensor: Tensor) -> Tensor:
        return tensor.as_subclass(Tensor)

    def settled(self: Transfers) -> None:
        found.append(sum(len(tensors) for _, tensors in self._waiting))
        settle(self)

    def sent(tensor: Tensor, device: torch.device) -> Tensor:
        return tensor.as_subclass(Far)

    monkeypatch.setattr(Transfers, "_sent_for", sent_for)
    monkeypatch.setattr(Transfers, "settle", settled)
    for module in (pipeline, kept_features):
        monkeypatch.setattr(module, "sent", sent)
    return found


def test_far_is_far() -> None:
    far = torch.zeros(3).as_subclass(Far)
    for look in (Tensor.cpu, Tensor.tolist, Tensor.numpy, Tensor.sum, bool, lambda x: x[x > 0], lambda x: x.to("cpu")):
        if look is Tensor.sum:
            assert isinstance(look(far), Far)
            continue
        with pytest.raises(AssertionError, match=r"wait"):
            look(far[:1])


@pytest.fixture
def settings(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(checkpoints))
    monkeypatch.setenv("VAECHECK_CACHE", str(tmp_path))
    return Settings(size=64, limit=BATCHES * 2, batch_size=2, offline=True, yardstick="none")


@pytest.mark.parametrize("posterior", ["mode", "sample"])
def test_reconstruct(waits: list[int], settings: Settings, tmp_path: Path, posterior: str) -> None:
    settings = replace(settings, posterior=posterior, save_reconstructions=tmp_path / "pictures")
    for cache in ("empty", "full"):
        waits.clear()
        result, shown = reconstruct("samples", "kl-f8-tiny", settings)
        assert len(waits) == BATCHES, cache
        assert {"rfid", "fd_efficientnet_lite0", "lpips_alex", "psnr_db", "ssim"} <= result.measures.keys()
        assert min(waits) > 10, "what the metrics keep, and what is shown"
        assert shown


def test_padded(waits: list[int], settings: Settings) -> None:
    result, _ = reconstruct("samples", "kl-f8-tiny", replace(settings, size=60, fit="pad"))
    assert len(waits) == BATCHES + 1, "pictures of two shapes"
    assert "psnr_border_db" in result.measures


def test_compare(waits: list[int], settings: Settings) -> None:
    """One wait for both VAEs."""
    result, shown = compare(["kl-f8-tiny", "kl-f8-tiny"], "samples", replace(settings, metrics=METRICS))
    assert len(waits) == BATCHES
    assert result.measures.keys() >= set(METRICS)
    assert shown


def test_scale_factor(waits: list[int], settings: Settings) -> None:
    scale_factor("samples", "kl-f8-tiny", settings)
    assert len(waits) == BATCHES


def test_latents_without_those_that_run_the_vae_themselves(waits: list[int], settings: Settings) -> None:
    names = ("latent_std", "kl_nats_per_image", "effective_rank", "sec_25", "cds", "intrinsic_dimension")
    latents("samples", "kl-f8-tiny", replace(settings, metrics=names))
    assert len(waits) == BATCHES


def test_one_copy_of_a_tensor_whoever_wants_it() -> None:
    """On a CPU the tensor itself. What is made of it in between does not take its place."""
    transfers, seen = Transfers(torch.device("cpu")), []
    tensor = torch.ones(2)
    for name in "ab":
        transfers.bring(lambda one, two, name=name: seen.append((name, one, two)), tensor, tensor * 2)
    assert not seen
    transfers.settle()
    assert [(name, one.sum().item(), two.sum().item()) for name, one, two in seen] == [("a", 2.0, 4.0), ("b", 2.0, 4.0)]
    assert seen[0][1] is seen[1][1]
    transfers.settle()
    assert len(seen) == 2
