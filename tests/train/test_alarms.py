"""Warnings come after three reports past a limit, once, and again only after it was over."""

from __future__ import annotations

import pytest

from vaecheck.train.alarms import ALARMS, Alarms

HEALTHY = {
    "discriminator_loss": 0.8,
    "logits_real": 0.3,
    "logits_fake": -0.2,
    "kl_nats_per_element": 3.0,
    "posterior_std": 0.05,
    "latent_std": 1.5,
    "latent_max": 12.0,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discriminator_loss": 0.02}, "the discriminator wins"),
        ({"kl_nats_per_element": 0.001, "posterior_std": 0.99}, "the KL collapses"),
        ({"latent_std": 40.0}, "the latents explode"),
        ({"latent_max": 200.0}, "the latents explode"),
    ],
)
def test_each_fault_is_told_once_it_lasts(change: dict[str, float], words: str) -> None:
    alarms = Alarms()
    told = [alarms.heard(step, HEALTHY | change) for step in range(1, 7)]
    assert [len(one) for one in told] == [0, 0, 1, 0, 0, 0]
    assert words in told[2][0]
    assert told[2][0].startswith("step 3: ")
    assert "Lower" in told[2][0] or "Raise" in told[2][0] or "Start it later" in told[2][0]
    assert alarms.heard(7, HEALTHY) == []
    again = [alarms.heard(step, HEALTHY | change) for step in range(8, 11)]
    assert [len(one) for one in again] == [0, 0, 1]


def test_a_healthy_training_and_one_without_those_figures_are_quiet() -> None:
    alarms = Alarms()
    for step in range(10):
        assert alarms.heard(step, HEALTHY) == []
        assert alarms.heard(step, {"l1": 0.1}) == []


def test_every_alarm_is_tried() -> None:
    assert set(ALARMS) == {"discriminator", "kl", "latents"}
