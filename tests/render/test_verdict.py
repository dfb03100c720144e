"""The sentences: what they compare, what they admit, and when they raise the alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vaecheck.render.verdict import Verdict, judge, verdict
from vaecheck.results.types import Finding, Measure, Result, Severity


def test_a_vae_above_the_linear_codec_is_fine_and_unreliable_figures_are_named(result: Result) -> None:
    found = verdict(result)
    assert found.level == "good"
    assert "Not to be relied on by themselves: rfid, fd_efficientnet_lite0" in found.sentence
    assert "psnr_db 24.31 dB against 22.21" in found.sentence
    assert "has 17 dB" in found.sentence


def test_a_vae_below_bicubic_is_called_wrong(
    result: Result, with_own: Callable[[Result, float, float], Result]
) -> None:
    found = verdict(with_own(result, 15.4987, 0.15))
    assert found.level == "bad"
    assert "Something is wrong" in found.sentence
    assert "not better than bicubic" in found.sentence
    assert "psnr_db 15.50 dB against" in found.sentence


def test_a_vae_between_the_yardsticks_is_not_accused(
    result: Result, with_own: Callable[[Result, float, float], Result]
) -> None:
    """A healthy VAE of 32 channels stays below PCA of 32 components in PSNR."""
    found = verdict(with_own(result, 21.9987, 0.59))
    assert found.level == "info"
    assert "wrong" not in found.sentence
    assert "psnr_db 22.00 dB against 22.21" in found.sentence


def test_a_vae_of_fewer_values_than_bicubic_is_not_accused(
    result: Result, with_own: Callable[[Result, float, float], Result]
) -> None:
    assert result.vae is not None
    small = replace(result, vae=replace(result.vae, latent_channels=1))
    assert verdict(with_own(small, 15.4987, 0.15)).level == "info"


def test_yardsticks_on_fewer_pictures_are_said_to_be(result: Result) -> None:
    fewer = tuple(replace(yardstick, n=24) for yardstick in result.yardsticks)
    count = f"24 of these {result.data.count:,} pictures"
    assert count in verdict(replace(result, yardsticks=fewer)).sentence


def test_equal_is_neither_better_nor_worse(result: Result, with_own: Callable[[Result, float, float], Result]) -> None:
    linear = result.yardsticks[1].measures
    psnr_db, ssim = (linear[name].value for name in ("psnr_db", "ssim"))
    assert isinstance(psnr_db, float)
    assert isinstance(ssim, float)
    assert verdict(with_own(result, psnr_db, ssim)).level == "info"


def test_figures_that_read_the_same_are_equal(
    result: Result, with_own: Callable[[Result, float, float], Result]
) -> None:
    linear = result.yardsticks[1].measures["psnr_db"]
    assert isinstance(linear.value, float)
    near = with_own(result, linear.value - 0.0001, 0.9)
    found = verdict(near)
    assert found.level == "good"
    assert "equal to a linear codec of the same size in psnr_db" in found.sentence
    assert "not better" not in found.sentence
    assert judge("psnr_db", near.measures["psnr_db"], near.yardsticks) == "equal to a linear codec of the same size"


def test_less_than_a_percent_is_not_nothing(result: Result) -> None:
    linear = result.yardsticks[1]
    ours = replace(linear.measures["fd_efficientnet_lite0"], value=20.0, status="ok")
    theirs = replace(ours, value=20.06)
    name = "fd_efficientnet_lite0"
    one = replace(linear, measures={name: theirs}, vae={name: ours})
    assert judge(name, ours, [one]).startswith("less than 1 % below")


def test_a_mixed_result_names_both_sides(result: Result, with_own: Callable[[Result, float, float], Result]) -> None:
    found = verdict(with_own(result, 21.4987, 0.7))
    assert found.level == "info"
    assert "not better than a linear codec of the same size in psnr_db 21.50 dB" in found.sentence
    assert "better in ssim 0.7" in found.sentence


def test_without_a_yardstick_nothing_is_claimed(result: Result) -> None:
    found = verdict(replace(result, yardsticks=()))
    assert found.level == "info"
    assert "No yardstick" in found.sentence


def test_nan_reconstructions_come_before_everything(result: Result) -> None:
    psnr_db = replace(result.measures["psnr_db"], counts={"non_finite": 3}, status="unreliable")
    found = verdict(replace(result, measures={**result.measures, "psnr_db": psnr_db}))
    assert found.level == "bad"
    assert found.sentence.startswith("3 reconstructions of 100 hold NaN or infinity")


def test_scaling_verdicts(scaled: Callable[[int], Result]) -> None:
    wrong = scaled(4)
    assert wrong.scaling is not None
    assert verdict(wrong).level == "bad"
    assert "0.18215" in verdict(wrong).sentence
    assert "The 95 % interval of 1 / std is 1.047 to 1.110." in verdict(wrong).sentence
    assert verdict(replace(wrong, scaling=replace(wrong.scaling, verdict="ok"))).level == "good"
    unknown = replace(wrong.scaling, verdict="unknown", shipped={}, scaling_factor_ci95=None, reason="")
    assert verdict(replace(wrong, scaling=unknown)).sentence == "Nothing to judge: 1 / std is 1.077."


def test_bench_says_how_fast(result: Result) -> None:
    bench = replace(result, kind="bench", yardsticks=())
    assert verdict(bench).sentence == "Encodes 41.2 images/s, decodes 19.0 images/s."
    assert verdict(replace(bench, measures={})).sentence == "No speed could be measured."


def judged(result: Result, name: str) -> str:
    return judge(name, result.measures[name], result.yardsticks)


def test_judge_compares_with_the_linear_codec(
    result: Result, with_own: Callable[[Result, float, float], Result]
) -> None:
    assert judged(result, "psnr_db") == "+2.1 dB above a linear codec of the same size"
    assert judged(result, "fd_efficientnet_lite0") == "unreliable; 64 % below a linear codec of the same size"
    assert judged(result, "lpips_alex") == "not measured"
    assert judged(result, "rfid") == "unreliable"
    assert judged(result, "kl_nats_per_image") == ""
    assert judged(result, "latent_std") == "1 / std = 1.077"
    assert judged(result, "encode_images_per_second") == "24.3 ms for one picture"
    worse = judged(with_own(result, 21.5, 0.55), "psnr_db")
    assert worse == "not better than a linear codec of the same size (22.21 dB)"


def test_judge_falls_back_to_bicubic(result: Result) -> None:
    measure = result.measures["psnr_db"]
    assert judge("psnr_db", measure, result.yardsticks[:1]) == "+3.4 dB above bicubic down and up by the same f"
    assert judge("psnr_db", measure, ()) == ""


def test_a_yardstick_without_a_value_is_not_compared(result: Result) -> None:
    nothing = Measure("psnr_db", None, "dB", "higher", 0, "", status="unavailable", reason="all identical")
    linear = replace(result.yardsticks[1], measures={"psnr_db": nothing})
    assert judge("psnr_db", result.measures["psnr_db"], (linear,)) == ""
    assert verdict(replace(result, yardsticks=(linear,))).level == "info"


def diagnosis(result: Result, *severities: Severity) -> Verdict:
    found = [Finding(f"probe_{i}", one, 1.0, 0.5, "", "", f"Mend {i}.") for i, one in enumerate(severities)]
    return verdict(replace(result, kind="diagnose", findings=tuple(found)))


def test_faults_come_first_with_what_to_mend_first(result: Result, diagnosed: Result) -> None:
    found = verdict(diagnosed)
    assert found.level == "bad"
    assert found.sentence.startswith("2 faults: checkerboard, contrast_shift. Mend checkerboard first: Replace ")
    assert found.sentence.endswith(
        " What may follow from these: text_loss. Also 2 warnings: blur, latent_scale; 1 probe could not measure."
    )
    assert diagnosis(result, "fault", "healthy").sentence == "1 fault: probe_0. Mend 0."


def test_warnings_are_told_as_limits(result: Result) -> None:
    assert diagnosis(result, "warning", "warning", "healthy", "unavailable") == Verdict(
        "No fault; 2 warnings (limits of its capacity, or risks): probe_0, probe_1; 1 could not be measured.", "caution"
    )
    assert "1 warning (a limit of its capacity, or a risk): probe_0." in diagnosis(result, "warning").sentence


def test_health_is_said_with_what_was_not_measured(result: Result) -> None:
    healthy: tuple[Severity, ...] = ("healthy",) * 18
    assert diagnosis(result, *healthy, "unavailable") == Verdict(
        "Healthy: no fault and no warning in 19 probes; 1 could not be measured.", "good"
    )
    assert diagnosis(result, "healthy").sentence == "Healthy: no fault and no warning in 1 probe."
    nothing = diagnosis(result, "unavailable", "unavailable")
    assert nothing.level == "info"
    assert "no probe could measure" in nothing.sentence
    assert diagnosis(result).level == "info"


def test_latents_are_told_without_pass_or_fail(of_latents: Callable[[int], Result]) -> None:
    found = verdict(of_latents(4))
    assert found == Verdict(
        "Latents of 4 × 32 × 32: std 0.931, effective rank 3.412 of 4, 1 dead channel. Of what goes with generation "
        "quality, as far as is published: sec_25 0.4012 share, sec_50 0.1212 share, equivariance_rotation 0.8876. "
        "There is no pass or fail here, and no figure may be set beside that of latents of another shape.",
        "info",
    )


def test_latents_without_figures_claim_nothing(of_latents: Callable[[int], Result]) -> None:
    sentence = verdict(replace(of_latents(4), measures={}, vae=None)).sentence
    assert sentence.startswith("Latents. There is no pass or fail")
    assert "generation" not in sentence
