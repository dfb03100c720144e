"""Each term of the loss against the library or the closed form that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.stand_in_weights import BACKBONES
from vaecheck.metrics.perceptual import efficientnet_lite0_path, lpips_network
from vaecheck.train import losses

EDGES = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])


def pairs(count: int = 2, side: int = 64, noise: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    original = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    return original, (original + noise * torch.randn(original.shape, generator=generator)).requires_grad_()


def test_hinge_is_its_closed_form() -> None:
    real, fake = EDGES, EDGES + 0.25
    expected = sum(max(0.0, 1 - r) for r in real.tolist()) + sum(max(0.0, 1 + f) for f in fake.tolist())
    assert losses.hinge_of_discriminator(real, fake).item() == pytest.approx(expected / 2 / len(EDGES), rel=1e-6)


def test_vanilla_is_binary_cross_entropy() -> None:
    real, fake = EDGES.double(), EDGES.double() + 0.25
    cross_entropy = F.binary_cross_entropy_with_logits
    expected = (cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))) / 2
    assert losses.vanilla_of_discriminator(real, fake).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_generator_wants_high_logits() -> None:
    fake = EDGES.clone().requires_grad_()
    losses.of_generator(fake).backward()
    assert fake.grad is not None
    assert torch.allclose(fake.grad, torch.full_like(EDGES, -1 / len(EDGES)))


def test_the_adaptive_weight_is_a_ratio_of_norms_and_clamped() -> None:
    nll, generated = torch.tensor([3.0, 4.0]), torch.tensor([[0.0], [2.0]])
    assert losses.adaptive_weight(nll, generated).item() == pytest.approx(5 / 2.0001, rel=1e-6)
    assert losses.adaptive_weight(nll, generated, 2.0).item() == 2.0
    assert losses.adaptive_weight(nll, torch.zeros(2)).item() == pytest.approx(1e4)  # 5 / 1e-4, clamped
    assert not losses.adaptive_weight(nll.requires_grad_(), generated).requires_grad


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision.*")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_loss_is_that_of_the_lpips_package(net: Any, checkpoints: Path) -> None:
    import lpips

    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    network: Any = lpips_network(net, checkpoints / BACKBONES[net])
    theirs.net.load_state_dict(network.net.state_dict())
    ours = losses.LPIPSLoss(network, net)
    original, reconstruction = pairs(side=48)
    expected = theirs(original, reconstruction).flatten()
    found = ours(original, reconstruction)
    assert found.shape == (2,)
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), reconstruction)
    (their_gradient,) = torch.autograd.grad(expected.sum(), reconstruction)
    assert torch.allclose(gradient, their_gradient, atol=1e-6, rtol=1e-3)
    assert ours(original, original.clone()).abs().max().item() < 1e-10


def test_lpips_loss_has_gradients_where_features_are_all_zero(checkpoints: Path) -> None:
    """The root of the norm has an infinite slope there; the ReLU before it stops it."""
    network: Any = lpips_network("alex", checkpoints / BACKBONES["alex"])
    with torch.no_grad():
        network.net.slice1[0].bias.fill_(-100.0)
    original, reconstruction = pairs(1)
    losses.LPIPSLoss(network, "alex")(original, reconstruction).sum().backward()
    assert reconstruction.grad is not None
    assert reconstruction.grad.isfinite().all()


def unfolded() -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(efficientnet_lite0_path(), weights_only=True))
    return model.eval()


def test_efficientnet_loss_is_its_definition_without_folding() -> None:
    """Features caught by hooks in the package's own forward pass."""
    pytest.importorskip("efficientnet_lite_pytorch")
    model, caught = unfolded(), []
    for index in (0, 2, 4, 10):
        model._blocks[index].register_forward_hook(lambda module, given, made: caught.append(made))
    original, reconstruction = pairs()
    with torch.no_grad():
        for pixels in (original, reconstruction):
            model.extract_features(((pixels + 1) * 127.5 - 127) / 128)
    per_block = []
    for a, b in zip(caught[:4], caught[4:], strict=True):
        cosine = (a.double() * b.double()).sum(1) / (a.double().norm(dim=1) * b.double().norm(dim=1))
        per_block.append((1 - cosine).mean((1, 2)))  # half of |a - b|^2 for vectors of length 1
    expected = torch.stack(per_block).mean(0)
    found = losses.EfficientNetLoss()(original, reconstruction)
    assert torch.allclose(found.double(), expected, rtol=1e-4)


def test_efficientnet_loss_is_zero_for_equal_pictures_and_has_gradients() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    distance = losses.EfficientNetLoss()
    original, reconstruction = pairs()
    assert distance(original, original.clone()).tolist() == [0.0, 0.0]
    found = distance(original, reconstruction)
    found.sum().backward()
    assert reconstruction.grad is not None
    assert reconstruction.grad.isfinite().all()
    direction = reconstruction.grad / reconstruction.grad.norm()
    with torch.no_grad():
        higher = distance(original, reconstruction + 0.05 * direction)
        lower = distance(original, reconstruction - 0.05 * direction)
    slope = (higher - lower).sum().item() / 0.1
    assert slope == pytest.approx(reconstruction.grad.norm().item(), rel=0.05)


def test_what_perceptual_distance_is_used_and_why(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(checkpoints))
    found, caveat = losses.perceptual_distance(torch.device("cpu"), net="alex")
    assert found is not None
    assert found.name == "lpips_alex"
    assert "not the published ones" in caveat
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(checkpoints / "none"))
    monkeypatch.setenv("TORCH_HOME", str(checkpoints / "none"))
    found, caveat = losses.perceptual_distance(torch.device("cpu"), net="vgg")
    assert found is not None
    assert found.name == "efficientnet_lite0_distance"
    assert "is not LPIPS" in caveat
