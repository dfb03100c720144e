"""What a person is told to do, and in which order."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.render import decisions
from vaecheck.render.next_steps import MOST, Step, of_comparison, of_gate, of_history, of_result
from vaecheck.results.types import Finding, Measure, Result


def told(steps: tuple[Step, ...]) -> str:
    return " | ".join(f"{step.words} {step.command}".strip() for step in steps)


def test_what_is_missing_is_fetched_and_what_is_doubtful_measured_on_more(result: Result) -> None:
    steps = of_result(result)
    assert steps[0] == Step("Fetch the weights for lpips_alex, then run again:", "vaecheck weights fetch lpips_alex")
    assert steps[1].words == "Measure 2,048 pictures or more before relying on rfid, fd_efficientnet_lite0."
    assert [step.command.split()[1] for step in steps if step.command][1:] == ["diagnose", "scale-factor"]


def test_one_command_fetches_all_that_is_missing(result: Result) -> None:
    rfid = Measure(
        "rfid", None, "", "lower", 0, "", status="unavailable", reason="vaecheck weights fetch inception; or"
    )
    text = Measure("ocr", None, "", "lower", 0, "", status="unavailable", reason="Run: pip install 'vaecheck[text]'")
    steps = of_result(replace(result, measures=dict(result.measures) | {"rfid": rfid, "ocr": text}))
    assert steps[0].command == "vaecheck weights fetch inception lpips_alex"
    assert steps[1] == Step("Install what ocr needs, then run again:", "pip install 'vaecheck[text]'")


def test_faults_come_first_warnings_last_and_what_follows_from_a_fault_not_at_all(diagnosed: Result) -> None:
    steps = of_result(diagnosed)
    assert [step.words.partition(":")[0] for step in steps] == [
        "Checkerboard of the upsampling", "Shift of contrast or brightness",
        "Look at the 1 picture that could not be used, listed below.", "Blur", "Scale of the latents",
        "Mend the faults, then look again",
    ]  # fmt: skip
    assert steps[-1].command.startswith("vaecheck diagnose")
    assert steps[4].command.startswith("vaecheck scale-factor"), "the warning of the scale has its command"


def test_a_wrong_scaling_is_told_with_the_number_to_use(scaled: Callable[[int], Result]) -> None:
    wrong = scaled(4)
    assert of_result(wrong)[0].words.startswith("Use a scaling factor of 1.0775 instead of 0.18215")
    assert wrong.scaling is not None
    right = replace(wrong, scaling=replace(wrong.scaling, verdict="ok"))
    assert "scaling factor of" not in told(of_result(right))
    nothing = {"scaling_factor": None, "shift_factor": None, "std_after": None}
    unknown = replace(wrong, scaling=replace(wrong.scaling, verdict="unknown", shipped=nothing))
    assert of_result(unknown)[0].words.startswith("Use a scaling factor of 1.0775, in training")


@pytest.mark.parametrize("source", ["my pictures", "a'b; rm -rf ~", "$(touch x)", "../val"])
def test_commands_can_be_pasted(result: Result, source: str) -> None:
    """Whatever the pictures are called, the shell reads one argument."""
    odd = replace(result, data=replace(result.data, source=source, size=512))
    command = next(step.command for step in of_result(odd) if "diagnose" in step.command)
    assert shlex.split(command) == ["vaecheck", "diagnose", source, "--vae", "kl-f8-tiny", "--size", "512"]


def test_of_many_remedies_the_first_few_are_told(diagnosed: Result) -> None:
    many = tuple(Finding(f"fault_{i}", "fault", 2.0, 1.0, "", "", f"Remedy {i}.") for i in range(30))
    assert len(of_result(replace(diagnosed, findings=many))) == MOST


def test_a_score_without_a_vae_has_nothing_to_run_next(result: Result) -> None:
    assert "vaecheck diagnose" not in told(of_result(replace(result, kind="score", vae=None)))


def test_noise_is_no_picture_to_measure_with(result: Result) -> None:
    noise = replace(result, kind="bench", data=replace(result.data, source="random noise (seed 0)"), measures={})
    assert [step.command for step in of_result(noise) if step.command] == [
        "vaecheck reconstruct samples --vae kl-f8-tiny"
    ]


def test_a_comparison_says_whom_to_take_or_how_to_choose() -> None:
    split = decisions.comparison()
    assert told(of_comparison(split)).startswith(
        f"Choose by what matters to you: kl-f8-tiny for psnr_db; {decisions.BLURRED} for rfid."
    )
    one = replace(split, measures={"psnr_db": split.measures["psnr_db"]})
    steps = of_comparison(one)
    assert (
        steps[0].words == "Take kl-f8-tiny if quality decides: it wins in psnr_db, and nothing here speaks against it."
    )
    assert "--vae kl-f8-tiny" in steps[1].command
    even = replace(one, measures={"psnr_db": replace(one.measures["psnr_db"], winner="no difference")})
    assert "measure more pictures" in told(of_comparison(even))


def test_a_gate_tells_the_remedy_of_every_breach_the_gravest_first() -> None:
    steps = of_gate(decisions.gate())
    assert steps[0] == Step("Fetch the weights for lpips_alex, then run again:", "vaecheck weights fetch alexnet")
    assert steps[1].words == "psnr_db: Train on."
    assert len(steps) == 3


def test_a_history_says_when_to_stop_and_what_to_take() -> None:
    history = decisions.history()
    assert [step.words.split()[0] for step in of_history(history)] == ["Stop", "Take"]
    assert of_history(replace(history, stop=False, best_checkpoint="")) == ()
