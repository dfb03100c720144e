"""Results of other pictures, sizes, dtypes or weights are told apart, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.results.runs import by_picture, measure, run
from vaecheck.errors import NotComparable
from vaecheck.results.comparable import check_comparable, differing_fields, differing_ids, differing_vaes

OWN = "the weights are not the published ones (sha256 {})"


def test_runs_alike_but_for_the_vae_and_the_machine_are_comparable() -> None:
    a = run(measure("psnr_db", 24.0))
    b = run(measure("psnr_db", 25.0), vae={"sha256": "ef" * 32}, settings={"batch_size": 1, "seed": 7})
    check_comparable(a, b, "a", "b", ["psnr_db"])
    assert differing_vaes(a, a) == ()
    assert differing_vaes(a, b) == ("vae.sha256: abababababab against efefefefefef",)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"data": {"fingerprint": "00" * 32}}, "data.fingerprint: cdcdcdcdcdcd against 000000000000"),
        ({"data": {"count": 7}}, "data.count: 8 against 7"),
        ({"data": {"size": 128}}, "data.size: 64 against 128"),
        ({"data": {"fit": "pad"}}, "data.fit: crop against pad"),
        ({"settings": {"dtype": "bfloat16"}}, "settings.dtype: float32 against bfloat16"),
        ({"settings": {"protocol": "eq-vae"}}, "settings.protocol: None against eq-vae"),
        ({"settings": {"tiling": 64}}, "settings.tiling: None against 64"),
        ({"data": {"fingerprint": ""}}, "data.fingerprint: cdcdcdcdcdcd against none"),
        ({"settings": {"posterior": None}}, "settings.posterior: mode against None"),
        ({"settings": {"dtype": None}, "vae": {"dtype": "float16"}}, "settings.dtype: float32 against float16"),
    ],
)
def test_what_differs_is_named(other: dict[str, Any], told: str) -> None:
    a, b = run(measure("psnr_db", 24.0)), run(measure("psnr_db", 24.0), **other)
    assert differing_fields(a, b) == (told,)
    with pytest.raises(NotComparable, match="old and new cannot be set beside each other") as caught:
        check_comparable(a, b, "old", "new")
    assert told in caught.value.message
    assert caught.value.exit_code == 2


def test_what_is_missing_on_one_side_switches_nothing_off() -> None:
    bare = run(data={"fingerprint": "", "size": 999, "count": 7, "fit": "pad"})
    found = differing_fields(run(), bare)
    assert [text.partition(":")[0] for text in found] == ["data.fingerprint", "data.count", "data.size", "data.fit"]
    found = differing_fields(bare, run(data={"fingerprint": "", "size": 64, "count": 7, "fit": "pad"}))
    assert found == ("data.size: 999 against 64",)
    tiled = run(settings={"posterior": "sample", "protocol": "eq-vae", "tiling": 64}, vae={"dtype": "float16"})
    found = differing_fields(replace(run(vae={"dtype": "bfloat16"}), settings={}), replace(tiled, settings={}))
    assert found == ("settings.dtype: bfloat16 against float16",)
    found = differing_fields(replace(run(), settings={}), tiled)
    assert [text.partition(":")[0] for text in found] == [
        f"settings.{name}" for name in ("tiling", "posterior", "protocol")
    ]


def test_what_old_results_lack_is_as_not_asked_for() -> None:
    old = replace(run(), settings={"posterior": "mode", "seed": 0, "dtype": "float32"})
    assert differing_fields(old, run(settings={"metric_weights": {"alexnet": "ab"}})) == ()


def test_a_score_has_no_model_to_differ() -> None:
    score = replace(run(kind="score"), vae=None, settings={"posterior": "mode", "protocol": None})
    assert differing_fields(score, run(settings={"tiling": 64})) == ()


def test_names_of_the_same_pictures_are_the_same() -> None:
    a = by_picture({"psnr_db": [1.0, 2.0]})
    renamed = replace(a, per_image=replace(a.per_image, ids=("000.png", "x.png")))
    assert differing_ids(a, renamed) == ["names of the pictures: 001.png is in one alone"]
    assert differing_ids(a, a) == differing_ids(a, run()) == []
    assert differing_ids(a, replace(renamed, data=replace(a.data, fingerprint="00" * 32))) == []


def test_every_difference_is_named_at_once() -> None:
    found = differing_fields(run(), run(data={"size": 128}, settings={"posterior": "sample", "seed": 1}))
    assert [text.partition(":")[0] for text in found] == ["data.size", "settings.posterior"]


def test_a_measure_of_another_definition_or_other_weights_is_told_where_it_is_asked_for() -> None:
    a = run(measure("rfid", 1.0, status="unreliable", reason=OWN.format("aa" * 32)))
    b = run(measure("rfid", 2.0, status="unreliable", reason="few pictures; " + OWN.format("bb" * 32)))
    c = run(measure("rfid", 2.0))
    assert differing_fields(a, b) == ()
    assert differing_fields(a, b, ["rfid"]) == ("weights of rfid: aaaaaaaaaaaa against bbbbbbbbbbbb",)
    assert differing_fields(a, c, ["rfid"]) == ("weights of rfid: aaaaaaaaaaaa against the published ones",)
    assert differing_fields(c, run(measure("rfid", None, status="unavailable")), ["rfid", "kid"]) == ()


def test_a_bench_has_no_pictures_to_differ() -> None:
    assert differing_fields(run(), run(kind="bench", data={"fingerprint": "", "count": 99})) == ()


def test_vaes_without_a_hash_are_told_by_their_names() -> None:
    assert differing_vaes(run(vae={"sha256": None}), run(vae={"sha256": None, "ref": "x"})) == (
        "vae.ref: kl-f8-tiny against x",
    )
