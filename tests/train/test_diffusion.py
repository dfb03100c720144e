"""Paths to noise and back, against closed forms and diffusers' schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from vaecheck.train.diffusion import PREDICTIONS, TIMES, Diffusion

EACH = pytest.mark.parametrize("prediction", PREDICTIONS)


def draw(seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_curved_path_is_that_of_diffusers(prediction: str) -> None:
    diffusion = Diffusion.of(prediction)
    theirs = DDPMScheduler.from_config(diffusion.scheduler().config)
    clean, noise, times = draw(0), draw(1), torch.tensor([0, 400, TIMES - 1])
    torch.testing.assert_close(diffusion.noised(clean, noise, times), theirs.add_noise(clean, noise, times))
    if prediction == "v_prediction":
        velocity = theirs.get_velocity(clean, noise, times)
        torch.testing.assert_close(diffusion.target(clean, noise, times), velocity)


def test_the_straight_path_runs_from_the_latents_to_the_noise() -> None:
    diffusion = Diffusion.of("flow")
    clean, noise = draw(0), draw(1)
    for time, share in ((0, 1 / TIMES), (499, 0.5), (TIMES - 1, 1.0)):
        expected = (1 - share) * clean + share * noise
        torch.testing.assert_close(diffusion.noised(clean, noise, torch.full((3,), time)), expected)
    torch.testing.assert_close(diffusion.target(clean, noise, torch.zeros(3, dtype=torch.long)), noise - clean)


@EACH
def test_the_target_gives_both_ends_back(prediction: str) -> None:
    diffusion = Diffusion.of(prediction)
    clean, noise, times = draw(0), draw(1), torch.tensor([1, 300, 900])
    noised = diffusion.noised(clean, noise, times)
    found, of_noise = diffusion.ends(diffusion.target(clean, noise, times), noised, times)
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(of_noise, noise, atol=1e-4, rtol=1e-4)


@EACH
def test_a_level_is_one_signal_to_noise_ratio(prediction: str) -> None:
    diffusion = Diffusion.of(prediction)
    for level in (0.1, 0.5, 0.9):
        time = diffusion.time_at(level)
        signal, noise = float(diffusion.signal[time]), float(diffusion.noise[time])
        assert noise / (signal**2 + noise**2) ** 0.5 == pytest.approx(level, abs=3e-3)


def ideal(diffusion: Diffusion, mean: Tensor, std: float):
    """The best prediction there is for latents N(mean, std^2), by Gaussian conditioning."""

    def predict(noised: Tensor, times: Tensor) -> Tensor:
        signal, noise = (t[times].view(-1, 1, 1, 1) for t in (diffusion.signal, diffusion.noise))
        variance = signal**2 * std**2 + noise**2
        clean = mean + signal * std**2 / variance * (noised - signal * mean)
        eps = noise / variance * (noised - signal * mean)
        return diffusion.target(clean, eps, times)

    return predict


@EACH
def test_an_ideal_model_generates_the_latents_it_knows(prediction: str) -> None:
    diffusion = Diffusion.of(prediction)
    noise = draw(2, 500)
    found = diffusion.generate(ideal(diffusion, torch.tensor(0.7), 1.3), noise, 100)
    assert float(found.mean()) == pytest.approx(0.7, abs=0.1)
    assert float(found.std()) == pytest.approx(1.3, rel=0.05)
    parts = [diffusion.generate(ideal(diffusion, torch.tensor(0.7), 1.3), one, 100) for one in noise[:4].split(1)]
    torch.testing.assert_close(torch.cat(parts), found[:4])


@EACH
def test_one_known_picture_comes_back_from_any_level(prediction: str) -> None:
    diffusion = Diffusion.of(prediction)
    clean = draw(3, 1)
    for level in (0.1, 0.5, 0.95):
        time = diffusion.time_at(level)
        noised = diffusion.noised(clean, draw(4, 1), torch.tensor([time]))
        found = diffusion.denoise(ideal(diffusion, clean, 0.0), noised, time, 20)
        torch.testing.assert_close(found, clean, atol=2e-3, rtol=1e-3)


def test_the_straight_path_is_that_of_diffusers_scheduler() -> None:
    """A U-Net saved with it gives diffusers what it gives us: the same times, the same steps."""
    diffusion = Diffusion.of("flow")
    theirs = diffusion.scheduler()
    theirs.set_timesteps(10)
    told: list[list[float]] = [[], []]

    def unet(noised: Tensor, times: Tensor, place: int) -> Tensor:
        told[place].append(float(times[0]))
        return 0.3 * noised + times.view(-1, 1, 1, 1) / TIMES

    ours = diffusion.denoise(lambda x, times: unet(x, diffusion.told(times), 0), draw(5), TIMES - 1, 10)
    x = draw(5)
    for time in theirs.timesteps:
        x = theirs.step(unet(x, time.expand(3), 1), time, x).prev_sample
    assert told[0] == told[1]
    torch.testing.assert_close(ours, x)


def test_the_solver_is_ddim() -> None:
    """Over diffusers' own times, with a model that is not ideal."""
    diffusion = Diffusion.of("epsilon")
    theirs = DDIMScheduler.from_config(diffusion.scheduler().config, set_alpha_to_one=True, timestep_spacing="linspace")
    theirs.set_timesteps(10)

    def model(noised: Tensor, times: Tensor) -> Tensor:
        return 0.3 * noised + times.view(-1, 1, 1, 1) / TIMES

    start = draw(5)
    x = start
    ours_times = torch.linspace(TIMES - 1, 0, 10).round().long().tolist()
    assert theirs.timesteps.tolist() == ours_times
    ours = diffusion.denoise(model, start, TIMES - 1, 10)
    clean = x
    for place, time in enumerate(ours_times):
        theirs.config.num_train_timesteps  # noqa: B018
        now = torch.full((3,), time)
        predicted = model(x, now)
        previous = ours_times[place + 1] if place + 1 < len(ours_times) else None
        kept, before = theirs.alphas_cumprod[time], 1.0 if previous is None else theirs.alphas_cumprod[previous]
        clean = (x - (1 - kept).sqrt() * predicted) / kept.sqrt()
        x = clean * before**0.5 + (1 - before) ** 0.5 * predicted
    torch.testing.assert_close(ours, clean, rtol=1e-4, atol=1e-3)
