"""The table of latent channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vaecheck.render.channels import channels, turned
from vaecheck.results.types import Result


def test_every_channel_has_a_row_and_absent_figures_say_so(of_latents: Callable[[int], Result]) -> None:
    found = channels(of_latents(4))
    assert found is not None
    assert found.head == (
        "channel", "mean", "std", "skew", "kurtosis", "posterior snr dB", "saturated share", "active",
    )  # fmt: skip
    assert found.rows[1] == ("1", "0.01000", "0.9110", "-0.1000", "-", "40", "1.00e-05", "1")
    assert len(found.rows) == 4
    assert found.note == ""


def test_of_many_channels_those_with_extreme_figures_are_kept(of_latents: Callable[[int], Result]) -> None:
    result = of_latents(128)
    odd = tuple({**one, "std": 9.0 if i == 77 else one["std"]} for i, one in enumerate(result.channels))
    found = channels(replace(result, channels=odd), 32)
    assert found is not None
    assert {"0", "77", "127"} <= {row[0] for row in found.rows}
    assert len(found.rows) + found.more == 128
    assert f"{found.more} more channels in result.json" in found.note


def test_equal_channels_and_no_channels(of_latents: Callable[[int], Result]) -> None:
    same = channels(replace(of_latents(4), channels=({"mean": 0.5},) * 40), 8)
    assert same is not None
    assert [row[0] for row in same.rows] == [str(i) for i in range(8)]
    assert channels(replace(of_latents(4), channels=())) is None
    assert channels(replace(of_latents(4), channels=({}, {}))) is None


def test_a_table_on_its_side_holds_the_same(of_latents: Callable[[int], Result]) -> None:
    found = channels(of_latents(3))
    assert found is not None
    assert turned(found).head == ("channel", "0", "1", "2")
    assert turned(found).rows[0] == ("mean", "0.00000", "0.01000", "0.02000")
    assert turned(turned(found)) == found
