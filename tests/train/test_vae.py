"""One training step by its definition, and what each weight of the loss moves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.train.small import pictures, recipe, same, spied, state_of, trained, trainee_of, weights
from vaecheck.errors import InputError
from vaecheck.train import losses
from vaecheck.train.autoencoder import Trainable, built_in
from vaecheck.train.vae import Batch, VAETrainee, _changes
from vaecheck.vae.protocol import Posterior

ADVERSARIAL = {"adversarial": 0.5, "kl": 1e-2}


class Blurred:
    """A perceptual distance that any network-free test can have: the squared error of 4x4 means."""

    name = "blurred"
    definition = "the squared error of 4x4 means"

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, original: Tensor, reconstruction: Tensor) -> Tensor:
        self.seen.append((original.detach(), reconstruction.detach()))
        error = nn.functional.avg_pool2d(reconstruction - original, 4)
        return error.square().mean((1, 2, 3))


def last(reports: list[Mapping[str, float]], name: str, count: int = 5) -> float:
    return sum(report[name] for report in reports[-count:]) / count


def alone(values: Tensor) -> Tensor:
    """The mean over one process."""
    return values


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


def forward(trainee: VAETrainee, batch: Batch) -> tuple[Tensor, Posterior]:
    """Reconstruction and posterior by the model alone."""
    posterior = trainee._trainable.encode(batch.pixels)
    return trainee._trainable.decode(posterior.sample(batch.noise)), posterior


def test_the_loss_goes_down(tmp_path: Path) -> None:
    reports = trained(trainee_of(recipe(80, batch_size=8)), tmp_path, report_every=10)
    assert reports[-1]["l1"] < 0.9 * reports[0]["l1"]


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_a_steps_figures_are_their_definitions(kind: str) -> None:
    """Every term from the weights before the step, computed here from the formulas, in one graph of its own."""
    weighted = {**ADVERSARIAL, "l1": 0.7, "l2": 0.3, "perceptual": 0.2, "adversarial_loss": kind}
    trainee = trainee_of(recipe(loss=weighted), perceptual=Blurred())
    batch = trainee.batch(0)
    reconstruction, posterior = forward(trainee, batch)
    assert posterior.log_var is not None
    error, values = reconstruction - batch.pixels, 3 * 16 * 16
    distance = Blurred()(batch.pixels, reconstruction).mean()
    nll = values * (0.7 * error.abs().mean() + 0.3 * error.square().mean() + 0.2 * distance)
    variance = posterior.log_var.exp()
    kl = 0.5 * (posterior.mean**2 + variance - 1 - posterior.log_var).sum() / 4
    generated = -trainee._discriminator(reconstruction).mean()
    layer = trainee._trainable.module.decoder.conv_out.weight  # type: ignore[union-attr]
    norms = [torch.autograd.grad(loss, layer, retain_graph=True)[0].norm().item() for loss in (nll, generated)]
    weight = norms[0] / (norms[1] + 1e-4)
    logits = trainee._discriminator(batch.pixels), trainee._discriminator(reconstruction)
    expected = {
        "l1": error.abs().mean(),
        "blurred": distance,
        "nll": nll / values,
        "kl_nats_per_element": kl / posterior.mean[0].numel(),
        "generator_loss": generated,
        "adaptive_weight": weight,
        "loss": (nll + 1e-2 * kl + 0.5 * weight * generated) / values,
        "posterior_std": variance.mean().sqrt(),
        "latent_std": posterior.mean.std(),
        "latent_max": posterior.mean.abs().max(),
        "discriminator_loss": losses.DISCRIMINATOR_LOSSES[kind](*logits),
        "logits_real": logits[0].mean(),
        "logits_fake": logits[1].mean(),
        "psnr_of_mean_mse_db": 10 * math.log10(4 / error.square().mean().item()),
    }
    found = trainee.step(0, batch)
    for name, value in expected.items():
        assert _number(found[name]) == pytest.approx(_number(value), rel=1e-4), name


def test_a_step_moves_the_weights_by_the_gradient_of_the_loss() -> None:
    """The first step of Adam is the learning rate in the direction of the sign, where nothing is clipped."""
    trainee = trainee_of(recipe(loss={"l1": 1.0, "kl": 1e-2}, clip=1e9, warmup_steps=0))
    batch = trainee.batch(0)
    reconstruction, posterior = forward(trainee, batch)
    assert posterior.log_var is not None
    kl = 0.5 * (posterior.mean**2 + posterior.log_var.exp() - 1 - posterior.log_var).sum() / 4
    loss = (reconstruction - batch.pixels).abs().mean() + 1e-2 * kl / (3 * 16 * 16)
    layer = trainee._trainable.module.encoder.conv_in.weight  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(loss, layer)
    before = layer.detach().clone()
    trainee.step(0, batch)
    large = gradient.abs() > 1e-5
    assert large.any()
    assert torch.allclose((layer.detach() - before)[large], -3e-3 * gradient[large].sign(), rtol=0.02)


def test_the_adaptive_weight_is_clamped(tmp_path: Path) -> None:
    reports = trained(trainee_of(recipe(4, loss={**ADVERSARIAL, "adaptive_limit": 0.25})), tmp_path)
    assert [report["adaptive_weight"] for report in reports] == [0.25] * 4


def test_the_discriminator_moves_once_it_has_started_and_not_before(tmp_path: Path) -> None:
    trainee = trainee_of(recipe(6, loss={**ADVERSARIAL, "adversarial_start": 3}))
    states: list[dict[str, Tensor]] = []
    spied(trainee, "step", lambda step, batch: states.append(state_of(trainee._discriminator)))
    reports = trained(trainee, tmp_path)
    states.append(state_of(trainee._discriminator))
    assert [same(a, b) for a, b in itertools.pairwise(states)] == [True] * 3 + [False] * 3
    for name, _ in trainee._discriminator.named_parameters():
        if name != "blocks.5.bias":  # the last, on which real and fake pull alike while no logit is past the hinge
            assert not torch.equal(states[3][name], states[4][name]), name
    assert ["discriminator_loss" in report for report in reports] == [False] * 3 + [True] * 3


def test_the_generators_step_leaves_no_gradient_in_the_discriminator() -> None:
    trainee = trainee_of(recipe(loss=ADVERSARIAL))
    seen: list[Any] = []
    spied(trainee, "_discriminator_step", lambda *_: seen.extend(p.grad for p in trainee._discriminator.parameters()))
    trainee.step(0, trainee.batch(0))
    assert seen
    assert all(gradient is None for gradient in seen)


def test_the_discriminator_learns_to_tell(tmp_path: Path) -> None:
    """With a generator that hardly moves."""
    loss = {**ADVERSARIAL, "adversarial": 1e-9}
    reports = trained(trainee_of(recipe(60, batch_size=8, loss=loss)), tmp_path)
    assert last(reports, "discriminator_loss") < 0.9 * reports[0]["discriminator_loss"]
    assert last(reports, "logits_real") > last(reports, "logits_fake")


def test_the_adversarial_weight_changes_the_vae(tmp_path: Path) -> None:
    found = []
    for adversarial in (0.0, 0.5):
        trainee = trainee_of(recipe(3, loss={"adversarial": adversarial}))
        trained(trainee, tmp_path / str(adversarial))
        found.append(weights(trainee))
    assert not same(*found)


def test_the_perceptual_distance_gets_pixels_from_minus_1_to_1() -> None:
    blurred = Blurred()
    trainee = trainee_of(recipe(loss={"perceptual": 1.0}), perceptual=blurred)
    batch = trainee.batch(0)
    reconstruction, _ = forward(trainee, batch)
    trainee.step(0, batch)
    ((original, decoded),) = blurred.seen
    whole = pictures()
    assert torch.equal(original, batch.pixels)
    assert torch.allclose(decoded, reconstruction, atol=1e-6)
    levels = (original + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    low, high = min(int(p.min()) for p in whole), max(int(p.max()) for p in whole)
    assert low <= levels.min().round() < 100
    assert 150 < levels.max().round() <= high


def test_each_weight_moves_what_it_should(tmp_path: Path) -> None:
    def run(steps: int = 30, **loss: float) -> list[Mapping[str, float]]:
        folder = tmp_path / str(sorted(loss.items()))
        return trained(trainee_of(recipe(steps, loss=loss), perceptual=Blurred()), folder)

    plain = run(l1=1.0, kl=0.0, perceptual=1e-9)
    assert last(run(l1=1.0, kl=100.0), "kl_nats_per_element") < 0.1 * last(plain, "kl_nats_per_element")
    much, little = run(60, l1=0.01, perceptual=10.0), run(60, l1=0.01, perceptual=1e-9)
    assert last(much, "blurred", 20) < last(little, "blurred", 20)
    absolute, squared = run(l1=1.0, l2=0.0), run(l1=0.0, l2=1.0)
    assert squared[-1]["nll"] == pytest.approx(4 / 10 ** (squared[-1]["psnr_of_mean_mse_db"] / 10), rel=1e-4)
    assert absolute[-1]["nll"] == pytest.approx(absolute[-1]["l1"], rel=1e-6)


def test_squared_error_finds_the_mean_and_absolute_error_the_median(tmp_path: Path) -> None:
    """A decoder of one constant, and pictures of which a third are white, the others black."""
    found = {}
    for l1, l2 in ((1.0, 0.0), (0.0, 1.0)):
        trainable = constant(0.0)
        of = pictures(3)
        of[:] = [torch.full((3, 20, 20), level, dtype=torch.uint8) for level in (0, 0, 255)]
        configured = recipe(300, batch_size=32, loss={"l1": l1, "l2": l2, "kl": 0.0}, learning_rate=2e-2)
        trained(trainee_of(configured, trainable=trainable, of=of), tmp_path / str(l1))
        found[l1] = trainable.module.level.item()  # type: ignore[union-attr,operator]
    assert found[1.0] == pytest.approx(-1.0, abs=0.05)
    assert found[0.0] == pytest.approx(-1 / 3, abs=0.15)


def constant(level: float, *, frozen: bool = False) -> Trainable:
    """Decodes to one level whatever it is given; one parameter that changes nothing where that is frozen."""
    module = nn.Module()
    module.level = nn.Parameter(torch.tensor(level), requires_grad=not frozen)
    module.idle = nn.Parameter(torch.zeros(()))

    def encode(pixels: Tensor) -> Posterior:
        return Posterior(nn.functional.avg_pool2d(pixels, 4) + 0 * module.idle)

    def decode(latents: Tensor) -> Tensor:
        wide = nn.functional.interpolate(latents, scale_factor=4.0)
        return module.level + 0 * wide

    return Trainable(module, encode, decode, 4, 3, 3, ("level", "idle"))


def test_a_learned_log_variance_goes_to_the_logarithm_of_the_error(tmp_path: Path) -> None:
    """d/ds (E / exp(s) + s) = 0 at s = log E; E is the same in every step here."""
    of = pictures(1)
    of[:] = [torch.full((3, 20, 20), 255, dtype=torch.uint8)]  # pixels of 1, decoded to 0.5: l1 = 0.5, l2 = 0.25
    loss = {"l1": 1.0, "l2": 2.0, "kl": 0.0, "learned_log_variance": True}
    trainee = trainee_of(recipe(150, loss=loss, learning_rate=3e-2), trainable=constant(0.5, frozen=True), of=of)
    reports = trained(trainee, tmp_path)
    assert reports[0]["log_variance"] == 0.0
    assert reports[-1]["log_variance"] == pytest.approx(math.log(0.5 + 2 * 0.25), abs=0.01)
    of[:] = [torch.full((3, 20, 20), 191, dtype=torch.uint8)]
    level = abs(191 / 127.5 - 1 - 0.75)
    loss["l2"] = 0.0
    trainee = trainee_of(recipe(400, loss=loss, learning_rate=5e-2), trainable=constant(0.75, frozen=True), of=of)
    assert last(trained(trainee, tmp_path / "b"), "log_variance") == pytest.approx(math.log(level), abs=0.02)


def test_latent_noise_is_a_share_of_the_latents_deviation() -> None:
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    pixels = torch.zeros(2, 3, 32, 32)
    change, target = _changes(Batch(pixels, noise, noise), 0.3, pixels, 4, alone)
    latents = 5 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = latents.numpy() + 0.3 * latents.numpy().std() * noise.numpy()
    np.testing.assert_allclose(change(latents).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(target, pixels)


@pytest.mark.parametrize(("turns", "side"), [(0, 8), (1, 8), (3, 5), (2, 2), (1, 3)])
def test_equivariance_turns_and_scales_pictures_as_latents(turns: int, side: int) -> None:
    """Against Pillow's antialiased bilinear resize of floats and NumPy's rot90."""
    pixels, latents = torch.rand(2, 3, 32, 32), torch.randn(2, 4, 8, 8)
    change, target = _changes(Batch(pixels, latents, latents, turns, side), 0.0, pixels, 4, alone)

    def expected(values: Tensor, side: int) -> np.ndarray:
        planes = [Image.fromarray(plane.numpy()).resize((side, side), Image.Resampling.BILINEAR)
                  for plane in values.flatten(0, 1)]  # fmt: skip
        turned = [np.rot90(np.asarray(plane), turns) for plane in planes]
        return np.stack(turned).reshape(*values.shape[:2], side, side)

    np.testing.assert_allclose(target.numpy(), expected(pixels, 4 * side), atol=1e-5)
    np.testing.assert_allclose(change(latents).numpy(), expected(latents, side), atol=1e-5)


def test_equivariance_and_latent_noise_reach_the_decoder() -> None:
    """What the decoder is given and what it is compared with, in the share of steps that was asked for."""
    loss = {"equivariance": 0.5, "latent_noise": 0.1, "l1": 1.0, "kl": 0.0}
    decoded: list[Tensor] = []
    model = built_in(recipe().model)  # type: ignore[arg-type]

    def decode(latents: Tensor) -> Tensor:
        decoded.append(latents.detach())
        return model.decode(latents)

    trainee = trainee_of(recipe(400, crop=32, loss=loss), trainable=replace(model, decode=decode))
    compared: list[Tensor] = []
    spied(trainee, "_generator_step", lambda original, *_: compared.append(original))
    drawn = [trainee.batch(step) for step in range(400)]
    changed = [batch for batch in drawn if batch.side is not None]
    assert 160 < len(changed) < 240
    assert {batch.turns for batch in changed} == {0, 1, 2, 3}
    assert {batch.side for batch in changed} == set(range(2, 9))
    for batch in (changed[0], next(b for b in drawn if b.side is None)):
        with torch.no_grad():
            latents = trainee._trainable.encode(batch.pixels).sample(batch.noise)
        trainee.step(0, batch)
        change, target = _changes(batch, 0.1, batch.pixels, 4, alone)
        assert torch.allclose(decoded[-1], change(latents), atol=1e-4)
        assert torch.equal(compared[-1], target)


def test_the_average_is_its_recurrence(tmp_path: Path) -> None:
    trainee = trainee_of(recipe(6, ema_decay=0.3))
    states: list[dict[str, Tensor]] = []
    spied(trainee, "step", lambda step, batch: states.append(weights(trainee)))
    trained(trainee, tmp_path)
    states = [*states[1:], weights(trainee)]
    expected = states[0]
    for update, state in enumerate(states[1:], start=1):
        decay = min(0.3, (1 + update) / (10 + update))
        expected = {name: decay * expected[name] + (1 - decay) * value for name, value in state.items()}
    found = state_of(trainee.averaged())
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-7), name


def test_no_average_saves_the_weights_themselves(tmp_path: Path) -> None:
    trainee = trainee_of(recipe(4, ema_decay=0.0))
    trained(trainee, tmp_path)
    assert same(state_of(trainee.averaged()), weights(trainee))


def test_bfloat16_trains_in_float32_weights(tmp_path: Path) -> None:
    trainee = trainee_of(recipe(4, loss=ADVERSARIAL, precision="bfloat16"))
    reports = trained(trainee, tmp_path)
    assert all(value.dtype == torch.float32 for value in weights(trainee).values())
    exact = trained(trainee_of(recipe(4, loss=ADVERSARIAL)), tmp_path / "exact")
    assert reports[0]["l1"] != exact[0]["l1"]
    assert reports[0]["l1"] == pytest.approx(exact[0]["l1"], rel=0.02)


def test_crops_too_small_for_the_discriminator_are_refused_at_once() -> None:
    trainee_of(recipe(crop=24, loss=ADVERSARIAL, discriminator_layers=3))
    with pytest.raises(InputError, match="crops of 20 are too small for a discriminator of 3 layers: it needs 24"):
        trainee_of(recipe(crop=20, loss=ADVERSARIAL, discriminator_layers=3))
    loss = {**ADVERSARIAL, "equivariance": 0.5}
    trainee_of(recipe(crop=92, loss=loss, discriminator_layers=3))
    with pytest.raises(InputError, match="crops of 80, which equivariance scales down to 20"):
        trainee_of(recipe(crop=80, loss=loss, discriminator_layers=3))
