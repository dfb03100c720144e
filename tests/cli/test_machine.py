"""The options for small machines and large pictures: they change how a VAE runs, and hardly what it gives."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from tests.cli.conftest import Run
from vaecheck.tasks import machine, opening
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.load import load_vae
from vaecheck.vae.protocol import Posterior

METRICS = ("--metrics", "psnr_db,ssim,kl_nats_per_image,latent_std", "--yardstick", "none", "--json")


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """Twelve smooth pictures of three sizes in turn, none of whose sides is a multiple of 8."""
    folder = tmp_path / "sizes"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for i in range(12):
        coarse = Image.fromarray(draw.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        size = [(60, 44), (90, 75), (121, 100)][i % 3]
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


def figures(document: dict[str, Any]) -> dict[str, Any]:
    speed = ("_per_second", "_bytes")
    return {name: one["value"] for name, one in document["measures"].items() if not name.endswith(speed)}


class TestHowItRuns:
    @pytest.fixture
    def plain(self, run: Run, sizes: Path, vae_folder: Path) -> dict[str, Any]:
        return run("reconstruct", sizes, "--vae", vae_folder, "--fit", "pad", *METRICS).document

    @pytest.mark.parametrize(
        ("options", "recorded"),
        [
            (["--slicing"], {"slicing": True}),
            (["--no-channels-last"], {"channels_last": False}),
            (["--slicing", "--no-channels-last"], {"slicing": True, "channels_last": False}),
            (["--batch-size", "3"], {"batch_size": 3}),
            (["--batch-size", "1"], {"batch_size": 1}),
            (["--tiling", "128"], {"tiling": 128}),  # larger than every picture
        ],
    )
    def test_the_figures_stay(
        self,
        run: Run,
        sizes: Path,
        vae_folder: Path,
        plain: dict[str, Any],
        options: list[str],
        recorded: dict[str, Any],
    ) -> None:
        done = run("reconstruct", sizes, "--vae", vae_folder, "--fit", "pad", *METRICS, *options)
        assert done.code == 0, done.err
        assert figures(done.document) == pytest.approx(figures(plain), rel=1e-4)
        before = {"tiling": None, "slicing": False, "channels_last": True, "compile": False, "batch_size": 8}
        found = {name: done.document["settings"][name] for name in before}
        assert {name: plain["settings"][name] for name in before} == before
        assert found == before | recorded
        assert done.document["data"]["fingerprint"] == plain["data"]["fingerprint"]

    def test_slicing_sends_one_picture_at_a_time_and_batches_what_it_can(
        self, run: Run, sizes: Path, vae_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        inner = LoadedVAE._run

        def counted(self: LoadedVAE, stage: str, values: torch.Tensor) -> Any:
            seen.append(len(values))
            return inner(self, stage, values)

        monkeypatch.setattr(LoadedVAE, "_run", counted)
        run("scale-factor", sizes, "--vae", vae_folder, "--fit", "pad", "--json")
        assert seen == [4, 4, 4]
        seen.clear()
        run("scale-factor", sizes, "--vae", vae_folder, "--fit", "pad", "--slicing", "--json")
        assert seen == [1] * 12

    def test_channels_last_reaches_weights_and_inputs(self) -> None:
        class Spy(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.down = torch.nn.Conv2d(3, 4, 8, stride=8)
                self.up = torch.nn.ConvTranspose2d(4, 3, 8, stride=8)
                self.video = torch.nn.Conv3d(4, 4, 3)
                self.seen: list[bool] = []

            def encode(self, pixels: torch.Tensor) -> Posterior:
                self.seen.append(pixels.is_contiguous(memory_format=torch.channels_last))
                return Posterior(self.down(pixels))

            def decode(self, latents: torch.Tensor) -> torch.Tensor:
                self.seen.append(latents.is_contiguous(memory_format=torch.channels_last))
                decoded: torch.Tensor = self.up(latents)
                return decoded

        model = Spy()
        vae = LoadedVAE("spy", Adapted(model.encode, model.decode, "Spy", model, None), "cpu", torch.float32)
        pixels = torch.rand(2, 3, 32, 32) * 2 - 1
        before = vae.encode(pixels).mean
        vae.configure(channels_last=True)
        model.seen.clear()
        after = vae.encode(pixels).mean
        decoded = vae.decode(after)
        assert model.seen == [True, True]
        assert model.down.weight.is_contiguous(memory_format=torch.channels_last)
        assert after.is_contiguous()
        assert decoded.is_contiguous()
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    def test_compiled_it_gives_the_same(
        self, run: Run, sizes: Path, vae_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Traced by torch and run as traced; below its C++ compiler does it."""
        options = ("reconstruct", sizes, "--vae", vae_folder, "--size", 32, "--limit", 3, "--batch-size", 3, *METRICS)
        plain = run(*options).document
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
        done = run(*options, "--compile", "--channels-last")
        assert done.code == 0, done.err
        assert done.document["settings"]["compile"] is True
        assert figures(done.document) == pytest.approx(figures(plain), rel=1e-4)

    def test_what_a_cuda_graph_gave_outlives_its_next_replay(
        self, vae_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stand-in for a compiler whose outputs lie in one place, as those of a graph do. No GPU is needed."""
        modes: list[str | None] = []

        def compiled(model: Callable[[torch.Tensor], Any], mode: str | None = None) -> Callable[[torch.Tensor], Any]:
            modes.append(mode)
            place: dict[str, torch.Tensor] = {}

            def replayed(values: torch.Tensor) -> Any:
                made = model(values)
                first = made.mean if isinstance(made, Posterior) else made
                if "it" in place:
                    place["it"].copy_(first)
                place.setdefault("it", first)
                return replace(made, mean=place["it"]) if isinstance(made, Posterior) else place["it"]

            return replayed

        monkeypatch.setattr(torch, "compile", compiled)
        pictures = [torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(2)]
        for one_shape, mode in ((True, "reduce-overhead"), (False, None)):
            vae, plain = (load_vae(str(vae_folder), offline=True) for _ in range(2))
            vae._device = torch.device("cuda")
            vae.configure(compile=True, one_shape=one_shape)
            assert modes[-2:] == [mode, mode]
            means = [vae.encode(one).mean for one in pictures]
            decoded = [vae.decode(mean) for mean in means]
            if one_shape:
                for one, mean, image in zip(pictures, means, decoded, strict=True):
                    torch.testing.assert_close(mean, plain.encode(one).mean)
                    torch.testing.assert_close(image, plain.decode(mean))
            else:
                assert torch.equal(means[0], means[1]), "what the copies are for"

    def test_without_a_compiler_it_runs_uncompiled_and_says_so(
        self, run: Run, sizes: Path, vae_folder: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_compiler(graph: object, inputs: object) -> object:
            raise RuntimeError("No working C++ compiler found")

        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=no_compiler))
        done = run("reconstruct", sizes, "--vae", vae_folder, "--fit", "pad", *METRICS, "--compile")
        assert done.code == 0, done.err
        assert done.document["settings"]["compile"] is False
        (warning,) = done.document["warnings"]
        assert warning.startswith("--compile failed, so the VAE ran uncompiled:")
        assert "No working C++ compiler found" in warning
        assert figures(done.document) == figures(plain)

    @pytest.mark.slow
    def test_compiled_by_torchs_default_compiler(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        options = ("reconstruct", sizes, "--vae", vae_folder, "--size", 32, "--batch-size", 4, *METRICS)
        plain, compiled = run(*options).document, run(*options, "--compile").document
        assert figures(compiled) == pytest.approx(figures(plain), rel=1e-4)
        assert compiled["settings"]["compile"] != any("--compile failed" in text for text in compiled["warnings"])

    @pytest.mark.slow
    def test_what_was_compiled_is_kept_between_runs(
        self, sizes: Path, vae_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By torch, which is taken at its word here. In processes of their own: in one it remembers anyway."""
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
        vaecheck = [sys.executable, "-m", "vaecheck"]
        options = ["--size", "32", "--limit", "8", "--batch-size", "4", *METRICS, "--compile"]
        seconds = []
        for _ in range(2):
            done = subprocess.run(
                [*vaecheck, "reconstruct", str(sizes), "--vae", str(vae_folder), *options],
                capture_output=True,
                text=True,
                timeout=600,
                check=True,
            )
            document = json.loads(done.stdout)
            if not document["settings"]["compile"]:
                pytest.skip(f"torch.compile does not work here: {document['warnings']}")
            seconds.append(document["environment"]["seconds"]["vae"])
        assert seconds[1] < seconds[0] / 2

    def test_the_first_batch_is_of_the_first_pictures_however_they_are_grouped(
        self, run: Run, sizes: Path, vae_folder: Path
    ) -> None:
        options = ("scale-factor", sizes, "--vae", vae_folder, "--fit", "pad", "--batch-size", 4, "--json")
        everything, first, one = (
            run(*options, *more).document["scaling"]["first_batch"]
            for more in ((), ("--limit", 4), ("--limit", 4, "--slicing"))
        )
        assert everything["images"] == 4
        assert everything == pytest.approx(first, rel=1e-5)
        assert everything == pytest.approx(one, rel=1e-5)


class TestTiling:
    def test_the_seams_are_measured(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        options = ("--fit", "pad", "--tiling", 64, "--metrics", "seam_error_ratio,tiling_psnr_db")
        done = run("reconstruct", sizes, "--vae", vae_folder, *options, "--yardstick", "none", "--json")
        assert done.code == 0, done.err
        measures = done.document["measures"]
        assert measures["seam_error_ratio"]["n"] == 8  # those of 60 x 44 go whole
        assert 0.5 < measures["seam_error_ratio"]["value"] < 2
        assert measures["tiling_psnr_db"]["n"] == 8
        assert 5 < measures["tiling_psnr_db"]["value"] < 80
        assert done.document["settings"]["tiling"] == 64

    def test_against_the_whole_by_hand(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        """Pictures that are a window themselves: from the originals and the two saved reconstructions."""
        saved, pair = {}, ("seam_error_ratio", "tiling_psnr_db")
        for name, tiling in (("tiled", ("--tiling", 64, "--metrics", ",".join(pair))), ("whole", ())):
            saved[name] = sizes.parent / name
            options = ("--size", 96, "--limit", 3, "--yardstick", "none", "--save-reconstructions", saved[name])
            done = run("reconstruct", sizes, "--vae", vae_folder, *options, *tiling, "--json")
            assert done.code == 0, done.err
            if tiling:
                found = [done.document["measures"][key]["value"] for key in pair]
        seams = np.zeros((96, 96), bool)
        seams[48:64] = seams[:, 48:64] = True
        ratios, decibels = [], []
        for i in range(3):
            picture = Image.open(sizes / f"{i:02d}.png")
            wide, high = (max(96, round(side * 96 / min(picture.size))) for side in picture.size)
            left, top = (wide - 96) // 2, (high - 96) // 2
            original = np.asarray(picture.resize((wide, high), Image.Resampling.BICUBIC), float)
            original = original[top : top + 96, left : left + 96]
            tiled, whole = (np.asarray(Image.open(saved[name] / f"{i:02d}.png")) for name in ("tiled", "whole"))
            decibels.append(peak_signal_noise_ratio(whole, tiled, data_range=255))
            errors = [((side - original) ** 2).mean(2) for side in (tiled, whole)]
            a, b = (np.sqrt(error[seams].mean() / error[~seams].mean()) for error in errors)
            ratios.append(a / b)
        assert found == pytest.approx([np.mean(ratios), np.mean(decibels)], abs=1e-3)

    def test_nothing_larger_than_a_tile(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        options = ("reconstruct", sizes, "--vae", vae_folder, "--size", 64, "--tiling", 64, "--yardstick", "none")
        done = run(*options, "--json")
        assert done.code == 0, done.err
        measure = done.document["measures"]["seam_error_ratio"]
        assert (measure["value"], measure["status"]) == (None, "unavailable")
        assert measure["reason"] == "no picture is larger than a tile. Give a smaller --tiling."
        assert done.document["measures"]["tiling_psnr_db"]["status"] == "unavailable"

    def test_asked_for_without_tiles(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        done = run("reconstruct", sizes, "--vae", vae_folder, "--size", 64, "--metrics", "seam_error_ratio")
        assert done.code == 3
        assert "nothing was tiled. Give --tiling SIDE." in " ".join(done.err.split())

    def test_a_side_that_does_not_suit(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        done = run("reconstruct", sizes, "--vae", vae_folder, "--tiling", 100)
        assert done.code == 2
        assert "Try --tiling 96 or --tiling 104." in " ".join(done.err.split())

    def test_scale_factor_and_bench_take_tiles_too(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        whole, tiled = (
            run("scale-factor", sizes, "--vae", vae_folder, "--size", 96, "--json", *options)
            for options in ((), ("--tiling", 64))
        )
        assert (whole.code, tiled.code) == (0, 0)
        a, b = (done.document["scaling"]["std"] for done in (whole, tiled))
        assert a != b
        assert b == pytest.approx(a, rel=0.2)
        done = run(
            "bench", "--vae", vae_folder, "--size", 96, "--batches", 1, "--tiling", 64, "--channels-last", "--json"
        )
        assert done.code == 0, done.err
        used = {name: done.document["settings"][name] for name in ("tiling", "slicing", "channels_last", "compile")}
        assert used == {"tiling": 64, "slicing": False, "channels_last": True, "compile": False}


class TestPadding:
    def test_the_border_is_measured_apart(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        done = run("reconstruct", sizes, "--vae", vae_folder, "--fit", "pad", "--yardstick", "none", "--json")
        assert done.code == 0, done.err
        measures = done.document["measures"]
        assert list(measures).index("psnr_inside_db") == list(measures).index("psnr_border_db") + 1
        assert (measures["psnr_border_db"]["n"], measures["psnr_inside_db"]["n"]) == (12, 12)
        low, high = sorted((measures["psnr_border_db"]["value"], measures["psnr_inside_db"]["value"]))
        assert low < measures["psnr_db"]["value"] < high

    def test_only_where_pictures_may_be_padded(self, run: Run, sizes: Path, vae_folder: Path) -> None:
        options = ("reconstruct", sizes, "--vae", vae_folder, "--size", 32, "--yardstick", "none")
        assert "psnr_border_db" not in run(*options, "--json").document["measures"]
        done = run(*options, "--metrics", "psnr_border_db")
        assert done.code == 3
        assert "no picture was padded. Use --fit pad." in " ".join(done.err.split())


class TestMemory:
    @pytest.fixture
    def little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Memory for two pictures of 64 x 64 in the encoder, by the words of torch's CPU allocator."""
        inner = LoadedVAE._run

        def limited(self: LoadedVAE, stage: str, values: torch.Tensor) -> Any:
            if stage == "encode" and values[:, 0].numel() > 2 * 64 * 64:
                torch.empty(1 << 55)
            return inner(self, stage, values)

        monkeypatch.setattr(LoadedVAE, "_run", limited)

    @pytest.mark.usefixtures("little")
    @pytest.mark.parametrize("command", ["reconstruct", "scale-factor"])
    def test_a_smaller_batch_is_used_and_said(self, run: Run, command: str, sizes: Path, vae_folder: Path) -> None:
        options = ("--yardstick", "none", "--metrics", "psnr_db") if command == "reconstruct" else ()
        done = run(command, sizes, "--vae", vae_folder, "--size", 64, "--json", *options)
        assert done.code == 0, done.err
        assert done.document["settings"]["batch_size"] == 2
        said = "batches of 8 pictures did not fit into memory; 2 at a time went through encode"
        assert said in done.document["warnings"]
        assert said in " ".join(done.err.split())

    @pytest.mark.usefixtures("little")
    def test_one_picture_too_large_ends_with_the_remedy_which_works(
        self, run: Run, sizes: Path, vae_folder: Path
    ) -> None:
        options = ("scale-factor", sizes, "--vae", vae_folder, "--size", 128, "--json")
        done = run(*options)
        assert done.code == 3
        message = " ".join(done.err.split())
        assert "one picture of 128x128 pixels does not fit into the memory of cpu" in message
        assert "Try --tiling 64, --dtype bfloat16 or a smaller --size." in message
        assert run(*options, "--tiling", 64).code == 0

    @pytest.mark.parametrize(("dtype", "remedy"), [("float32", "Try --dtype bfloat16."), ("bfloat16", "Free memory")])
    def test_weights_that_do_not_fit(
        self,
        run: Run,
        sizes: Path,
        vae_folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        dtype: str,
        remedy: str,
    ) -> None:
        def load(*_: object, **__: object) -> object:
            return torch.empty(1 << 55)

        monkeypatch.setattr(opening, "load_vae", load)
        done = run("scale-factor", sizes, "--vae", vae_folder, "--device", "cpu", "--dtype", dtype)
        assert done.code == 3
        message = " ".join(done.err.split())
        assert f"do not fit into the memory of cpu as {dtype}" in message
        assert remedy in message

    @pytest.mark.usefixtures("little")
    def test_bench_too(self, run: Run, vae_folder: Path) -> None:
        done = run("bench", "--vae", vae_folder, "--size", 64, "--batches", 1, "--json")
        assert done.code == 0, done.err
        assert done.document["settings"]["batch_size"] == 2
        assert "8 pictures did not fit" in done.document["warnings"][0]


class TestDtype:
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_a_type_that_the_cpu_lacks_is_warned_of(
        self, run: Run, sizes: Path, vae_folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
    ) -> None:
        monkeypatch.setattr(machine, "cpu_features", lambda: {"avx2", "avx512_f"})
        done = run(
            "scale-factor", sizes, "--vae", vae_folder, "--size", 32, "--dtype", dtype, "--json", "--device", "cpu"
        )
        assert done.code == 0, done.err
        said = f"this CPU does not compute in {dtype} itself: it is ten times slower than float32, or worse"
        assert said in done.document["warnings"]
        assert done.document["vae"]["dtype"] == dtype

    @pytest.mark.parametrize("features", [{"avx512_bf16", "avx512_fp16"}, {"bf16", "fp16_arith"}, set()])
    def test_a_type_that_it_has_is_not(self, features: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "cpu_features", lambda: features)
        for dtype in ("float32", "bfloat16", "float16"):
            assert machine.slow_dtype(dtype, torch.device("cpu")) == ()

    def test_auto_is_float32(self) -> None:
        assert machine.choose_dtype("auto", torch.device("cpu")) == "float32"

    def test_features_are_read_where_torch_does_not_tell_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: "processor : 0\nFeatures : fp asimd asimdhp bf16\n")
        assert {"fp16_arith", "bf16"} <= machine.cpu_features()
