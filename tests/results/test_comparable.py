"""Results of other pictures, sizes, dtypes or weights are told apart, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.results.runs import measure, run
from vaecheck.errors import NotComparable
from vaecheck.results.comparable import check_comparable, differing_fields, differing_vaes

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
    ],
)
def test_what_differs_is_named(other: dict[str, Any], told: str) -> None:
    a, b = run(measure("psnr_db", 24.0)), run(measure("psnr_db", 24.0), **other)
    assert differing_fields(a, b) == (told,)
    with pytest.raises(NotComparable, match="old and new cannot be set beside each other") as caught:
        check_comparable(a, b, "old", "new")
    assert told in caught.value.message
    assert caught.value.exit_code == 2


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
