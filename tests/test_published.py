"""Published figures: the table against the collection that it was distilled from, and what is said beside a run."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vaecheck import published
from vaecheck.protocols import PROTOCOLS
from vaecheck.published import CROPS, FIDS, ROUNDINGS, SSIMS
from vaecheck.results.types import DataCard, Published, VAECard
from vaecheck.vae.aliases import ALIASES

TABLE: dict[str, Any] = json.loads((Path(published.__file__).parent / "assets" / "published.json").read_text())
MEASURED = ("psnr_db", "ssim", "lpips_alex", "rfid")
DEFAULTS = {"posterior": "mode"}


def card(ref: str, **more: Any) -> VAECard:
    return VAECard(ref, "AutoencoderKL", None, 8, 4, 1, "float32", **more)


def data(count: int = 24, size: int | None = 256, fit: str = "crop", source: str = "photos") -> DataCard:
    return DataCard(source, count, (), "", size, fit)


def beside(ref: str, pictures: DataCard, settings: dict[str, str] | None = None) -> dict[str, Published]:
    rows = published.beside(card(ref), pictures, settings or DEFAULTS, MEASURED, most=20)
    return {row.source: row for row in rows}


class TestTable:
    def test_every_key_leads_somewhere(self) -> None:
        for row in TABLE["rows"]:
            assert row["model"] in TABLE["models"]
            assert row["source"] in TABLE["sources"]
            assert row["tier"] in (1, 2, 3, 4)
            assert row["metrics"]
            protocol = row.get("protocol", TABLE["sources"][row["source"]].get("protocol"))
            assert protocol is None or protocol in TABLE["protocols"]
        tables = {"crop": CROPS, "ssim": SSIMS, "rounding": ROUNDINGS, "fid": FIDS}
        for protocol in TABLE["protocols"].values():
            assert all(protocol[key] in words for key, words in tables.items() if key in protocol)

    def test_a_name_is_of_one_model_only(self) -> None:
        names = Counter(name for model in published.models() for name in {model.name.lower(), *model.names})
        assert {name: count for name, count in names.items() if count > 1} == {}

    def test_the_bundled_model_has_the_factor_of_its_config(self) -> None:
        config = Path(published.__file__).parent / "assets" / "kl-f8-tiny" / "config.json"
        model = published.find("kl-f8-tiny")
        assert model is not None
        assert model.scaling_factor == json.loads(config.read_text())["scaling_factor"]
        assert published.rows(model) == ()

    def test_an_alias_and_the_table_agree_on_the_factor(self) -> None:
        for name, alias in ALIASES.items():
            model = published.of_vae(name)
            if model is not None and alias.scaling_factor is not None:
                assert model.scaling_factor == alias.scaling_factor, name

    @pytest.mark.parametrize("name", sorted(set(TABLE["protocols"]) & set(PROTOCOLS) - {"sd-model-card"}))
    def test_a_protocol_of_the_table_is_the_one_that_can_be_run(self, name: str) -> None:
        theirs, ours = TABLE["protocols"][name], PROTOCOLS[name]
        crops = {"as_they_are": {"none"}, "pil_bilinear_or_lanczos": {"pil_bilinear"}}
        assert ours.fit in crops.get(theirs["crop"], {theirs["crop"]})
        assert theirs.get("posterior", "deterministic") in (ours.posterior, "deterministic")
        assert theirs["ssim"].startswith(ours.ssim.window)
        scale = (ours.ssim.black, ours.ssim.white, ours.ssim.data_range)
        assert (theirs["ssim"] == "uniform-range-2") == (scale == (0.0, 1.0, 2.0))
        assert (theirs["ssim"] == "gaussian-signed") == (scale == (-1.0, 1.0, 2.0))
        assert (theirs["ssim"] == "gaussian-data-range") == (ours.ssim.data_range is None)
        if ours.fid is not None and name != "llamagen":  # OpenAI's evaluator is neither
            assert {"pytorch-fid": "fd_pytorch_fid", "torch-fidelity": "rfid"}[theirs["fid"]] == ours.fid.metric
        assert theirs["rounding"].partition("_")[0][:5] == {"round": "round", "none": "none"}.get(
            ours.psnr.levels, "trunc"
        )


@pytest.fixture
def collection() -> list[dict[str, Any]]:
    folder = Path(os.environ.get("VAECHECK_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = folder / "reference" / "published.json"
    if not path.is_file():
        pytest.skip("the collection of published figures (VAECHECK_SHARED) is not here")
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


class TestAgainstTheCollection:
    """The figures are copied, so nothing may be lost, rounded or set under another name."""

    def test_every_figure_is_there_under_its_own_name(self, collection: list[dict[str, Any]]) -> None:
        names = {"rfid": "rfid", "psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips", "psim": "psim"}
        theirs = Counter(
            (row["tier"], row["n_images"], *(row[name] for name in names))
            for row in collection
            if any(row[name] is not None for name in names)
        )
        ours = Counter(
            (row["tier"], row.get("n_images"), *(row["metrics"].get(name) for name in names.values()))
            for row in TABLE["rows"]
        )
        assert ours == theirs
        assert sum(theirs.values()) == 232

    def test_every_hub_id_leads_to_the_rows_of_its_model(self, collection: list[dict[str, Any]]) -> None:
        figures = ("rfid", "psnr", "ssim", "lpips", "psim")
        wanted = Counter(row["model_id"] for row in collection if any(row[name] is not None for name in figures))
        del wanted[None]
        for model_id, count in wanted.items():
            model = published.find(model_id)
            assert model is not None, model_id
            assert len(published.rows(model)) >= count

    def test_what_is_not_stated_stays_so(self, collection: list[dict[str, Any]]) -> None:
        theirs = Counter(row["lpips_net"] for row in collection if row["lpips"] is not None)
        ours = Counter(row.get("lpips_net") for row in TABLE["rows"] if "lpips" in row["metrics"])
        assert ours == theirs


class TestFind:
    @pytest.mark.parametrize(
        ("ref", "key"),
        [
            ("sdxl-vae", "sdxl-vae"),
            ("stabilityai/sdxl-vae", "sdxl-vae"),
            ("stabilityai/sdxl-vae@main", "sdxl-vae"),
            ("black-forest-labs/FLUX.1-dev:vae", "flux-dev"),
            ("black-forest-labs/flux.1-dev", "flux-dev"),
            ("flux-schnell", "flux-dev"),
            ("SDXL VAE", "sdxl-vae"),
            ("sd1.5", "kl-f8"),
        ],
    )
    def test_by_alias_hub_id_and_name(self, ref: str, key: str) -> None:
        model = published.find(ref)
        assert model is not None
        assert model.key == key

    @pytest.mark.parametrize("ref", ["sdxl", "stabilityai/sdxl-vae:unet", "someone/sdxl-vae", ""])
    def test_a_likeness_is_not_enough(self, ref: str) -> None:
        assert published.find(ref) is None

    def test_a_folder_is_no_model_whatever_its_name(self) -> None:
        assert published.of_vae("kl-f4-of-mine") is None
        assert published.of_vae("va-vae") is None or "va-vae" in ALIASES
        assert published.of_vae("./stabilityai/sdxl-vae") is None

    def test_nearest_names(self) -> None:
        assert "sdxl-vae" in published.nearest("sdxl")
        assert published.nearest("qqqqqq") == ()


class TestBeside:
    def test_nothing_stands_beside_an_unknown_vae(self) -> None:
        assert published.beside(card("./mine"), data(), DEFAULTS, MEASURED) == ()
        assert published.beside(card("kl-f8-tiny"), data(), DEFAULTS, MEASURED) == ()

    def test_another_number_of_pictures_is_said_of_every_row_that_states_one(self) -> None:
        for row in beside("sdxl-vae", data(24)).values():
            said = [words for words in row.differs if words.startswith("24 pictures against")]
            assert len(said) == (row.n_images is not None)
            assert any(f"against {row.n_images:,}, so other pictures" in words for words in said) or not said

    def test_each_difference_of_a_known_protocol(self) -> None:
        llamagen = next(row for source, row in beside("sdxl-vae", data(24)).items() if source.startswith("LlamaGen"))
        assert llamagen.differs == (
            "24 pictures against 5,000, so other pictures",
            "bicubic centre crop against ADM's crop (box, then bicubic)",
            "posterior mode against sample",
            f"SSIM with {SSIMS['gaussian']} against {SSIMS['uniform-range-2']}",
            "rFID by torch-fidelity's Inception against OpenAI's TensorFlow evaluator",
        )
        assert llamagen.unknown == ()

    def test_under_its_own_protocol_only_the_pictures_are_in_doubt(self) -> None:
        settings = {"posterior": "sample", "protocol": "llamagen"}
        found = beside("sdxl-vae", data(50_000, fit="adm"), settings).values()
        row = next(row for row in found if row.source.startswith("LlamaGen"))
        assert row.differs == ()
        assert row.unknown == ("whether your pictures are ImageNet val",)

    def test_size_lpips_net_and_samples_are_compared(self) -> None:
        found = published.beside(card("zelaki/eq-vae"), data(3, size=64, source="samples"), DEFAULTS, MEASURED)
        assert len(found) == 1
        assert "64 px against 256 px" in found[0].differs
        assert "LPIPS with alex against vgg" in found[0].differs
        assert "3 pictures against 50,000, so other pictures" in found[0].differs
        own = published.beside(card("zelaki/eq-vae"), data(3, None, "none"), DEFAULTS, MEASURED)[0]
        assert "their own sizes against 256 px" in own.differs

    def test_a_row_that_states_nothing_is_never_called_alike(self) -> None:
        for row in beside("sd-vae-ft-mse", data(24, source="samples")).values():
            assert row.differs
        for row in beside("sd-vae-ft-mse", data(5000)).values():
            assert row.differs or row.unknown

    def test_a_deterministic_vae_has_no_posterior_to_differ_in(self) -> None:
        ref = "mit-han-lab/dc-ae-f64c128-in-1.0-diffusers"
        for row in published.beside(card(ref, deterministic=True), data(), DEFAULTS, MEASURED):
            assert not any("posterior" in words for words in row.differs)
            assert "mode or sample" not in row.unknown

    def test_few_rows_of_different_sources_come_first(self) -> None:
        rows = published.beside(card("sdxl-vae"), data(), DEFAULTS, MEASURED)
        assert len(rows) == published.SHOWN
        assert len({row.source for row in rows}) == published.SHOWN
        totals = [len(row.differs) + len(row.unknown) for row in rows if len(row.metrics) > 1]
        assert totals == sorted(totals)

    def test_rows_without_a_measure_of_the_run_are_left_out(self) -> None:
        assert published.beside(card("sdxl-vae"), data(), DEFAULTS, ["kl_nats_per_image"]) == ()
        only_rfid = published.beside(card("sdxl-vae"), data(), DEFAULTS, ["rfid"])
        assert only_rfid
        assert all("rfid" in row.metrics for row in only_rfid)


class TestRun:
    """A whole run on a repository in the hub's cache, whose weights are random: it is the name that counts."""

    @pytest.fixture
    def cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        import torch
        from huggingface_hub import constants

        from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

        repository = tmp_path / "hub" / "models--stabilityai--sdxl-vae"
        commit = "0" * 40
        torch.manual_seed(0)
        small = KLConfig((8, 8, 16, 16), 1, 4, 4, mid_block_add_attention=False, scaling_factor=0.13025)
        KLAutoencoder(small).save(repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        return "stabilityai/sdxl-vae"

    def test_a_run_carries_the_rows_of_its_vae(self, cached: str, tmp_path: Path) -> None:
        from vaecheck.results.files import load, save
        from vaecheck.tasks.reconstruct import reconstruct
        from vaecheck.tasks.settings import Settings

        settings = Settings(size=64, limit=2, metrics=("psnr_db",), yardstick="none", offline=True, batch_size=2)
        result, _ = reconstruct("samples", cached, settings)
        assert [row.metrics["psnr_db"] for row in result.published]
        assert all(
            any("2 pictures against" in words or "sample pictures" in words for words in row.differs)
            for row in result.published
        )
        assert any("64 px against 256 px" in row.differs for row in result.published)
        save(result, tmp_path / "out")
        assert load(tmp_path / "out").published == result.published
