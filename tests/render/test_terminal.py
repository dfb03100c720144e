"""What a person reads: everything is there at every width, nothing is cut, nothing is taken as markup."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.render import diagnoses
from vaecheck.render.markdown import to_markdown
from vaecheck.render.page import to_page
from vaecheck.render.terminal import show
from vaecheck.results.types import LatentScaling, Result, SkippedImage, UNetCost


def shown_as(result: Result, width: int, encoding: str = "utf-8", out: Path | None = None) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    show(result, Console(file=file, width=width), out)
    file.flush()
    return raw.getvalue().decode(encoding)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [50, 60, 80, 132, 200])
def test_every_figure_reason_and_warning_is_there_and_whole(result: Result, width: int) -> None:
    text = shown_as(result, width)
    flat = unwrapped(text)
    for measure in result.measures.values():
        assert unwrapped(measure.reason) in flat
    assert "23.79 to 24.84" in flat
    assert all(name in text for name in result.measures)
    for figure in ("24.31 dB", "24.84", "20.91", "22.21", "12,350 nats", "1.24 GiB", "1.35 TFLOPs", "1,024"):
        assert figure in flat
    assert "unavailable" in flat
    assert "beware of [/red] <b>bold</b>" in flat
    assert "[/red], 256 px (crop), on cpu" in flat
    assert "…" not in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width


def test_at_80_columns_rows_are_not_wrapped_and_words_stand_below(result: Result) -> None:
    lines = shown_as(result, 80).splitlines()
    row = next(line for line in lines if line.startswith("psnr_db "))
    assert row.split() == ["psnr_db", "24.31", "dB", "23.79", "to", "24.84", "↑", "20.91", "22.21", "99"]
    assert "  psnr_db: +2.1 dB above a linear codec of the same size" in lines
    assert any(line.startswith("fd_efficientnet_lite0 ") for line in lines)


def test_at_200_columns_the_verdict_is_a_column(result: Result) -> None:
    lines = shown_as(result, 200).splitlines()
    row = next(line for line in lines if line.startswith("psnr_db "))
    assert row.rstrip().endswith("99  +2.1 dB above a linear codec of the same size")


def test_this_vae_is_marked_among_the_latent_costs(result: Result) -> None:
    lines = [line.split() for line in shown_as(result, 80).splitlines()]
    assert ["f8", "4", "×", "32", "×", "32", "1,024", "204", "GFLOPs", "<-", "this", "VAE"] in lines
    assert sum("<-" in line for line in lines) == 1


def test_an_ascii_pipe_gets_ascii(result: Result) -> None:
    skipped = (SkippedImage("写真.png", "broken"),)
    text = shown_as(replace(result, data=replace(result.data, skipped=skipped)), 80, "ascii")
    assert r"\u5199\u771f.png: broken" in text
    assert "4 x 32 x 32" in text
    assert "higher" in text


def test_nasty_ids_are_shown_as_they_are_and_never_obeyed(result: Result, nasty_ids: tuple[str, ...]) -> None:
    skipped = tuple(SkippedImage(image_id, "is broken") for image_id in nasty_ids[:4])
    text = shown_as(replace(result, data=replace(result.data, skipped=skipped)), 120)
    assert "broken [/red].png: is broken" in text
    assert r"line\nbreak\x1b[31m.png: is broken" in text
    assert "\x1b" not in text


def test_many_skipped_pictures_are_counted_not_listed(result: Result) -> None:
    skipped = tuple(SkippedImage(f"{i}.png", "is broken") for i in range(1200))
    text = shown_as(replace(result, data=replace(result.data, skipped=skipped)), 80)
    assert "1,200 pictures skipped" in text
    assert "and 1,195 more, in result.json" in text


def test_no_color_is_respected_and_a_terminal_has_colour(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def coloured() -> bool:
        file = io.StringIO()
        show(result, Console(file=file, force_terminal=True, width=100, color_system="standard"))
        return "\x1b[33m" in file.getvalue() or "\x1b[1;32m" in file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured()


def test_skipped_pictures_are_said_once(result: Result) -> None:
    text = shown_as(result, 80)
    assert "1 picture skipped:" in text
    assert "was skipped" not in text
    assert "1 picture was skipped: and why" in shown_as(replace(result, data=replace(result.data, skipped=())), 80)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_ends_in_spaces(result: Result, width: int, scaled: Callable[[int], Result]) -> None:
    for shown in (result, scaled(16)):
        lines = shown_as(shown, width, out=Path("out")).splitlines()
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [50, 64, 80, 100])
def test_a_command_in_a_remedy_can_be_copied(result: Result, width: int) -> None:
    assert any("vaecheck weights fetch lpips_alex" in line for line in shown_as(result, width).splitlines())


def test_the_plain_case_has_a_plain_head(result: Result) -> None:
    head = shown_as(result, 200).split("\n\n")[0].splitlines()
    assert head == [
        "Reconstruction",
        "kl-f8-tiny (KLAutoencoder): f8, 4 latent channels, scaling factor 1.0774, 2,345,678 parameters, float32",
        "100 pictures from ../photos/val [/red], 256 px (crop), on cpu",
    ]


def test_costs_of_padded_latents_are_said_to_be(result: Result) -> None:
    assert "padded to the next multiple" not in shown_as(result, 200)
    small = replace(result, unet_cost=(UNetCost(16, (4, 4, 4), 16, 2.37e9, True),))
    for text in (shown_as(small, 200), to_markdown(small), to_page(small)):
        assert "FLOPs of f16 are of latents padded to the next multiple of 8" in text


def test_a_fit_of_a_protocol_is_said_in_words(result: Result) -> None:
    odd = replace(result, data=replace(result.data, fit="tensor_bilinear"), settings={"protocol": "lightningdit"})
    assert "tensor_bilinear" not in shown_as(odd, 300).split("\n\n")[0]
    assert "(bilinear with antialias on the float tensor" in shown_as(odd, 300)


def test_the_head_says_what_is_not_plain(result: Result) -> None:
    assert result.vae is not None
    means = LatentScaling(None, None, (0.1,) * 16, (2.0,) * 16, source="config.json")
    vae = replace(result.vae, scaling=means, image_channels=1, codebook_size=16_384, recognised="an LDM checkpoint")
    odd = replace(result, vae=vae, data=replace(result.data, data_range=65_535), settings={"protocol": "llamagen"})
    head = shown_as(odd, 200).split("\n\n")[0].splitlines()
    assert head[1].startswith(
        "kl-f8-tiny (KLAutoencoder): f8, 4 latent channels, pictures of 1 channel, codebook of 16,384,"
    )
    assert head[2] == "Recognised: an LDM checkpoint"
    assert head[3] == "Scaling as shipped: (z - mean) / std of each of 16 channels (config.json)"
    assert head[4] == (
        "100 pictures from ../photos/val [/red], 256 px (crop, protocol llamagen), data range 65,535, on cpu"
    )


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        (LatentScaling(), "unknown"),
        (LatentScaling(0.3611, 0.1159, source="config.json"), "(z - 0.1159) × 0.3611 (config.json)"),
        (LatentScaling(2.0, None, (0.0,), (1.0,)), "(z - mean) / std of each of 1 channel, × 2"),
        (
            LatentScaling(None, None, (0.0,) * 128, (1.0,) * 128, patch=2),
            "(z - mean) / std of each of 128 channels, of 2 × 2 positions folded into channels",
        ),
    ],
)
def test_the_shipped_scaling_in_words(result: Result, scaling: LatentScaling, words: str) -> None:
    assert result.vae is not None
    text = shown_as(replace(result, vae=replace(result.vae, scaling=scaling)), 200)
    assert f"Scaling as shipped: {words}\n" in text


def test_written_files_are_named(result: Result) -> None:
    text = shown_as(replace(result, artifacts={"grid": "grid.png"}), 80, out=Path("runs") / "a")
    assert str(Path("runs") / "a" / "grid.png") in text


@pytest.mark.parametrize("channels", [1, 4, 16, 32, 128])
@pytest.mark.parametrize("width", [80, 200])
def test_every_channel_is_shown(scaled: Callable[[int], Result], channels: int, width: int) -> None:
    text = shown_as(scaled(channels), width)
    block = text.split("Per channel, raw latents\n")[1].split("\n\n")[0].splitlines()[2:]
    numbers = [float(word) for line in block for word in line.split()]
    rows = sorted(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True))
    assert [row[0] for row in rows] == list(range(channels))
    assert rows[-1][1:] == pytest.approx((-0.1 + 0.01 * (channels - 1), 0.9 + 0.011 * (channels - 1)), abs=5e-4)
    assert len(block) <= max(8, -(-channels // (width // 34)))


def test_snippets_can_be_copied(scaled: Callable[[int], Result]) -> None:
    result = scaled(128)
    assert result.scaling is not None
    lines = shown_as(result, 80).splitlines()
    for code in result.scaling.snippets.values():
        start = lines.index(code.splitlines()[0])
        assert lines[start : start + len(code.splitlines())] == code.splitlines()


def test_scaling_summary_holds_the_recommendation(scaled: Callable[[int], Result]) -> None:
    flat = unwrapped(shown_as(scaled(4), 80))
    assert "1.077 (95 % interval 1.047 to 1.110)" in flat
    assert "images 8, std 0.871, scaling factor 1.148" in flat
    assert "scaling factor 0.18215, std after 0.16906: wrong" in flat


def test_a_score_without_a_vae_and_a_bench_are_shown(result: Result) -> None:
    score = replace(result, kind="score", vae=None, yardsticks=(), unet_cost=())
    text = shown_as(score, 80)
    assert "24.31 dB" in text
    assert "bicubic" not in text
    bench = replace(score, kind="bench", vae=result.vae)
    assert "Encodes 41.2 images/s" in shown_as(bench, 80)


@pytest.mark.parametrize("width", [50, 80, 132, 200])
def test_a_diagnosis_is_whole_at_every_width(diagnosed: Result, width: int) -> None:
    text = shown_as(diagnosed, width, out=Path("out"))
    flat = unwrapped(text)
    assert max(map(len, text.splitlines())) <= width
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "\x1b" not in text
    for finding in diagnosed.findings:
        assert finding.id in flat
        if finding.severity != "healthy":
            assert unwrapped(finding.evidence.replace("\x1b", "\\x1b")) in flat
            assert unwrapped(finding.remedy) in flat
    assert flat.count("Limit from:") == 4
    assert (
        "FAULT checkerboard: Checkerboard of the upsampling 9.31 times the neighbouring frequencies, limit: at most 2 "
        in flat
    )
    assert "INFO text_loss: Loss of small text 12.5 dB, limit: at least 15 Follows from checkerboard;" in flat
    order = ["2 faults: checkerboard", "FAULT check", "FAULT contrast", "WARNING blur", "INFO text", "Healthy (13)"]
    places = [flat.index(words) for words in [*order, "Not measured (1)"]]
    assert places == sorted(places)


def test_the_healthy_are_a_compact_table(diagnosed: Result) -> None:
    lines = [line.split() for line in shown_as(diagnosed, 80).splitlines()]
    assert ["colour_shift", "0.004", "≤", "0.25", "share", "of", "it"] in lines
    assert ["posterior_collapse", "0.008", "≤", "0.25", "share", "of", "it"] in lines


def test_a_fault_names_the_files_that_show_it(diagnosed: Result) -> None:
    drawn = {"plot:blur:a": "plots/a.png", "panel:blur:b": "panels/b.png", "result": "result.json"}
    text = shown_as(replace(diagnosed, artifacts=drawn), 80, out=Path("runs"))
    assert f"  See {Path('runs/plots/a.png')}\n  See {Path('runs/panels/b.png')}\n" in text
    assert text.endswith(
        f"Written\n  {Path('runs/result.json')}\n  {Path('runs/plots')} (1 picture)\n"
        f"  {Path('runs/panels')} (1 picture)\n"
    )


def test_a_diagnosis_in_ascii(diagnosed: Result) -> None:
    text = shown_as(diagnosed, 80, "ascii")
    assert "FAULT checkerboard" in text
    assert "<= 0.25" in text


@pytest.mark.parametrize("width", [50, 80, 132, 200])
@pytest.mark.parametrize("channels", [1, 4, 32])
def test_latents_are_whole_at_every_width(of_latents: Callable[[int], Result], width: int, channels: int) -> None:
    result = of_latents(max(2, channels))
    result = replace(result, channels=result.channels[:channels])
    text = shown_as(result, width)
    flat = unwrapped(text)
    assert max(map(len, text.splitlines())) <= width
    for measure in result.measures.values():
        assert measure.name in flat
        assert unwrapped(measure.reason) in flat
        if measure.value is not None:
            assert unwrapped(measure.evidence) in flat
    order = ["Predict generation quality", "Describe the latents", "Evidence", "Per channel", "Notes"]
    places = [flat.index(words) for words in order]
    assert places == sorted(places)
    assert "no figure may be set beside that of latents of another shape" in flat


def test_channels_are_a_table_where_one_fits(of_latents: Callable[[int], Result]) -> None:
    lines = [line.split() for line in shown_as(of_latents(32), 80).splitlines()]
    assert ["channel", "mean", "std", "skew", "kurtosis", "snr", "dB", "share", "active"] in lines
    assert ["31", "0.3100", "1.241", "-0.1000", "3.100", "10", "1.00e-05", "1"] in lines
    narrow = shown_as(of_latents(32), 50)
    assert ["31", "0.3100", "1.241", "-0.1000", "3.100"] in [line.split() for line in narrow.splitlines()]
    assert ["31", "10", "1.00e-05", "1"] in [line.split() for line in narrow.splitlines()]
    assert "28 more channels in result.json" in unwrapped(narrow)


def test_channels_with_many_figures_lie_on_their_side(of_latents: Callable[[int], Result]) -> None:
    result = of_latents(4)
    many = tuple({**one, **{f"autocorrelation_{i}": i / 7 for i in range(9)}} for one in result.channels)
    lines = [line.split() for line in shown_as(replace(result, channels=many), 80).splitlines()]
    assert ["channel", "0", "1", "2", "3"] in lines
    assert ["posterior", "snr", "dB", "41", "40", "39", "38"] in lines
    assert ["kurtosis", "3.100", "-", "3.100", "3.100"] in lines


def test_titles_and_findings_of_another_version_are_shown(diagnosed: Result) -> None:
    strange = replace(diagnosed.findings[0], id="of_[tomorrow]", unit="", limit=None)
    flat = unwrapped(shown_as(replace(diagnosed, findings=(strange,)), 80))
    assert "FAULT of_[tomorrow]: of [tomorrow] 9.31 Of 16 pictures" in flat
    assert diagnoses.LIMIT_SOURCE in flat
