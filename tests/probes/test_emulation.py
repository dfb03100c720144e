"""Emulated float16 and bfloat16 against torch's own kernels, and what is noted of each operation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as modules

from vaecheck.probes.emulation import Pass, run, weights_in
from vaecheck.probes.protocol import ModelRefused
from vaecheck.vae.adapter import Adapted
from vaecheck.vae.protocol import Posterior

MIXED = "should be the same|expected scalar type"
"""What torch says of two types in one operation, by the kernel that the processor gets."""

TYPES = (torch.float16, torch.bfloat16)


class Small(nn.Module):
    """What VAEs are made of: convolutions, GroupNorm, SiLU, attention, upsampling, a sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.down = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.query = nn.Linear(16, 16)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(F.silu(self.norm(self.conv(x))))
        tokens = h.flatten(2).transpose(1, 2)
        query = self.query(tokens)[:, None]
        attended = F.scaled_dot_product_attention(query, tokens[:, None], tokens[:, None])[:, 0]
        h = h + attended.transpose(1, 2).reshape(h.shape)
        result: Tensor = self.out(F.interpolate(h, scale_factor=2.0, mode="nearest")).tanh()
        return result


def adapted(decode: Callable[[Tensor], Tensor], module: nn.Module | None = None) -> Adapted:
    return Adapted(encode=Posterior, decode=decode, class_name="Test", module=module, sha256=None)


def decoded(
    decode: Callable[[Tensor], Tensor],
    values: Tensor,
    dtype: torch.dtype,
    module: nn.Module | None = None,
    *,
    emulate: bool = True,
) -> Pass:
    with weights_in(module, dtype):
        return run(adapted(decode, module), "decode", values, dtype, emulate=emulate)


def pixels(side: int = 16) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("dtype", TYPES)
def test_a_small_model_agrees_with_torchs_own_kernels(dtype: torch.dtype) -> None:
    """Both round 11 times on the way; they may differ by the order of sums, so by far less than by the type."""
    model = Small().eval()
    exact = decoded(model, pixels(), torch.float32, model, emulate=False).output
    emulated = decoded(model, pixels(), dtype, model).output
    real = decoded(model, pixels(), dtype, model, emulate=False).output
    rounding = (real - exact).square().mean().sqrt()
    assert rounding > 0.1 * torch.finfo(dtype).eps * exact.square().mean().sqrt()
    assert (emulated - real).square().mean().sqrt() < 0.5 * rounding
    assert (emulated - exact).square().mean().sqrt() == pytest.approx(float(rounding), rel=0.2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 3 + 0.125,
        lambda x: F.silu(x).sigmoid(),
        lambda x: x[:, :2].flip(-1).mul_(3),
        lambda x: F.relu(x.clone(), inplace=True).add_(x),
        lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1).softmax(1),
        lambda x: x.chunk(3, 1)[1].contiguous().clamp_(-0.5, 0.5),
        lambda x: (x - x.amin()) / x.std(),
        lambda x: x.float().exp().to(x.dtype),
        lambda x: torch.where(x > 0, x, x.new_zeros(())) ** 2,
    ],
)
def test_single_operations_are_those_of_the_type(function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    """Elementwise operations are bit for bit the same; a mean or a std may differ by one rounding."""
    emulated = decoded(function, pixels(), dtype).output
    real = function(pixels().to(dtype)).float()
    torch.testing.assert_close(emulated, real, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    assert (emulated == real).float().mean() > 0.9


def test_in_place_on_a_view_reaches_the_whole() -> None:
    def decode(x: Tensor) -> Tensor:
        x[:, 0].add_(0.25).mul_(2)
        return x

    expected = pixels().half()
    decode(expected)
    assert torch.equal(decoded(decode, pixels(), torch.float16).output, expected.float())


def test_what_a_model_computes_in_float32_is_not_rounded() -> None:
    fine = decoded(lambda x: (x.float() * 1e6 + 1.0) / 1e6, pixels(), torch.float16)
    assert fine.output.isfinite().all()
    assert fine.narrow == 0
    torch.testing.assert_close(fine.output, (pixels().half().float() * 1e6 + 1.0) / 1e6)


def test_peaks_and_overflow_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 3, 1, bias=False))
    with torch.no_grad():
        for layer, factor in ((model[0], 1e5), (model[2], 1e-5)):
            layer.weight.copy_(factor * torch.eye(3)[:, :, None, None])
    ones = torch.ones(1, 3, 8, 8)
    plain = decoded(lambda x: model(x) * 2, ones, torch.float32, model, emulate=False)
    low = decoded(lambda x: model(x) * 2, ones, torch.float16, model)
    assert [one.block for one in plain.operations] == ["0", "1", "2", "operation mul"]
    assert [one.peak for one in plain.operations] == pytest.approx([1e5, 1e5, 1.0, 2.0])
    assert low.operations[0].peak == float("inf")
    assert not low.output.isfinite().all()


