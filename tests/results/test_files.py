"""The JSON document and the CSV: round trips, refusals, and files that are never half written."""

from __future__ import annotations

import json
import math
import os
import string
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaecheck.errors import InputError, VaecheckError
from vaecheck.results import files
from vaecheck.results.types import (
    DataCard,
    Environment,
    Finding,
    LatentScaling,
    Line,
    Measure,
    PerImage,
    Plot,
    Result,
    Scaling,
    SkippedImage,
    UNetCost,
    VAECard,
    Yardstick,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def measures(draw: st.DrawFn) -> dict[str, Measure]:
    def measure(name: str) -> Measure:
        return Measure(
            name=name,
            value=draw(st.none() | finite | st.lists(st.integers(1, 512), min_size=3, max_size=3).map(tuple)),
            unit=draw(text),
            better=draw(st.sampled_from(["higher", "lower", None])),
            n=draw(st.integers(0, 10**6)),
            definition=draw(text),
            sd=draw(st.none() | finite),
            ci95=draw(st.none() | st.tuples(finite, finite)),
            status=draw(st.sampled_from(["ok", "unreliable", "unavailable"])),
            reason=draw(text),
            counts=draw(st.dictionaries(names, st.integers(0, 9), max_size=2)),
        )

    return {name: measure(name) for name in draw(st.lists(names, max_size=3, unique=True))}


scalings = st.builds(LatentScaling, scaling_factor=finite, channel_means=st.none() | st.just((0.5, -1.0)), source=text)
cards = st.builds(VAECard, ref=text, class_name=text, sha256=st.none() | text, dtype=text, scaling=scalings)
data_cards = st.builds(
    DataCard,
    source=text,
    skipped=st.lists(st.builds(SkippedImage, id=text, reason=text), max_size=2).map(tuple),
    fingerprint=text,
    fit=text,
    notes=st.dictionaries(names, st.integers(0, 9), max_size=2),
)
environments = st.builds(
    Environment,
    versions=st.dictionaries(names, text, max_size=2),
    platform=text,
    cpu=text,
    device=text,
    accelerator=st.none() | text,
    started=text,
    seconds=st.dictionaries(names, finite, max_size=2),
)
yardsticks = st.builds(Yardstick, name=text, description=text, measures=measures(), vae=measures())
scalings = st.builds(
    Scaling,
    mean=finite,
    std=finite,
    std_of_means=finite,
    scaling_factor=finite,
    scaling_factor_ci95=st.none() | st.tuples(finite, finite),
    first_batch=st.dictionaries(names, finite, max_size=2),
    shift_factor=finite,
    per_channel=st.lists(st.fixed_dictionaries({"mean": finite, "std": finite}), max_size=2).map(tuple),
    shipped=st.dictionaries(names, st.none() | finite, max_size=2),
    reason=text,
    snippets=st.dictionaries(names, text, max_size=2),
)


@st.composite
def per_images(draw: st.DrawFn) -> PerImage:
    ids = tuple(draw(st.lists(text, max_size=4)))
    cell = st.none() | finite
    column = st.lists(cell, min_size=len(ids), max_size=len(ids)).map(tuple)
    return PerImage(ids, draw(st.dictionaries(names, column, max_size=3)))


results = st.builds(
    Result,
    kind=names,
    vae=st.none() | cards,
    data=data_cards,
    settings=st.dictionaries(names, json_values, max_size=3),
    environment=environments,
    measures=measures(),
    warnings=st.lists(text, max_size=2).map(tuple),
    artifacts=st.dictionaries(names, text, max_size=2),
    yardsticks=st.lists(yardsticks, max_size=2).map(tuple),
    unet_cost=st.lists(st.builds(UNetCost, flops=finite), max_size=2).map(tuple),
    scaling=st.none() | scalings,
    per_image=per_images(),
    schema=st.just(1),
)


def small_result(**changes: Any) -> Result:
    measure = Measure("psnr_db", 24.5, "dB", "higher", 3, "PSNR", sd=1.25, ci95=(23.0, 26.0))
    result = Result(
        kind="reconstruct",
        vae=VAECard("kl-f8-tiny", "KLAutoencoder", None, 8, 4, 1000, "float32", LatentScaling(0.9)),
        data=DataCard("samples", 3, (SkippedImage("b.png", "truncated"),), "ab12", 256, "crop"),
        settings={"seed": 0},
        environment=Environment({}, "Linux", "cpu", 2, "cpu", None, "2026-01-01T00:00:00+00:00"),
        measures={"psnr_db": measure},
        per_image=PerImage(("a.png", "c.png"), {"psnr_db": (24.0, None)}),
    )
    return replace(result, **changes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(result=results)
def test_save_and_load_give_the_same_result(result: Result, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("result")
    files.save(result, folder)
    assert files.load(folder) == result
    assert sorted(path.name for path in folder.iterdir()) == ["per_image.csv", "result.json"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(result=results)
def test_the_document_survives_json_and_comes_back_equal(result: Result) -> None:
    document = files.to_document(result)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert files.to_document(files.from_document(document)) == document


def test_the_document_has_the_contract_s_names() -> None:
    document = files.to_document(small_result())
    assert list(document)[:3] == ["kind", "vae", "data"]
    assert document["schema"] == 1
    assert document["vae"]["class"] == "KLAutoencoder"
    assert "class_name" not in document["vae"]
    assert document["vae"]["shift_factor"] is None
    assert document["data"]["skipped"] == [{"id": "b.png", "reason": "truncated"}]
    assert document["measures"]["psnr_db"] == {
        "value": 24.5,
        "unit": "dB",
        "better": "higher",
        "n": 3,
        "definition": "PSNR",
        "sd": 1.25,
        "ci95": [23.0, 26.0],
        "status": "ok",
        "reason": "",
        "counts": {},
    }
    assert {"per_image", "scaling", "yardsticks", "unet_cost"}.isdisjoint(document)


def test_optional_parts_are_there_where_they_were_measured() -> None:
    yardstick = Yardstick("linear", "PCA", 3, {}, {})
    cost = UNetCost(8, (4, 32, 32), 1024, 1.5e12, True)
    document = files.to_document(small_result(yardsticks=(yardstick,), unet_cost=(cost,)))
    assert document["yardsticks"][0]["name"] == "linear"
    assert document["unet_cost"][0]["latent_shape"] == [4, 32, 32]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_nan_and_infinity_are_refused_with_the_place(number: float, tmp_path: Path) -> None:
    bad = Measure("rfid", number, "", "lower", 3, "")
    with pytest.raises(VaecheckError, match=r"measures\.rfid\.value is -?(nan|inf)") as caught:
        files.save(small_result(measures={"rfid": bad}), tmp_path)
    assert caught.value.exit_code == 70
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VaecheckError, match=r"psnr_db of 'a\.png'"):
        files.save(small_result(per_image=PerImage(("a.png",), {"psnr_db": (number,)})), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numpy_numbers_and_paths_become_plain_json() -> None:
    document = files.to_document(
        small_result(settings={"out": Path("a/b"), "n": np.int64(3), "x": np.float32(0.5), "pair": (1, 2)})
    )
    assert document["settings"] == {"out": "a/b", "n": 3, "x": 0.5, "pair": [1, 2]}
    with pytest.raises(VaecheckError, match=r"settings\.what is a set"):
        files.to_document(small_result(settings={"what": {1}}))


def test_the_csv_is_verbatim_and_none_is_an_empty_cell(tmp_path: Path) -> None:
    ids = ("=1+1.png", 'say "hi", you.png', "новый.png", "a\nb.png", "\udcff.png")
    files.save(small_result(per_image=PerImage(ids, {"psnr_db": (24.25, None, 1e-9, 3, 0.1)})), tmp_path)
    raw = (tmp_path / "per_image.csv").read_bytes()
    assert raw.startswith(b'id,psnr_db\n=1+1.png,24.25\n"say ""hi"", you.png",\n')
    assert b"\xff.png,0.1\n" in raw
    assert files.load(tmp_path).per_image == PerImage(ids, {"psnr_db": (24.25, None, 1e-9, 3.0, 0.1)})


def test_a_carriage_return_in_an_id_comes_back(tmp_path: Path) -> None:
    per_image = PerImage(("\r", "a\r\nb"), {"psnr_db": (None, 1.5)})
    files.save(small_result(per_image=per_image), tmp_path)
    assert files.load(tmp_path).per_image == per_image


def test_an_id_that_is_not_utf8_keeps_the_json_valid(tmp_path: Path) -> None:
    data = replace(small_result().data, skipped=(SkippedImage("\udcff.png", "broken"),))
    files.save(small_result(data=data), tmp_path)
    (tmp_path / "result.json").read_bytes().decode("ascii")
    assert files.load(tmp_path).data.skipped[0].id == "\udcff.png"


def test_load_explains_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no result folder"):
        files.load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no result\.json"):
        files.load(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        files.load(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        files.load(tmp_path / "result.json")
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        files.load(tmp_path)
    (tmp_path / "result.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not valid JSON"):
        files.load(tmp_path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "9" * 5000])
@pytest.mark.parametrize("place", ["measures.psnr_db.value", "settings.seed", "a_field_of_later"])
def test_a_number_that_no_float_can_hold_is_refused_wherever_it_stands(number: str, place: str, tmp_path: Path) -> None:
    document = files.to_document(small_result())
    *way, last = place.split(".")
    inner = document
    for key in way:
        inner = inner[key]
    inner[last] = "HERE"
    (tmp_path / "result.json").write_text(json.dumps(document).replace('"HERE"', number))
    with pytest.raises(InputError, match="not valid JSON") as caught:
        files.load(tmp_path)
    assert len(caught.value.message) < len(str(tmp_path)) + 250


def test_a_half_result_is_to_be_taken_away(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"kind": "wat')
    with pytest.raises(InputError) as caught:
        files.load(tmp_path)
    assert caught.value.hint == "It was cut short or edited: take it away, and run the command that wrote it again."


def test_a_measure_without_a_status_is_refused() -> None:
    document = files.to_document(small_result())
    del document["measures"]["psnr_db"]["status"]
    with pytest.raises(InputError, match=r"measures\.psnr_db\.status is missing"):
        files.from_document(document)


def test_load_without_a_csv_gives_no_per_image_values(tmp_path: Path) -> None:
    files.save(small_result(), tmp_path)
    (tmp_path / "per_image.csv").unlink()
    assert files.load(tmp_path).per_image == PerImage()


@pytest.mark.parametrize("csv_text", ["", "id,psnr_db\na.png\n", "id,psnr_db\na.png,abc\n", "id,psnr_db\na.png,nan\n"])
def test_a_broken_csv_is_an_input_error(csv_text: str, tmp_path: Path) -> None:
    files.save(small_result(), tmp_path)
    (tmp_path / "per_image.csv").write_text(csv_text)
    with pytest.raises(InputError, match=r"not a per_image\.csv"):
        files.load(tmp_path)


def test_a_newer_schema_says_upgrade() -> None:
    document = {**files.to_document(small_result()), "schema": 2}
    with pytest.raises(InputError, match="schema 2") as caught:
        files.from_document(document)
    assert "pgrade" in caught.value.hint
    for schema in (0, None, "1", True):
        with pytest.raises(InputError, match="schema"):
            files.from_document({**document, "schema": schema})


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("measures", "psnr_db", "value"), "24", r"measures\.psnr_db\.value is \"24\", not a finite number"),
        (("measures", "psnr_db", "value"), 10**400, r"measures\.psnr_db\.value is 1000+\.\.\., not a finite number"),
        (("settings", "metric_weights"), ["a"], r"settings\.metric_weights is \[\"a\"\], not an object"),
        (("settings", "metric_weights"), "abc", r"settings\.metric_weights is \"abc\""),
        (("measures", "psnr_db", "value"), True, r"measures\.psnr_db\.value is true"),
        (("measures", "psnr_db", "n"), 1.5, r"measures\.psnr_db\.n is 1\.5, not an integer"),
        (("measures", "psnr_db", "status"), "fine", r"measures\.psnr_db\.status"),
        (("measures", "psnr_db", "ci95"), [1], r"measures\.psnr_db\.ci95 is \[1\], not a list of 2"),
        (("measures", "psnr_db"), 24, r"measures\.psnr_db is 24, not an object"),
        (("vae", "f"), None, r"vae\.f is null"),
        (("data", "skipped"), {}, r"data\.skipped is \{\}, not a list"),
        (("measures",), None, "measures is null"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(place: tuple[str, ...], value: object, message: str) -> None:
    document = files.to_document(small_result())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(InputError, match=message):
        files.from_document(document)


def test_unknown_fields_are_ignored_and_a_stripped_environment_is_read() -> None:
    document = {**files.to_document(small_result()), "from_the_future": 1}
    document["measures"]["psnr_db"]["colour"] = "blue"
    del document["environment"]
    read = files.from_document(document)
    assert read.measures == small_result().measures
    assert read.environment.versions == {}
    del document["vae"]["f"]
    with pytest.raises(InputError, match=r"vae\.f is missing"):
        files.from_document(document)


def test_every_field_of_a_result_is_in_the_document_or_in_the_csv() -> None:
    absent_here = {"yardsticks", "unet_cost", "scaling", "published", "findings", "channels", "plots"}
    document = set(files.to_document(small_result()))
    assert {field.name for field in fields(Result)} - absent_here - {"per_image"} == document


def test_findings_plots_and_roles_come_back_as_they_were(tmp_path: Path) -> None:
    finding = Finding("blur", "info", 1.5, 1.0, "px", "soft", "train on", "seen", 0.5, "checkerboard", {"a": None})
    plot = Plot("p", "blur", "lines", "t", "x", "y", (Line("l", (1.0,), (2.0,)),), ((1.0, 2.0),), marks={"m": 0.5})
    measure = Measure("lds", 0.3, "", "higher", 4, "d", role="predicts", evidence="e")
    result = replace(
        small_result(), findings=(finding,), plots=(plot,), channels=({"std": 1.0},), measures={"lds": measure}
    )
    files.save(result, tmp_path)
    again = files.load(tmp_path)
    assert (again.findings, again.plots, again.channels) == (result.findings, result.plots, result.channels)
    assert again.measures == result.measures


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    files.write_atomically(path, "old")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(InputError, match="No space left on device"):
        files.write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    files.write_atomically(tmp_path / "deep" / "written.txt", "é")
    assert (tmp_path / "deep" / "written.txt").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "deep" / "written.txt").read_bytes() == "é".encode()


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else False, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        files.write_atomically(tmp_path / "x", "y")


def test_what_is_looked_up_by_name_has_to_be_there() -> None:
    golden = Path(__file__).parents[1] / "golden" / "schema_1"
    scaled = json.loads((golden / "scale-factor" / "result.json").read_text())
    del scaled["scaling"]["per_channel"][1]["std"]
    with pytest.raises(InputError, match=r"scaling\.per_channel\[1\] lacks its mean or its std"):
        files.from_document(scaled)
    compared = json.loads((golden / "compare" / "result.json").read_text())
    compared["measures"]["ssim"]["differences"][0]["b"] = "another"
    with pytest.raises(InputError, match=r"measures\.ssim lacks a value"):
        files.from_document(compared)
