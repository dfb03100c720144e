"""`compare` end to end on small models: one walk, saved results, what is refused, who wins."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaecheck.errors import InputError, NotComparable, SetupError
from vaecheck.metrics.perceptual import EfficientNetLite0
from vaecheck.render.report import write_report
from vaecheck.results.comparison import NO_DIFFERENCE, Comparison
from vaecheck.results.files import from_document, load, save, to_document
from vaecheck.results.types import Result
from vaecheck.tasks import compare as task
from vaecheck.tasks.compare import compare, is_saved, missing_of_all, unique
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings

STUBS = Path(__file__).with_name("stub_vaes.py")
PIXELS = Settings(size=48, workers=0, offline=True, metrics=("psnr_db", "ssim"), yardstick="none")


def stub(name: str) -> str:
    return f"{STUBS}:{name}"


def crops(folder: Path, count: int, side: int, seed: int = 0) -> str:
    """Windows of the bundled samples, as benchmarks/run.py cuts them."""
    folder.mkdir(parents=True)
    samples = sorted((Path(__file__).parents[2] / "vaecheck" / "assets" / "samples").glob("*.jpg"))
    draw = np.random.default_rng(seed)
    for i in range(count):
        image = Image.open(samples[int(draw.integers(len(samples)))]).convert("RGB")
        window = int(min(image.size) * draw.uniform(0.3, 0.8))
        left, top = (int(draw.integers(length - window + 1)) for length in image.size)
        box = (left, top, left + window, top + window)
        image.crop(box).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:03}.png")
    return str(folder)


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    return crops(tmp_path / "pictures", 12, 64)


@pytest.fixture
def saved(pictures: str, tmp_path: Path) -> Callable[..., str]:
    """Reconstructs and saves; gives the folder."""

    def call(name: str, ref: str, settings: Settings = PIXELS) -> str:
        result, _ = reconstruct(pictures, ref, settings)
        save(result, tmp_path / name)
        return str(tmp_path / name)

    return call


def test_names_are_as_given_and_unique() -> None:
    assert unique(["a", "b", "a", "a"]) == {"a": "a", "b": "b", "a (2)": "a", "a (3)": "a"}
    assert unique(["a", "a (2)", "a"]) == {"a": "a", "a (2)": "a (2)", "a (3)": "a"}


def test_a_copy_with_a_little_noise_is_told_apart_on_64_pictures(tmp_path: Path) -> None:
    """Of 1.3 grey levels: 0.03 dB."""
    settings = replace(PIXELS, size=64)
    found, _ = compare([stub("degraded"), "kl-f8-tiny"], crops(tmp_path / "64", 64, 64), settings)
    for name in ("psnr_db", "ssim"):
        contest = found.measures[name]
        (one,) = contest.differences
        assert one.value is not None
        assert -0.2 < one.value < 0
        assert contest.winner == "kl-f8-tiny"
    assert found.data.count == 64


def test_one_walk_gives_each_vae_the_figures_of_its_own_run(pictures: str) -> None:
    refs = [stub("sharp"), stub("plain"), stub("noisy")]
    found, shown = compare(refs, pictures, replace(PIXELS, metrics=None))
    for ref in refs:
        alone, _ = reconstruct(pictures, ref, replace(PIXELS, metrics=None))
        for name, measure in alone.measures.items():
            if name == "peak_memory_bytes" or name.endswith("_per_second"):
                continue
            mine = found.measures[name].values[ref]
            for here, there in ((mine.value, measure.value), (mine.ci95, measure.ci95)):
                assert here is there is None or here == pytest.approx(there, rel=1e-6), name
    assert found.measures["psnr_db"].winner == stub("sharp")
    assert found.measures["kl_nats_per_image"].winner == NO_DIFFERENCE  # no direction is better
    assert len(shown) == 8
    assert [one.disagreement for one in shown] == sorted((one.disagreement for one in shown), reverse=True)
    assert list(shown[0].reconstructions) == refs
    assert "sec_25" not in found.measures  # of several latent shapes
    assert "peak_memory_bytes" not in found.measures
    assert found.sources == dict.fromkeys(refs, "")
    assert set(found.vaes) == set(refs)


def test_originals_go_through_the_networks_once(pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    build = EfficientNetLite0.__init__

    def counting(self: EfficientNetLite0, *arguments: object) -> None:
        build(self, *arguments)
        network = self._network
        self._network = lambda images: (seen.append(len(images)), network(images))[1]

    monkeypatch.setattr(EfficientNetLite0, "__init__", counting)
    settings = replace(PIXELS, metrics=("fd_efficientnet_lite0",))
    compare([stub("sharp"), stub("plain"), stub("noisy")], pictures, settings)
    assert sum(seen) == 12 * (1 + 3)


def test_saved_results_give_the_same_judgement_as_one_walk(pictures: str, saved: Callable[..., str]) -> None:
    settings = replace(PIXELS, metrics=("fd_efficientnet_lite0", "psnr_db", "ssim"))
    refs = [stub("plain"), stub("noisy")]
    live, _ = compare(refs, pictures, settings)
    folders = [saved("plain", refs[0], settings), saved("noisy", refs[1], settings)]
    found, shown = compare(folders, None, Settings())
    assert shown == ()
    assert found.sources == dict(zip(folders, folders, strict=True))
    for name in settings.metrics or ():
        (one,), (other,) = live.measures[name].differences, found.measures[name].differences
        assert other.value == pytest.approx(one.value, rel=1e-9)
        assert other.ci95 == pytest.approx(one.ci95, rel=1e-6, abs=1e-9)
        assert other.reason == ""
    assert found.measures["ssim"].winner == folders[0]
    assert found.settings["metric_weights"] == live.settings["metric_weights"]


def test_a_saved_result_stands_beside_a_vae_that_is_run(pictures: str, saved: Callable[..., str]) -> None:
    folder = saved("plain", stub("plain"))
    found, _ = compare([folder, stub("noisy")], pictures, PIXELS)
    assert found.measures["ssim"].winner == folder
    assert found.sources == {folder: folder, stub("noisy"): ""}
    with pytest.raises(NotComparable, match=r"data\.size: 48 against 32"):
        compare([folder, stub("noisy")], pictures, replace(PIXELS, size=32))
    with pytest.raises(InputError, match="needs pictures"):
        compare([folder, stub("noisy")], None, PIXELS)


def test_what_differs_is_refused_and_named(pictures: str, saved: Callable[..., str], tmp_path: Path) -> None:
    plain = saved("plain", stub("plain"))
    other = saved("other", stub("noisy"), replace(PIXELS, size=32, posterior="sample", lpips_net="vgg"))
    with pytest.raises(NotComparable) as caught:
        compare([plain, other], None, Settings())
    for field in (
        "fingerprint",
        "size: 48 against 32",
        "posterior: mode against sample",
        "lpips_net: alex against vgg",
    ):
        assert field in caught.value.message
    assert caught.value.exit_code == 2
    assert caught.value.hint
    result = load(Path(plain))
    assert isinstance(result, Result)
    for changes in ({"metric_weights": {"inception": "aa" * 32}}, {"metric_weights": {"inception": "bb" * 32}}):
        save(
            replace(result, settings=dict(result.settings) | changes), tmp_path / changes["metric_weights"]["inception"]
        )
    with pytest.raises(NotComparable, match="weights of inception: aaaaaaaaaaaa against bbbbbbbbbbbb"):
        compare([str(tmp_path / ("aa" * 32)), str(tmp_path / ("bb" * 32))], None, Settings())
    renamed = replace(result.per_image, ids=tuple(f"new-{each}" for each in result.per_image.ids))
    save(replace(result, per_image=renamed), tmp_path / "renamed")
    with pytest.raises(NotComparable, match=r"names of the pictures: 000\.png is in one alone"):
        compare([plain, str(tmp_path / "renamed")], None, Settings())


def test_other_definitions_and_weights_are_refused(saved: Callable[..., str], tmp_path: Path) -> None:
    """The weights of LPIPS stand in the reason alone, in results of before 'metric_weights'."""
    plain = load(Path(saved("plain", stub("plain"))))
    assert isinstance(plain, Result)
    ssim = plain.measures["ssim"]
    reason = "its weights are not the published ones (sha256 abcdef12)"
    foreign = replace(ssim, status="unreliable", reason=reason)
    for name, measure in {"as-it-is": ssim, "defined": replace(ssim, definition="another"), "foreign": foreign}.items():
        save(replace(plain, measures={**plain.measures, "ssim": measure}), tmp_path / name)
    one, defined, other = (str(tmp_path / name) for name in ("as-it-is", "defined", "foreign"))
    with pytest.raises(NotComparable, match=r"measures\.ssim\.definition: .* against another"):
        compare([one, defined], None, Settings())
    with pytest.raises(NotComparable, match="weights of ssim: the published ones against abcdef12"):
        compare([one, other], None, Settings())
    found, _ = compare([one, other], None, Settings(metrics=("psnr_db",)))
    assert found.measures["psnr_db"].winner == NO_DIFFERENCE


def test_what_is_known_before_the_walk_is_refused_before_it(
    pictures: str, saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def walked(*_: object, **__: object) -> None:
        pytest.fail("the pictures were walked")

    folder = saved("plain", stub("plain"))
    monkeypatch.setattr(task, "walk", walked)
    changes = {"size": 32, "fit": "pad", "posterior": "sample", "dtype": "bfloat16", "lpips_net": "vgg"}
    for field, value in changes.items():
        with pytest.raises(NotComparable, match=rf"\.{field}: \w+ against {value}"):
            compare([folder, stub("noisy"), "kl-f8-tiny"], pictures, replace(PIXELS, **{field: value}))


def test_every_vae_of_the_walk_is_held_against_the_saved_result(
    pictures: str, saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = task._result

    def one_is_of_others(walker: task._Walker, *rest: Any) -> Result:
        result = build(walker, *rest)
        other = replace(result.data, fingerprint="0" * 64)
        return replace(result, data=other) if walker.bench.vae.card.ref == stub("sharp") else result

    folder = saved("plain", stub("plain"))
    monkeypatch.setattr(task, "_result", one_is_of_others)
    with pytest.raises(NotComparable, match=rf"{re.escape(stub('sharp'))} cannot be set .* data\.fingerprint"):
        compare([folder, stub("noisy"), stub("sharp")], pictures, PIXELS)


@pytest.mark.parametrize("beside", ["config.json", "model_index.json", "vae/config.json", "model.safetensors"])
def test_a_model_that_holds_a_result_is_a_model(saved: Callable[..., str], beside: str) -> None:
    folder = Path(saved("model", stub("plain")))
    assert is_saved(str(folder))
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).write_text("{}")
    assert not is_saved(str(folder))
    assert is_saved(str(folder / "result.json"))
    assert not is_saved(str(folder / "missing" / "result.json"))


def test_two_samples_of_one_posterior_may_differ_in_their_seed(saved: Callable[..., str]) -> None:
    sampled = replace(PIXELS, posterior="sample")
    folders = [saved(f"seed-{seed}", stub("wide"), replace(sampled, seed=seed)) for seed in (1, 2)]
    found, _ = compare(folders, None, Settings())
    assert found.measures["psnr_db"].differences[0].value != 0
    assert "seed" not in found.settings  # of what is shared
    assert found.settings["posterior"] == "sample"


def test_an_old_result_is_compared_with_a_warning(saved: Callable[..., str], tmp_path: Path) -> None:
    plain, noisy = saved("plain", stub("plain")), saved("noisy", stub("noisy"))
    old = load(Path(plain))
    assert isinstance(old, Result)
    settings = {name: value for name, value in old.settings.items() if name != "metric_weights"}
    save(replace(old, settings=settings), tmp_path / "old")
    (tmp_path / "old" / "per_image.csv").unlink()
    found, _ = compare([str(tmp_path / "old"), noisy], None, Settings())
    assert any("without the hashes" in text for text in found.warnings)
    assert any("no per_image.csv" in text for text in found.warnings)
    assert found.measures["psnr_db"].winner == NO_DIFFERENCE
    assert found.measures["psnr_db"].differences[0].ci95 is None


@pytest.mark.parametrize("refs", [[], ["kl-f8-tiny"]])
def test_it_takes_two(refs: list[str]) -> None:
    with pytest.raises(InputError, match="it takes two"):
        compare(refs, "samples", PIXELS)


def test_a_comparison_is_no_result_to_compare(pictures: str, tmp_path: Path) -> None:
    found, shown = compare([stub("plain"), stub("noisy")], pictures, PIXELS)
    write_report(found, shown, tmp_path / "compared")
    with pytest.raises(InputError, match="holds a compare"):
        compare([str(tmp_path / "compared"), stub("plain")], pictures, PIXELS)


def test_sides_suit_every_f(pictures: str) -> None:
    with pytest.raises(InputError, match="multiple of 24"):
        compare([stub("plain"), stub("coarse")], pictures, replace(PIXELS, size=64))
    found, _ = compare([stub("plain"), stub("coarse")], pictures, replace(PIXELS, fit="pad"))
    assert found.data.count == 12
    assert found.vaes[stub("coarse")].f == 12


def test_pictures_of_other_channels_are_refused(pictures: str) -> None:
    with pytest.raises(InputError, match="channels"):
        compare([stub("plain"), stub("grey")], pictures, PIXELS)


def test_vaes_that_do_not_fit_at_once_are_told_what_to_do(pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaecheck.tasks import opening

    load_vae = opening.load_vae

    def full(ref: str, **options: object) -> object:
        if ref == stub("noisy"):
            raise MemoryError
        return load_vae(ref, **options)

    monkeypatch.setattr(opening, "load_vae", full)
    with pytest.raises(SetupError, match="2 VAEs do not fit") as caught:
        compare([stub("plain"), stub("noisy")], pictures, PIXELS)
    assert "vaecheck compare DIR DIR" in caught.value.hint


def test_a_broken_vae_wins_nothing(pictures: str) -> None:
    found, _ = compare([stub("plain"), stub("broken")], pictures, PIXELS)
    contest = found.measures["psnr_db"]
    assert contest.winner == NO_DIFFERENCE
    assert contest.values[stub("broken")].value is None
    assert any(text.startswith(f"{stub('broken')}: every reconstruction has NaN") for text in found.warnings)


def test_a_metric_that_cannot_be_had_is_told_for_all(pictures: str) -> None:
    found, _ = compare([stub("plain"), stub("noisy")], pictures, replace(PIXELS, metrics=("psnr_db", "rfid")))
    missing = missing_of_all(found, ("psnr_db", "rfid"))
    assert missing is not None
    assert missing.exit_code == 3
    assert "rfid" in missing.message
    assert "psnr_db" not in missing.message
    assert missing_of_all(found, None) is None


def test_a_metric_that_a_saved_result_lacks_is_unavailable(saved: Callable[..., str]) -> None:
    folders = [saved("plain", stub("plain")), saved("noisy", stub("noisy"))]
    found, _ = compare(folders, None, Settings(metrics=("ssim", "kid")))
    assert list(found.measures)[:2] == ["kid", "ssim"]
    assert found.measures["kid"].values[folders[0]].status == "unavailable"
    assert "does not have it" in str(missing_of_all(found, ("kid",)))


def test_the_document_and_the_columns_come_back(pictures: str, tmp_path: Path) -> None:
    found, shown = compare([stub("plain"), stub("plain"), stub("noisy")], pictures, PIXELS)
    written = write_report(found, shown, tmp_path / "out")
    document = to_document(written)
    assert document["kind"] == "compare"
    psnr = document["measures"]["psnr_db"]
    assert set(psnr["values"]) == {stub("plain"), f"{stub('plain')} (2)", stub("noisy")}
    assert {"a", "b", "value", "ci95"} <= set(psnr["differences"][0])
    assert psnr["differences"][0]["ci95"] == [0.0, 0.0]
    assert psnr["winner"] == NO_DIFFERENCE  # a VAE and itself
    assert load(tmp_path / "out") == written
    again = from_document(document)
    assert isinstance(again, Comparison)
    assert again.measures == written.measures
    with (tmp_path / "out" / "per_image.csv").open() as file:
        head = next(csv.reader(file))
    assert f"psnr_db:{stub('noisy')}" in head


def test_learnability_is_measured_where_latents_have_one_shape(pictures: str) -> None:
    found, _ = compare([stub("plain"), stub("noisy")], pictures, replace(PIXELS, metrics=None))
    sec = found.measures["sec_25"]
    assert sec.winner == NO_DIFFERENCE
    assert all(isinstance(one.value, float) for one in sec.values.values())
    (front,) = [one for one in found.fronts if one.quality == "psnr_db"]
    assert set(front.axes) >= {"psnr_db", "latent_values", "sec_25"}  # the speed too, unless it scatters too widely
    assert front.points[stub("plain")]["latent_values"] == 3 * 6 * 6


@pytest.mark.slow
def test_two_samples_of_a_wide_posterior_have_a_winner_in_at_most_5_percent(tmp_path: Path) -> None:
    """100 comparisons of saved results, each of other pictures and seeds."""
    settings = replace(PIXELS, metrics=("fd_efficientnet_lite0", "psnr_db", "ssim"), posterior="sample")
    winners: list[str] = []
    smallest = []
    for draw in range(100):
        pictures = crops(tmp_path / f"pictures-{draw}", 16, 48, seed=draw)
        folders = []
        for seed in (2 * draw, 2 * draw + 1):
            result, _ = reconstruct(pictures, stub("wide"), replace(settings, seed=seed))
            save(result, tmp_path / str(seed))
            folders.append(str(tmp_path / str(seed)))
        found, _ = compare(folders, None, Settings())
        winners += [f"{draw}: {name}" for name, one in found.measures.items() if one.winner != NO_DIFFERENCE]
        smallest.append(min(one.p or 1.0 for contest in found.measures.values() for one in contest.differences))
    print(f"winners in {len({text.split(':')[0] for text in winners})} of 100: {winners}")
    print(f"smallest p of a comparison, median {np.median(smallest):.2f}")
    assert len({text.split(":")[0] for text in winners}) <= 5