def test_the_largest_of_float16_is_no_overflow() -> None:
    """65519 rounds to 65504, and 65520 to infinity."""
    for value, finite in ((65519.0, True), (65520.0, False)):
        one = decoded(lambda x, value=value: x * 0 + value, torch.ones(1, 3, 4, 4), torch.float16)
        assert bool(one.output.isfinite().all()) is finite
        assert (one.operations[-1].peak < float("inf")) is finite


def test_offset_is_that_of_the_values() -> None:
    """Mean 50 and standard deviation 1 in each channel: sqrt(50^2 + 1)."""
    waves = torch.sin(torch.arange(64) * torch.pi / 8).mul(2**0.5).expand(1, 3, 64, 64)
    one = decoded(lambda x: x + 50, waves.contiguous(), torch.float32, emulate=False)
    assert one.operations[-1].offset == pytest.approx((50**2 + 1) ** 0.5, rel=1e-4)


def test_weights_come_back_as_they_were() -> None:
    model = Small()
    model.register_buffer("count", torch.tensor(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = [parameter.data_ptr() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match=MIXED), weights_in(model, torch.bfloat16):
        model(pixels())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [parameter.data_ptr() for parameter in model.parameters()] == places


def test_mixed_types_are_computed_and_told() -> None:
    kernel = torch.ones(3, 3, 1, 1)
    assert decoded(lambda x: F.conv2d(x, kernel), pixels(), torch.bfloat16).mixed
    assert not decoded(lambda x: F.conv2d(x, kernel.to(x.dtype)), pixels(), torch.bfloat16).mixed
    with pytest.raises(RuntimeError, match=MIXED):
        F.conv2d(pixels().bfloat16(), kernel)


def test_noise_is_the_same_in_every_type() -> None:
    def decode(x: Tensor) -> Tensor:
        return x + torch.randn_like(x)

    exact = decoded(decode, pixels(), torch.float32, emulate=False).output
    low = decoded(decode, pixels(), torch.float16).output
    assert (exact - low).abs().max() < 4 * torch.finfo(torch.float16).eps
    assert (exact - pixels()).std() == pytest.approx(1.0, abs=0.1)


def test_errors_are_refusals_and_leave_no_hooks() -> None:
    def decode(x: Tensor) -> Tensor:
        raise ValueError("no such size")

    before = len(modules._global_forward_pre_hooks), len(modules._global_forward_hooks)
    with pytest.raises(ModelRefused, match="ValueError in float16: no such size"):
        decoded(decode, pixels(), torch.float16)
    assert (len(modules._global_forward_pre_hooks), len(modules._global_forward_hooks)) == before


def test_a_model_that_compiles_itself_runs_uncompiled() -> None:
    """Compiling would take a compiler, and count no operation one by one."""
    compiled = torch.compile(lambda x: torch.tanh(x) * 1.5)
    one = decoded(compiled, pixels(), torch.float16)
    assert [each.block for each in one.operations] == ["operation tanh", "operation mul"]
    assert torch.equal(one.output, (torch.tanh(pixels().half()) * 1.5).float())
