"""Two and three processes, by torchrun and gloo, measure what one does, and none waits for one that has died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 8
OF_TIME = ("_per_second", "peak_memory")
METRICS = ["--metrics", "psnr_db,ssim,kl_nats_per_image,latent_mean,latent_std"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A number of them that neither two nor three divide, one that is none, and two of one stem."""
    folder = tmp_path_factory.mktemp("pictures")
    for place in range(COUNT):
        draw = np.random.default_rng(place)
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((40, 48), Image.Resampling.BICUBIC).save(folder / f"{place:02d}.png")
    (folder / "03.jpg").write_bytes((folder / "05.png").read_bytes())
    (folder / "04-broken.png").write_bytes(b"no picture")
    return folder


def start(processes: int, command: list[str]) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    whole = [sys.executable, *(launcher if processes > 1 else []), "-m", "vaecheck", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(whole, env=environment, text=True, cwd=REPOSITORY, start_new_session=True, **pipes)


def measured(processes: int, command: list[str]) -> Any:
    """The document, less what is of time and of the machine."""
    ended = start(processes, command)
    out, err = ended.communicate(timeout=300)
    assert ended.returncode == 0, err[-3000:]
    document = json.loads(out)
    for name in ("environment", "artifacts"):
        del document[name]
    of_time = [name for name in document["measures"] if any(part in name for part in OF_TIME)]
    for name in of_time:
        del document["measures"][name]
    document.pop("fronts", None)  # one of their axes is time
    return document


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    """To the last digits, in which sums of other orders differ."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_equal(found[name], value, f"{where}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            assert_equal(found[place], value, f"{where}[{place}]")
    else:
        assert found == expected, where


def test_two_processes_measure_as_one(tmp_path: Path, pictures: Path) -> None:
    command = ["scale-factor", str(pictures), "--vae", "kl-f8-tiny", "--size", "32", "--batch-size", "1", "--json"]
    command += ["--device", "cpu", "--offline"]
    one, two = (measured(count, command) for count in (1, 2))
    assert_equal(two, one)
    assert (one["data"]["count"], len(one["data"]["skipped"])) == (COUNT + 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reconstruct", "compare", "latents"])
def test_three_processes_measure_as_one(tmp_path: Path, pictures: Path, kind: str) -> None:
    common = ["--size", "32", "--batch-size", "1", "--device", "cpu", "--offline", "--json"]
    if kind == "compare":
        other = f"{REPOSITORY / 'tests' / 'tasks' / 'stub_vaes.py'}:plain"
        command = [kind, "kl-f8-tiny", other, "--images", str(pictures), *common, *METRICS]
    elif kind == "latents":
        command = [kind, str(pictures), "--vae", "kl-f8-tiny", *common]
    else:
        command = [kind, str(pictures), "--vae", "kl-f8-tiny", *common, *METRICS]
    documents, files = [], []
    for count in (1, 3):
        out = tmp_path / str(count)
        saving = ["--save-reconstructions", str(tmp_path / f"saved-{count}")] if kind == "reconstruct" else []
        documents.append(measured(count, [*command, "--out", str(out), *saving]))
        files.append({path.name: path.read_bytes() for path in (tmp_path / f"saved-{count}").rglob("*.png")})
        assert not (out / "resume").exists()
    assert_equal(documents[1], documents[0])
    assert files[1] == files[0]
    if kind == "reconstruct":
        assert {"03.png.png", "03.jpg.png", "00.png"} < set(files[0])
        csv = [(tmp_path / str(count) / "per_image.csv").read_text() for count in (1, 3)]
        assert csv[0] == csv[1]


@pytest.mark.slow
def test_two_processes_go_on_with_what_one_began(tmp_path: Path, pictures: Path) -> None:
    """Its VAE asks for the end itself, in the middle, where a file tells it to."""
    code, told = tmp_path / "stopping.py", tmp_path / "stop"
    code.write_text(
        "import os, pathlib, signal\n"
        "from tests.tasks.stub_vaes import Averages\n"
        "class Stopping(Averages):\n"
        "    calls = 0\n"
        "    def encode(self, pixels):\n"
        "        self.calls += 1\n"
        f"        told = pathlib.Path({str(told)!r})\n"
        "        if self.calls > 5 and told.exists():\n"
        "            told.unlink()\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        return super().encode(pixels)\n"
        "def build():\n    return Stopping()\n"
    )
    command = ["scale-factor", str(pictures), "--vae", f"{code}:build", "--size", "32", "--batch-size", "1", "--json"]
    command += ["--device", "cpu", "--offline"]
    whole = measured(1, command)
    told.touch()
    begun = start(1, [*command, "--out", str(tmp_path)])
    _, err = begun.communicate(timeout=200)
    assert begun.returncode == 130, err[-2000:]
    assert "which are kept: --resume goes on" in err
    assert_equal(measured(2, [*command, "--out", str(tmp_path), "--resume"]), whole)


@pytest.mark.slow
def test_a_process_that_dies_ends_all(tmp_path: Path, pictures: Path) -> None:
    """Its VAE kills the second of three in the middle; torchrun ends the others, and none waits."""
    code = tmp_path / "deadly.py"
    code.write_text(
        "import os, signal\n"
        "from tests.tasks.stub_vaes import Averages\n"
        "class Deadly(Averages):\n"
        "    calls = 0\n"
        "    def encode(self, pixels):\n"
        "        self.calls += 1\n"
        "        if os.environ.get('RANK') == '1' and self.calls > 2:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().encode(pixels)\n"
        "def build():\n    return Deadly()\n"
    )
    started = time.monotonic()
    command = ["scale-factor", str(pictures), "--vae", f"{code}:build", "--size", "32", "--batch-size", "1"]
    ended = start(3, [*command, "--device", "cpu", "--offline", "--out", str(tmp_path / "out")])
    _, err = ended.communicate(timeout=120)
    assert ended.returncode != 0
    assert time.monotonic() - started < 110
    assert "process 1 has ended before its part was here" in err or "Signal 9" in err


@pytest.mark.slow
def test_commands_that_are_not_shared_are_the_firsts_alone(tmp_path: Path) -> None:
    ended = start(2, ["vaes"])
    out, err = ended.communicate(timeout=120)
    alone, _ = start(1, ["vaes"]).communicate(timeout=120)
    assert ended.returncode == 0, err
    assert out == alone


@pytest.mark.slow
def test_a_gate_is_shared_and_one_process_says_no(tmp_path: Path, pictures: Path) -> None:
    """A rule that is broken ends all with 1; what was measured is what one process measures."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[gate.psnr_db]\nmin = 99\n[gate.scaling_factor]\nmin = 0.1\n"
        "[gate.diagnose]\nfail_on = 'fault'\nonly = ['non_finite']\n"
    )
    command = ["gate", str(pictures), "--vae", "kl-f8-tiny", "--rules", str(rules), "--size", "32", "--batch-size", "1"]
    found = []
    for count in (1, 2):
        ended = start(count, [*command, "--device", "cpu", "--offline", "--json", "--out", str(tmp_path / str(count))])
        out, err = ended.communicate(timeout=300)
        assert ended.returncode == 1, err[-2000:]
        document = json.loads(out)
        found.append({check["metric"]: [check["outcome"], check["value"]] for check in document["checks"]})
        assert not list(tmp_path.rglob("resume"))
    assert_equal(found[1], found[0])


@pytest.mark.slow
def test_saved_results_are_compared_by_the_first_alone(tmp_path: Path, pictures: Path) -> None:
    command = ["reconstruct", str(pictures), "--vae", "kl-f8-tiny", "--size", "32", "--batch-size", "4", *METRICS]
    for name in ("a", "b"):
        ended = start(1, [*command, "--device", "cpu", "--offline", "--out", str(tmp_path / name)])
        ended.communicate(timeout=200)
        assert ended.returncode == 0
    ended = start(2, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    out, err = ended.communicate(timeout=200)
    assert ended.returncode == 0, err[-2000:]
    assert json.loads(out)["kind"] == "compare"
