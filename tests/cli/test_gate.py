"""`vaecheck gate`: every exit code, what it runs, what it writes, and what a CI is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Done, Run
from tests.results.runs import by_picture, finding, measure
from tests.results.runs import run as result_of
from vaecheck.results.files import save
from vaecheck.results.types import Result
from vaecheck.tasks.gate_rules import FINDINGS, read_rules
from vaecheck.tasks.gate_run import Plan, plan_of

Gate = Callable[..., Done]
GOOD = result_of(
    measure("psnr_db", 24.5), measure("ssim", 0.8), measure("rfid", 3.0, status="unreliable", reason="few")
)


@pytest.fixture
def gate(run: Run, tmp_path: Path) -> Gate:
    """Judge a saved result by rules written as TOML."""

    def call(rules: str, *options: object, result: Result = GOOD, baseline: Result | None = None, **env: str) -> Done:
        path = tmp_path / "gate.toml"
        path.write_text(rules)
        save(result, tmp_path / "result")
        if baseline is not None:
            save(baseline, tmp_path / "baseline")
            options = (*options, "--baseline", tmp_path / "baseline")
        return run("gate", "--result", tmp_path / "result", "--rules", path, *options, **env)

    return call


def diagnosed(**severities: Any) -> Result:
    ids = dict.fromkeys(FINDINGS, "healthy") | severities
    return result_of(kind="diagnose", findings=tuple(finding(name, severity) for name, severity in ids.items()))


OLD = result_of(measure("psnr_db", 26.0), measure("ssim", 0.8))
WORSE = by_picture({"psnr_db": [24.0 + 0.1 * place for place in range(12)]})
BETTER = by_picture({"psnr_db": [25.0 + 0.1 * place + 0.01 * (place % 3) for place in range(12)]})
DIAGNOSE = "[gate.diagnose]\nfail_on = 'fault'"


@pytest.mark.parametrize(
    ("rules", "sides", "code"),
    [
        ("[gate.psnr_db]\nmin = 24", {}, 0),
        ("[gate.psnr_db]\nmin = 24\nwarn = 25", {}, 0),
        (DIAGNOSE, {"result": diagnosed()}, 0),
        ("[gate.baseline]\npsnr_db = {worse_by = 2}", {"baseline": OLD}, 0),
        ("[gate.psnr_db]\nmin = 25", {}, 1),
        ("[gate.rfid]\nmax = 99", {}, 1),
        (DIAGNOSE, {"result": diagnosed(blur="fault")}, 1),
        ("[gate.baseline]\npsnr_db = {worse_by = 0.1}", {"baseline": OLD}, 1),
        ("[gate.baseline]\npsnr_db = 'significant'", {"result": WORSE, "baseline": BETTER}, 1),
        ("[gate.psnr]\nmin = 25", {}, 2),
        ("", {}, 2),
        ("[gate.psnr_db]\nmin = nan", {}, 2),
        ("[gate.baseline]\npsnr_db = {worse_by = 2}", {}, 2),
        ("[gate.baseline]\npsnr_db = {worse_by = 2}", {"baseline": replace(OLD, data=replace(OLD.data, size=32))}, 2),
        ("[gate.kid]\nmax = 9", {}, 3),
        ("[gate.lpips_alex]\nmax = 9", {"result": result_of(measure("lpips_alex", None, status="unavailable"))}, 3),
        ("[gate.baseline]\nkid = {worse_by = 2}", {"baseline": OLD}, 3),
        ("[gate.baseline]\nssim = 'significant'", {"baseline": OLD}, 3),
        (DIAGNOSE, {"result": diagnosed(text_loss="unavailable")}, 3),
        ("[gate.psnr_db]\nmin = 25\n[gate.kid]\nmax = 9", {}, 3),
    ],
)  # fmt: skip
def test_exit_codes(gate: Gate, rules: str, sides: dict[str, Any], code: int) -> None:
    done = gate(rules, **sides)
    assert done.code == code, done.err
    assert bool(done.out) == (code != 2)
    assert ("error:" in done.err or "failed:" in done.err) == (code != 0)


def test_three_wins_over_one_and_everything_is_listed(gate: Gate) -> None:
    done = gate("[gate.psnr_db]\nmin = 25\n[gate.kid]\nmax = 9\n[gate.ssim]\nmin = 0.9")
    assert done.code == 3
    for words in ("kid was not measured", "24.5 dB is below min = 25", "0.8 is below min = 0.9"):
        assert words in done.out
    assert "the gate says no: kid max 9, psnr_db min 25, ssim min 0.9" in done.err


def test_with_json_stdout_is_the_document_and_nothing_else(gate: Gate) -> None:
    done = gate("[gate.psnr_db]\nmin = 25", "--json", GITHUB_ACTIONS="true")
    assert (done.document["kind"], done.document["verdict"], done.document["exit_code"]) == ("gate", "fail", 1)
    (check,) = done.document["checks"]
    assert (check["rule"], check["value"], check["limit"]) == ("psnr_db min 25", 24.5, 25.0)
    assert "::error title=vaecheck gate%3A psnr_db min 25::24.5 dB is below min = 25" in done.err
    assert done.err.splitlines()[-1] == "failed: the gate says no: psnr_db min 25"


def test_annotations_only_where_github_runs_it(gate: Gate) -> None:
    assert "::" not in gate("[gate.psnr_db]\nmin = 25").err
    assert "::" not in gate("[gate.psnr_db]\nmin = 25", GITHUB_ACTIONS="false").err


def test_the_summary_is_added_to_and_not_overwritten(gate: Gate, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# What stood there\n")
    for _ in range(2):
        gate("[gate.psnr_db]\nmin = 25", GITHUB_STEP_SUMMARY=str(summary))
    text = summary.read_text()
    assert text.startswith("# What stood there\n# Gate\n")
    assert text.count("| ✖ FAIL | psnr_db min 25 | 24.5 dB | 25 |") == 2
    lost = gate("[gate.psnr_db]\nmin = 24", GITHUB_STEP_SUMMARY=str(tmp_path / "none" / "summary.md"))
    assert lost.code == 0
    assert "warning: the summary" in lost.err


def test_the_files_of_a_gate(gate: Gate, tmp_path: Path) -> None:
    junit, out = tmp_path / "deep" / "junit.xml", tmp_path / "out"
    done = gate("[gate.psnr_db]\nmin = 25", "--junit", junit, "--out", out)
    assert done.code == 1
    assert {path.name for path in out.iterdir()} == {"result.json", "report.md", "report.html", "junit.xml"}
    for path in (junit, out / "junit.xml"):
        (failure,) = ET.parse(path).getroot().iter("failure")
        assert failure.get("message") == "psnr_db: 24.5 dB is below min = 25"
    document = json.loads((out / "result.json").read_text())
    assert set(document["artifacts"].values()) == {"result.json", "report.md", "report.html", "junit.xml"}
    assert "psnr_db min 25" in (out / "report.html").read_text()


def test_a_score_has_no_vae_and_is_judged_all_the_same(gate: Gate, tmp_path: Path) -> None:
    result = replace(GOOD, kind="score", vae=None)
    done = gate("[gate.psnr_db]\nmin = 24", "--out", tmp_path / "out", result=result)
    assert done.code == 0
    assert (tmp_path / "out" / "report.html").exists()


def test_options_of_a_run_are_told_to_have_no_effect_on_a_saved_result(gate: Gate) -> None:
    done = gate("[gate.psnr_db]\nmin = 24", "--size", 64, "--lpips-net", "vgg")
    assert done.code == 0
    assert "warning: --lpips-net, --size have no effect on a saved result" in " ".join(done.err.split())
    assert "no effect" not in gate("[gate.psnr_db]\nmin = 24").err


def test_a_verdict_is_printed_even_where_a_file_cannot_be_written(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = gate("[gate.psnr_db]\nmin = 25", "--junit", tmp_path / "file" / "junit.xml")
    assert done.code == 2
    assert "24.5 dB is below min = 25" in done.out
    assert "cannot write" in done.err


@pytest.mark.parametrize(
    ("stdout", "code", "told"),
    [
        ("a reader that is gone", 1, "failed: the gate says no: psnr_db min 25"),
        ("closed", 1, "failed: the gate says no: psnr_db min 25"),
        ("/dev/full", 2, "the result cannot be written to stdout"),
    ],
)
def test_a_ci_has_the_verdict_whatever_becomes_of_stdout(tmp_path: Path, stdout: str, code: int, told: str) -> None:
    if stdout.startswith("/") and not Path(stdout).exists():
        pytest.skip(f"there is no {stdout} here")
    save(GOOD, tmp_path / "result")
    (tmp_path / "gate.toml").write_text("[gate.psnr_db]\nmin = 25")
    command = [sys.executable, "-m", "vaecheck", "gate", "--result", "result", "--rules", "gate.toml"]
    command += ["--junit", "junit.xml", "--out", "out"]
    reader, writer = os.pipe()
    os.close(reader)
    redirected = {"closed": ">&-", "/dev/full": "> /dev/full"}.get(stdout, "")
    package = str(Path(__file__).parents[2])
    environment = os.environ | {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "summary.md", "PYTHONPATH": package}
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", *command],
        cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "::error title=vaecheck gate%3A psnr_db min 25" in done.stderr
    assert "psnr_db min 25" in (tmp_path / "summary.md").read_text()
    for path in ("junit.xml", "out/junit.xml"):
        assert len(list(ET.parse(tmp_path / path).getroot().iter("failure"))) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "neither --vae nor --result was given"),
        (["--result", "x", "--vae", "y"], "--result and a VAE were both given"),
        (["samples", "--result", "x"], "--result and a VAE were both given"),
        (["--vae", "x", "--vae", "y"], "a gate judges one --vae"),
        (["--vae", "x", "--metrics", "ssim"], "--metrics is for --calibrate"),
        (["--calibrate", "--result", "x"], "--calibrate runs a VAE"),
        (["--calibrate", "--vae", "x", "--rules", "y"], "--calibrate writes rules"),
        (["--calibrate", "--vae", "x", "--vae", "y", "--vae", "z"], "and one more that is as good"),
        (["--calibrate", "--vae", "x", "--vae", "y", "--baseline", "z"], "not both"),
        (["--result", "nowhere", "--rules", "nowhere.toml"], "there is no rules file nowhere.toml"),
    ],
)
def test_usage(run: Run, arguments: list[str], told: str) -> None:
    done = run("gate", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_help_names_the_tables(run: Run) -> None:
    words = " ".join(run("gate", "--help", COLUMNS="200").out.split())
    for table in ("[gate.METRIC]", "[tool.vaecheck.gate]", "[gate.baseline]"):
        assert table in words


def test_rules_of_the_working_directory_are_found_and_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(GOOD, tmp_path / "result")
    (tmp_path / "pyproject.toml").write_text("[tool.vaecheck.gate.psnr_db]\nmin = 25\n")
    done = run("gate", "--result", "result")
    assert done.code == 1
    assert "no --rules given: using pyproject.toml" in done.err
    assert "[tool.vaecheck.gate.x] there is no metric" in run(
        "gate", "--result", "result", "--rules", _write(tmp_path / "pyproject.toml", "[tool.vaecheck.gate.x]\nmin = 1")
    ).err  # fmt: skip


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- running what the rules need ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "plan"),
    [
        ({"psnr_db": {"min": 1}, "latent_std": {"max": 9}}, Plan(("psnr_db", "latent_std"), (), False, ())),
        ({"latent_std": {"max": 9}, "sec_25": {"max": 1}}, Plan((), ("sec_25", "latent_std"), False, ())),
        ({"ssim": {"min": 0}, "sec_25": {"max": 1}}, Plan(("ssim",), ("sec_25",), False, ())),
        ({"std_after": {"max": 9}}, Plan((), (), True, ())),
        ({"decode_images_per_second": {"min": 1}}, Plan(("psnr_db",), (), False, ())),
        ({"diagnose": {"fail_on": "fault", "only": ["blur"]}}, Plan((), (), False, ("blur",))),
        ({"baseline": {"rfid": "significant"}}, Plan(("rfid",), (), False, ())),
    ],
)
def test_what_is_run_is_what_the_rules_need(rules: dict[str, Any], plan: Plan) -> None:
    assert plan_of(read_rules(rules)) == plan


WHOLE = """
[gate.psnr_db]
min = 5
[gate.latent_std]
max = 100
[gate.std_after]
max = 100
[gate.diagnose]
fail_on = "fault"
only = ["latent_outliers"]
[gate.baseline]
psnr_db = {worse_by = 0.001}
"""


def test_images_are_measured_once_judged_and_kept_as_the_next_baseline(
    run: Run, vae_folder: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--vae", vae_folder, "--size", 64, "--limit", 4)
    rules = _write(tmp_path / "gate.toml", WHOLE.partition("[gate.baseline]")[0])
    first = run("gate", photos, *options, "--rules", rules, "--out", tmp_path / "first")
    assert first.code == 0, first.err
    folders = {path.name for path in (tmp_path / "first").iterdir() if path.is_dir()}
    assert folders == {"reconstruct", "scale-factor", "diagnose"}
    document = json.loads((tmp_path / "first" / "reconstruct" / "result.json").read_text())
    assert document["settings"]["metrics"] == ["psnr_db", "latent_std"]
    assert "yardsticks" not in document
    named = json.loads((tmp_path / "first" / "result.json").read_text())["artifacts"]
    assert {f"{folder}/report.html" for folder in folders} <= set(named.values())
    assert all((tmp_path / "first" / name).is_file() for name in named.values())

    rules.write_text(WHOLE)
    for baseline in (tmp_path / "first", tmp_path / "first" / "reconstruct"):
        again = run("gate", photos, *options, "--rules", rules, "--baseline", baseline)
        assert again.code == 0, again.err
        assert "no difference" in again.out or "0.001 (baseline)" in again.out
    other = run(
        "gate", photos, "--vae", vae_folder, "--size", 32, "--limit", 4, "--rules", rules, "--baseline", baseline
    )
    assert other.code == 2
    assert "data.size: 32 against 64" in other.err


def test_a_metric_whose_weights_are_missing_ends_with_3_and_the_breach_is_listed(
    run: Run, vae_folder: Path, photos: Path, tmp_path: Path
) -> None:
    rules = _write(tmp_path / "gate.toml", "[gate.lpips_alex]\nmax = 1\n[gate.psnr_db]\nmin = 99")
    done = run("gate", photos, "--vae", vae_folder, "--size", 32, "--limit", 3, "--rules", rules, "--offline")
    assert done.code == 3
    assert "lpips_alex is unavailable" in done.out
    assert "is below min = 99" in done.out


def test_a_baseline_that_is_needed_is_missed_before_anything_runs(run: Run, tmp_path: Path) -> None:
    rules = _write(tmp_path / "gate.toml", "[gate.baseline]\npsnr_db = 'significant'")
    done = run("gate", "samples", "--vae", "no-such-vae", "--rules", rules)
    assert done.code == 2
    assert "has rules against a baseline (psnr_db)" in " ".join(done.err.split())


def test_rules_that_need_no_pictures_are_told_what_does_measure_them(
    run: Run, vae_folder: Path, tmp_path: Path
) -> None:
    rules = _write(tmp_path / "gate.toml", "[gate.encode_flops_per_image]\nmax = 1e12")
    done = run("gate", "samples", "--vae", vae_folder, "--rules", rules)
    assert done.code == 2
    assert "vaecheck bench" in done.err


# --- calibrating ----------------------------------------------------------------------------------------------


def test_calibrated_rules_are_kept_by_the_same_model(run: Run, vae_folder: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--vae", vae_folder, "--size", 32, "--limit", 4, "--posterior", "sample")
    out = tmp_path / "calibrated"
    done = run("gate", "--calibrate", photos, *options, "--metrics", "psnr_db,ssim", "--repeats", 3, "--out", out)
    assert done.code == 0, done.err
    assert (out / "gate.toml").read_text() == done.out
    assert [rule.metric for rule in read_rules(out / "gate.toml").baseline] == ["psnr_db", "ssim"]
    assert "seeds" in done.out
    assert f"--rules {out / 'gate.toml'} --baseline {out}" in " ".join(done.err.split())
    for more in ((), ("--seed", 11), ("--batch-size", 1)):
        again = run("gate", photos, *options, *more, "--rules", out / "gate.toml", "--baseline", out)
        assert again.code == 0, again.out


def test_calibration_as_json_is_a_document(run: Run, vae_folder: Path, photos: Path) -> None:
    done = run(
        "gate", "--calibrate", photos, "--vae", vae_folder, "--size", 32, "--limit", 3, "--metrics", "psnr_db", "--json"
    )
    assert done.code == 0, done.err
    assert (done.document["kind"], done.document["limits"][0]["metric"]) == ("calibration", "psnr_db")
