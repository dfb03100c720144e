"""Limits, the keeper of pictures, the subject of probes, and the order of findings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.probes.round_trips import lossless, scenes, subject_of
from vaecheck.errors import InputError
from vaecheck.images.synthetic import greys
from vaecheck.metrics.protocol import Batch
from vaecheck.probes import catalogue
from vaecheck.probes.causes import DEEP, LOOKS, ordered
from vaecheck.probes.protocol import FARTHEST, Keeper, Limit, ModelRefused, finite, info, unavailable
from vaecheck.results.types import Finding


class Named:
    """As much of a probe as a limit needs."""

    id = "blur"
    limit = Limit((None, 2.0), (None, 4.0), "px", "why")
    remedy = "Mend it."


BOTH = Limit((0.8, 1.25), (0.5, 2.0), "std", "why")


@pytest.mark.parametrize(
    ("value", "severity", "limit", "past"),
    [
        (1.0, "healthy", 1.25, 1 / 1.25 - 1),
        (0.9, "healthy", 0.8, 0.8 / 0.9 - 1),
        (1.5, "warning", 1.25, 0.2),
        (0.6, "warning", 0.8, 0.8 / 0.6 - 1),
        (3.0, "fault", 2.0, 0.5),
        (0.25, "fault", 0.5, 1.0),
        (0.0, "fault", 0.5, FARTHEST),
        (-1.0, "fault", 0.5, FARTHEST),
        (1e300, "fault", 2.0, FARTHEST),
    ],
)
def test_a_limit_with_two_sides(value: float, severity: str, limit: float, past: float) -> None:
    finding = BOTH.finding(Named(), value, "said")
    assert (finding.severity, finding.limit) == (severity, limit)
    assert finding.past_limit == pytest.approx(past)
    assert finding.remedy == ("" if severity == "healthy" else "Mend it.")


def test_at_the_limit_is_healthy() -> None:
    assert BOTH.severity(1.25) == BOTH.severity(0.8) == "healthy"


@pytest.mark.parametrize(
    ("limit", "value", "past"),
    [
        (Limit(None, (None, 0.0), "", ""), 0.25, 0.25),
        (Limit(None, (None, 0.0), "", ""), 0.0, 0.0),
        (Limit(None, (-2.0, None), "", ""), -3.0, 0.5),
        (Limit((None, 1.0), None, "", ""), -5.0, -6.0),
    ],
)
def test_limits_that_are_not_positive_count_the_distance(limit: Limit, value: float, past: float) -> None:
    assert limit.finding(Named(), value, "").past_limit == pytest.approx(past)


def test_past_grows_as_a_figure_falls_to_zero() -> None:
    limit = Limit(None, (0.1, None), "", "")
    pasts = [limit.finding(Named(), value, "").past_limit for value in (0.2, 0.1, 0.05, 1e-9, 0.0)]
    assert pasts == sorted(pasts)


def test_the_gravest_can_be_held_at_a_warning() -> None:
    finding = Named.limit.finding(Named(), 9.0, "", most="warning")
    assert (finding.severity, finding.limit) == ("warning", 2.0)


def test_a_limit_without_a_fault_gives_warnings() -> None:
    assert Limit((None, 1.0), None, "", "").severity(99.0) == "warning"


def test_an_own_remedy_goes_before_the_probes() -> None:
    assert Named.limit.finding(Named(), 9.0, "", remedy="Other.").remedy == "Other."


def test_unavailable_and_finite() -> None:
    finding = unavailable(Named(), "Why.", "What.")
    assert (finding.severity, finding.value, finding.limit, finding.evidence) == ("unavailable", None, None, "Why.")
    assert (finite(1.5), finite(float("nan")), finite(float("inf"))) == (1.5, None, None)


def walk(ids: list[str], keeper: Keeper, size: int) -> None:
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        pixels = torch.tensor([float(name) for name in part])[:, None, None, None].expand(-1, 3, 4, 4)
        keeper.update(Batch(tuple(part), pixels, pixels=pixels))


def test_keeper_keeps_the_same_whatever_the_order_and_the_batches() -> None:
    ids = [f"{index}" for index in range(40)]
    one, other = Keeper(0), Keeper(0)
    walk(ids, one, 7)
    walk(ids[::-1], other, 3)
    assert [kept.id for kept in one.pictures()] == [kept.id for kept in other.pictures()]
    assert len(one.pictures()) == 8
    for kept in one.pictures():
        assert float(kept.pixels[0, 0, 0]) == float(kept.id)


def test_keeper_follows_the_seed_and_is_no_mere_beginning() -> None:
    ids = [f"{index}" for index in range(200)]
    kept = []
    for seed in (0, 1):
        keeper = Keeper(seed)
        walk(ids, keeper, 50)
        kept.append({picture.id for picture in keeper.pictures()})
    assert kept[0] != kept[1]
    assert any(int(name) > 100 for name in kept[0])


def test_keeper_of_few_keeps_all_and_copies() -> None:
    pixels = torch.zeros(2, 3, 4, 4)
    keeper = Keeper(0)
    keeper.update(Batch(("b", "a"), pixels, pixels=pixels))
    pixels += 1
    assert [kept.id for kept in keeper.pictures()] == ["a", "b"]
    assert float(keeper.pictures()[0].pixels.max()) == 0.0


def test_subject_round_trip_and_card_sides() -> None:
    pictures = scenes(3)
    subject = subject_of(lossless(lambda pixels: 0.5 * pixels), pictures)
    torch.testing.assert_close(subject.round_trip(pictures), 0.5 * pictures)
    assert (subject.card_side, subject.image_channels) == (128, 3)
    assert subject_of(lossless(f=32), pictures).card_side == 256
    assert subject_of(lossless(f=24), pictures).card_side == 192
    assert subject_of(lossless(fixed_size=96), pictures).card_side == 96


def test_a_card_goes_through_once() -> None:
    passes = []

    def counted(pixels: Tensor) -> Tensor:
        passes.append(tuple(pixels.shape))
        return pixels

    subject = subject_of(lossless(counted), scenes(1))
    passes.clear()
    first, again = subject.back(greys(128)), subject.back(greys(128))
    assert first is again
    assert len(passes) == 1
    subject.back(greys(64))
    assert len(passes) == 2


def test_stacked_takes_the_commonest_size_in_whole_latents() -> None:
    subject = subject_of(lossless(), scenes(2))
    sizes = [(70, 64), (64, 64), (66, 65), (40, 64), (5, 64)]
    subject.pictures = tuple(
        type(subject.pictures[0])(f"{index}", torch.full((3, *size), float(index))) for index, size in enumerate(sizes)
    )
    stacked = subject.stacked()
    assert stacked.shape == (3, 3, 64, 64)
    assert stacked[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_stacked_of_nothing_is_refused() -> None:
    subject = subject_of(lossless(), scenes(1, side=4))
    with pytest.raises(ModelRefused, match="at least 8 pixels"):
        subject.stacked()


def test_a_models_own_error_is_a_refusal() -> None:
    def fail(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != 64:
            raise KeyError("layer 3")
        return pixels

    subject = subject_of(lossless(fail), scenes(1))
    with pytest.raises(ModelRefused, match="KeyError") as refused:
        subject.round_trip(scenes(1, side=128))
    assert isinstance(refused.value.__cause__, KeyError)


def test_a_wrong_shape_is_a_refusal_with_the_shapes() -> None:
    subject = subject_of(lossless(lambda pixels: pixels[..., :64]), scenes(1))
    with pytest.raises(ModelRefused, match="expected") as refused:
        subject.round_trip(scenes(1, side=128))
    assert isinstance(refused.value.__cause__, InputError)


def finding(name: str, severity: str, past: float = 0.0) -> Finding:
    return Finding(name, severity, 1.0, 1.0, "", "", past_limit=past)


def told(*findings: Finding) -> list[tuple[str, str, str]]:
    return [(one.id, one.severity, one.follows_from) for one in ordered(findings)]


def test_findings_are_ordered_by_severity_and_by_how_far() -> None:
    shuffled = (
        *(finding("off_size", "unavailable"), finding("blur", "healthy", -0.5), finding("text_loss", "warning", 0.1)),
        *(
            finding("latent_scale", "fault", 0.2),
            finding("face_loss", "warning", 3.0),
            finding("tiling_seams", "fault", 2.0),
        ),
    )
    assert [name for name, _, _ in told(*shuffled)] == [
        *("tiling_seams", "latent_scale", "face_loss", "text_loss", "blur", "off_size")
    ]


def test_what_follows_from_a_fault_is_told_so_even_when_it_is_farther_past() -> None:
    assert told(finding("contrast_shift", "fault", 9.0), finding("constant_output", "fault", 1.0)) == [
        ("constant_output", "fault", ""),
        ("contrast_shift", "info", "constant_output"),
    ]


def test_a_warning_explains_nothing() -> None:
    assert told(finding("constant_output", "warning", 1.0), finding("contrast_shift", "fault", 2.0)) == [
        ("contrast_shift", "fault", ""),
        ("constant_output", "warning", ""),
    ]


def test_healthy_and_unavailable_findings_stay_as_they_are() -> None:
    some = replace(finding("non_finite", "fault", 1.0), value=0.5)
    assert told(some, finding("blur", "healthy"), finding("text_loss", "unavailable")) == [
        ("non_finite", "fault", ""),
        ("blur", "healthy", ""),
        ("text_loss", "unavailable", ""),
    ]


def test_where_nothing_comes_back_nothing_is_called_healthy() -> None:
    every = replace(finding("non_finite", "fault", 1.0), value=1.0)
    blind, aside = ordered([every, finding("blur", "healthy"), finding("latent_scale", "healthy")])[1:]
    assert (blind.severity, blind.value, blind.follows_from) == ("unavailable", None, "non_finite")
    assert (aside.id, aside.severity) == ("latent_scale", "unavailable")
    constant = replace(finding("constant_output", "fault", 1.0), value=0.0, figures={"over_pictures": 0.9})
    assert told(constant, finding("blur", "healthy"))[1] == ("blur", "healthy", "")


def test_of_two_that_explain_each_other_the_farther_leads() -> None:
    assert "detail_loss" in LOOKS["blur"]
    assert "blur" in LOOKS["detail_loss"]
    for blur, detail in ((3.0, 1.0), (1.0, 3.0)):
        found = told(finding("blur", "fault", blur), finding("detail_loss", "fault", detail))
        leader = "blur" if blur > detail else "detail_loss"
        assert found[0] == (leader, "fault", "")
        assert found[1][1:] == ("info", leader)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_whatever_faults_there_are_one_is_left_and_it_explains_the_rest(count: int) -> None:
    names = [*DEEP, *LOOKS, "text_loss", "latent_scale"]
    for some in itertools.combinations(names, count):
        for order in itertools.permutations(range(count)):
            found = ordered(finding(name, "fault", float(past)) for name, past in zip(some, order, strict=True))
            faults = {one.id for one in found if one.severity == "fault"}
            assert faults
            assert {one.follows_from for one in found if one.severity == "info"} <= faults


def test_a_small_fault_of_looks_hides_no_great_one() -> None:
    found = told(finding("checkerboard", "fault", 0.3), finding("noise_artifacts", "fault", 9.0))
    assert found == [("noise_artifacts", "fault", ""), ("checkerboard", "fault", "")]
    assert told(finding("text_loss", "fault", 9.0), finding("blur", "fault", 0.3))[1] == ("text_loss", "info", "blur")


def test_every_name_in_the_tables_is_a_probe() -> None:
    for table in (DEEP, LOOKS):
        assert set(table) | {name for names in table.values() for name in names} <= set(catalogue.HOMES)
        assert all(cause not in table[cause] for cause in table)


def test_info_keeps_its_figure() -> None:
    told_so = info(finding("blur", "fault", 2.0), "checkerboard")
    assert (told_so.severity, told_so.follows_from, told_so.value) == ("info", "checkerboard", 1.0)


def test_unknown_probe_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        catalogue.check_ids(["blurr"])
    assert "blur" in error.value.hint
    assert catalogue.check_ids(["off_size", "blur", "off_size"]) == ("blur", "off_size")


def test_faces_that_melt_lead_where_they_are_farthest_past_their_limit() -> None:
    """Their error is beside that of the same model elsewhere, which lost detail in the whole picture leaves alone."""
    assert told(finding("detail_loss", "fault", 0.04), finding("face_loss", "fault", 1.8)) == [
        ("face_loss", "fault", ""),
        ("detail_loss", "info", "face_loss"),
    ]
    assert told(finding("detail_loss", "fault", 4.3), finding("face_loss", "fault", 0.2)) == [
        ("detail_loss", "fault", ""),
        ("face_loss", "info", "detail_loss"),
    ]
