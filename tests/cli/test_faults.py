"""Broken and odd models, as they come through file.py:factory: what is said of each, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

FACTORIES = '''
import torch, torch.nn.functional as F
from torch import nn


class Average:
    """f = 8, three channels: the mean of 8 x 8 pixels, enlarged again."""

    def encode(self, x):
        return F.avg_pool2d(x, 8)

    def decode(self, z):
        return F.interpolate(z, scale_factor=8, mode="bilinear")


class Gaussian:
    def __init__(self, mean, log_var):
        self.mean, self.log_var = mean, log_var


def variant(**methods):
    return lambda: type("Variant", (Average,), methods)()


average = Average
first = lambda x: torch.arange(len(x)).view(-1, 1, 1, 1) == 0

nan_everywhere = variant(decode=lambda self, z: Average.decode(self, z) * float("nan"))
nan_first = variant(decode=lambda self, z: Average.decode(self, z).masked_fill(first(z), float("nan")))
latents_nan = variant(encode=lambda self, x: Average.encode(self, x) * float("nan"))
latents_nan_first = variant(
    encode=lambda self, x: Average.encode(self, x).masked_fill(first(x) & (len(x) > 1), float("nan"))
)
constant_latents = variant(encode=lambda self, x: Average.encode(self, x) * 0)
constant_output = variant(decode=lambda self, z: Average.decode(self, z) * 0)
overflowing_variance = variant(
    encode=lambda self, x: Gaussian(Average.encode(self, x), torch.full_like(Average.encode(self, x), 800.0))
)
identity = variant(encode=lambda self, x: F.pixel_unshuffle(x, 8), decode=lambda self, z: F.pixel_shuffle(z, 8))
decode_in_place = variant(decode=lambda self, z: Average.decode(self, z.div_(2)))
encode_in_place = variant(encode=lambda self, x: Average.encode(self, x.mul_(0.5)))
prints = variant(encode=lambda self, x: (print("hello"), Average.encode(self, x))[1])
raises = variant(encode=lambda self, x: {}["boom"])
f3 = variant(encode=lambda self, x: F.avg_pool2d(x, 3), decode=lambda self, z: F.interpolate(z, scale_factor=3))
no_variance = variant(encode=lambda self, x: Gaussian(Average.encode(self, x), None))
many_factors = variant(scaling_factor=[0.5, 0.5, 0.5])
negative_factor = variant(scaling_factor=-1.0)
zero_factor = variant(scaling_factor=0.0)


class Nested(Average):
    def __init__(self):
        self.parts = {"inner": [nn.Dropout(0.5)]}

    def encode(self, x):
        return super().encode(self.parts["inner"][0](x))
'''


@pytest.fixture(scope="module")
def factories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("factories") / "faults.py"
    path.write_text(FACTORIES)
    return path


@pytest.fixture
def reconstruct(run: Run, photos: Path, factories: Path) -> Any:
    def call(name: str, *more: object, size: int = 64) -> Any:
        arguments = (
            "--vae",
            f"{factories}:{name}",
            "--size",
            size,
            "--offline",
            "--metrics",
            "psnr_db,ssim,latent_std",
        )
        return run("reconstruct", photos, *arguments, *more)

    return call


@pytest.fixture
def scale(run: Run, photos: Path, factories: Path) -> Any:
    def call(name: str, *more: object) -> Any:
        return run("scale-factor", photos, "--vae", f"{factories}:{name}", "--size", 64, *more)

    return call


def test_nan_everywhere_is_called_broken(reconstruct: Any) -> None:
    assert "broken" in reconstruct("nan_everywhere").out
    document = reconstruct("nan_everywhere", "--json").document
    assert document["measures"]["psnr_db"]["counts"] == {"non_finite": 10}
    assert document["measures"]["psnr_db"]["status"] == "unavailable"
    (warning,) = [text for text in document["warnings"] if "NaN" in text]
    assert warning == "every reconstruction has NaN or infinity: the weights are broken, or were loaded wrongly"


def test_latents_that_are_all_nan_have_no_scale(scale: Any) -> None:
    done = scale("latents_nan")
    assert done.code == 2
    assert "the latents of all 10 pictures hold NaN or infinity" in done.err
    assert "float32" not in done.err


def test_nan_in_some_pictures_is_unreliable_with_the_count(reconstruct: Any) -> None:
    document = reconstruct("nan_first", "--json", "--batch-size", 5).document
    for name in ("psnr_db", "ssim"):
        measure = document["measures"][name]
        assert (measure["n"], measure["status"], measure["counts"]) == (8, "unreliable", {"non_finite": 2})
    assert any(text.startswith("2 of 10 reconstructions have NaN") for text in document["warnings"])
    assert "broken" in reconstruct("nan_first", "--batch-size", 5).out


def test_an_infinite_kl_is_not_taken_for_identical_pictures(run: Run, photos: Path, factories: Path) -> None:
    arguments = (
        "reconstruct",
        photos,
        "--vae",
        f"{factories}:overflowing_variance",
        "--size",
        64,
        "--offline",
        "--json",
    )
    measure = run(*arguments, "--yardstick", "none").document["measures"]["kl_nats_per_image"]
    assert (measure["status"], measure["counts"]) == ("unavailable", {"non_finite": 10})
    assert "identical" not in measure["reason"]


def test_a_lossless_model_is_not_accused(reconstruct: Any) -> None:
    done = reconstruct("identity")
    assert done.code == 0
    assert "wrong" not in done.out
    assert "identical" in done.out


def test_constant_output_is_below_the_yardsticks(reconstruct: Any) -> None:
    assert "not better than a linear codec" in reconstruct("constant_output").out


@pytest.mark.parametrize("name", ["decode_in_place", "encode_in_place"])
def test_a_model_that_works_in_place_does_not_change_what_is_measured(reconstruct: Any, name: str) -> None:
    clean, dirty = (reconstruct(each, "--json").document for each in ("average", name))
    factor = 0.5 if name == "encode_in_place" else 1.0
    measured = dirty["measures"]["latent_std"]["value"]
    assert measured == pytest.approx(factor * clean["measures"]["latent_std"]["value"], rel=1e-5)
    linear = [one["yardsticks"][1]["measures"]["psnr_db"]["value"] for one in (clean, dirty)]
    assert linear[0] == linear[1]


def test_constant_latents_have_no_scale_and_it_says_why(scale: Any) -> None:
    done = scale("constant_latents")
    assert (done.code, done.out) == (2, "")
    assert "ignores its input" in done.err


def test_latents_with_nan_are_left_out_and_said_everywhere(scale: Any) -> None:
    done = scale("latents_nan_first", "--batch-size", 5, "--json")
    assert done.code == 0, done.err
    document = done.document
    assert document["scaling"]["first_batch"]["images"] == 4
    assert "2 of 10" in document["scaling"]["reason"]
    assert any("2 of 10" in warning for warning in document["warnings"])


@pytest.mark.parametrize(("name", "after"), [("negative_factor", None), ("zero_factor", 0.0)])
def test_senseless_factors_are_wrong(scale: Any, name: str, after: float | None) -> None:
    scaling = scale(name, "--json").document["scaling"]
    expected = scaling["std"] if after is None else after
    assert scaling["shipped"]["std_after"] == pytest.approx(expected)
    assert scaling["verdict"] == "wrong"


def test_a_factor_for_each_channel_is_unknown_and_warned_of(scale: Any) -> None:
    document = scale("many_factors", "--json").document
    assert document["scaling"]["verdict"] == "unknown"
    assert "3 values" in document["warnings"][0]


def test_what_a_model_prints_does_not_reach_stdout(reconstruct: Any) -> None:
    done = reconstruct("prints", "--json")
    assert done.document["kind"] == "reconstruct"
    assert "hello" in done.err


def test_the_users_own_error_names_the_line(reconstruct: Any) -> None:
    done = reconstruct("raises")
    assert done.code == 2
    assert "boom" in done.err
    assert "faults.py:" in done.err


def test_f_of_three_and_an_object_without_variance(reconstruct: Any) -> None:
    assert reconstruct("f3", "--json", size=63).document["vae"]["f"] == 3
    assert reconstruct("no_variance", "--json").document["vae"]["deterministic"] is True


def test_modules_inside_lists_and_dicts_are_put_into_eval_mode(reconstruct: Any) -> None:
    nested, plain = (
        reconstruct(name, "--json").document["measures"]["psnr_db"]["value"] for name in ("Nested", "average")
    )
    assert nested == plain


def test_reconstructions_never_replace_originals(reconstruct: Any, photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    for folder in (photos, photos / "inner", photos.parent):
        assert reconstruct("average", "--save-reconstructions", folder).code == 2
    assert before == {path: path.read_bytes() for path in photos.rglob("*.png")}


def test_an_out_that_cannot_be_written_ends_at_once(reconstruct: Any, photos: Path) -> None:
    done = reconstruct("average", "--out", photos / "00.png")
    assert (done.code, done.out) == (2, "")
    assert "--out" in done.err


def test_score_pairs_pictures_of_one_stem_rightly(run: Run, factories: Path, photos: Path, tmp_path: Path) -> None:
    from PIL import Image

    both = tmp_path / "both"
    both.mkdir()
    Image.open(photos / "00.png").save(both / "b.bmp")
    Image.open(photos / "01.png").save(both / "b.png")
    saved = tmp_path / "saved"
    options = ("--size", 64, "--metrics", "psnr_db", "--json")
    whole = run("reconstruct", both, "--vae", f"{factories}:average", *options, "--save-reconstructions", saved)
    scored = run("score", both, saved, *options)
    assert whole.document["measures"]["psnr_db"]["value"] == scored.document["measures"]["psnr_db"]["value"]


def test_snippets_suit_a_model_without_a_posterior(scale: Any) -> None:
    out = scale("average").out
    assert "latents = z * " in out
    assert "latent_dist" not in out
