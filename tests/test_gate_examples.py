"""The ready jobs, rules and hook of examples/gate hold what vaecheck in fact takes."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from vaecheck.cli.app import app
from vaecheck.tasks.gate_rules import read_rules

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "gate"
JOBS = ("github-actions.yml", "gitlab-ci.yml")


def scripts(node: Any) -> Iterator[str]:
    """Every shell script of a job: `run` of GitHub's steps, `script` and `before_script` of GitLab's jobs."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("run", "script", "before_script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(node, list):
        for item in node:
            yield from scripts(item)


def commands(name: str) -> list[list[str]]:
    """The vaecheck commands of a job, word by word."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    commented = re.findall(r"^ *# - run: (.+)$", text, re.MULTILINE)
    lines = [line for script in (*scripts(yaml.safe_load(text)), *commented) for line in _lines(script)]
    return [words[1:] for line in lines if (words := shlex.split(line)) and words[0] == "vaecheck"]


def _lines(script: str) -> list[str]:
    return script.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("name", JOBS)
def test_the_commands_of_a_job_are_such_as_the_command_line_takes(name: str) -> None:
    found = commands(name)
    assert {words[0] for words in found} == {"weights", "gate"}
    root = typer.main.get_command(app)
    for words in found:
        context = root.make_context("vaecheck", list(words))
        command, rest = root, list(words)
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(words[0], rest, parent=context)  # raises for an unknown option
    gate = next(words for words in found if "--rules" in words)
    assert {"--vae", "--baseline", "--junit", "--out"} <= set(gate)


def test_github_keeps_the_report_where_the_gate_says_no() -> None:
    job = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["gate"]
    python = next(step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python"))
    assert "cache" not in python  # without a requirements.txt or a pyproject.toml the step would fail
    upload = job["steps"][-1]
    assert (upload["if"], upload["with"]["path"]) == ("always()", "report")


def test_gitlab_reads_the_file_that_the_gate_writes() -> None:
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["vae-gate"]
    assert job["artifacts"]["when"] == "always"
    assert f"--junit {job['artifacts']['reports']['junit']}" in job["script"][0]


def test_the_rules_are_read_and_use_every_kind() -> None:
    rules = read_rules(EXAMPLES / "gate.toml")
    assert any(rule.warn is not None and rule.fail is not None for rule in rules.limits)
    assert rules.diagnosis is not None
    assert any(rule.significant for rule in rules.baseline)
    assert any(rule.fail is not None and rule.fail.is_share for rule in rules.baseline)


@pytest.mark.parametrize(("min_psnr", "code"), [(18, 0), (50, 1)])
def test_the_training_script_trains_only_where_the_gate_lets_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], min_psnr: int, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--min-psnr", str(min_psnr)])
    ended = 0
    try:
        runpy.run_path(str(EXAMPLES / "pretrain.py"), run_name="__main__")
    except SystemExit as end:
        ended = int(end.code or 0)
    said = capsys.readouterr()
    assert ended == code, said.err
    assert ("last loss" in said.out) == (code == 0)
    assert ("psnr_db min 50: 21" in said.err) == (code == 1)
