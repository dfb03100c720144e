from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.vae.contract import pictures
from vaecheck.errors import InputError
from vaecheck.vae.load import load_vae

Write = Callable[..., Path]
HEAD = """
import torch
import torch.nn.functional as F

class Average:
    def encode(self, pixels):
        return F.avg_pool2d(pixels, 8)

    def decode(self, latents):
        return F.interpolate(latents, scale_factor=8)

def make():
    return Average()
"""


def refused(ref: str, text: str) -> InputError:
    with pytest.raises(InputError, match=text) as caught:
        load_vae(ref)
    assert caught.value.hint
    return caught.value


def test_an_object_without_modules(write_factory: Write) -> None:
    vae = load_vae(f"{write_factory(HEAD)}:make", dtype=torch.bfloat16)
    assert (vae.card.f, vae.card.latent_channels, vae.card.class_name) == (8, 3, "Average")
    assert (vae.card.sha256, vae.card.parameters, vae.card.dtype) == (None, None, "float32")
    assert (vae.card.scaling_factor, vae.card.shift_factor, vae.card.deterministic) == (None, None, True)
    pixels = pictures(2, 32, 16)
    torch.testing.assert_close(vae.encode(pixels).mean, torch.nn.functional.avg_pool2d(pixels, 8))


def test_options_of_modules_are_said_not_to_apply_to_an_object_without_any(write_factory: Write) -> None:
    vae = load_vae(f"{write_factory(HEAD)}:make", dtype=torch.bfloat16)
    vae.configure(slicing=True, channels_last=True, compile=True)
    said = [f"{option} was not applied" for option in ("--dtype bfloat16", "--channels-last", "--compile")]
    assert [warning.split(":")[0] for warning in vae.warnings] == said
    assert (vae.slicing, vae.channels_last, vae.compiled) == (True, False, False)
    assert load_vae(f"{write_factory(HEAD)}:make").warnings == ()


@pytest.mark.parametrize("count", [0, 5])
def test_channels_that_no_picture_has(write_factory: Write, count: int) -> None:
    text = HEAD.replace("class Average:", f"class Average:\n    image_channels = {count}")
    refused(f"{write_factory(text)}:make", f"image_channels of .* is {count}")


def test_weights_decide_the_hash(write_factory: Write) -> None:
    text = """
        import torch
        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 4, 8, 8)
                torch.nn.init.constant_(self.conv.weight, FILL)
                torch.nn.init.zeros_(self.conv.bias)
            def encode(self, pixels):
                return self.conv(pixels)
            def decode(self, latents):
                return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8)
    """
    one, other, same = (
        load_vae(f"{write_factory(text.replace('FILL', fill), name)}:Model").card.sha256
        for fill, name in (("0.5", "a.py"), ("0.25", "b.py"), ("0.5", "c.py"))
    )
    assert one == same != other


def test_factors_of_the_object(write_factory: Write) -> None:
    text = HEAD + "Average.scaling_factor = torch.tensor(0.25)\nAverage.shift_factor = -1\n"
    card = load_vae(f"{write_factory(text)}:make").card
    assert (card.scaling_factor, card.shift_factor) == (0.25, -1.0)


@pytest.mark.parametrize("value", ["'big'", "float('nan')"])
def test_factors_that_are_no_number(write_factory: Write, value: str) -> None:
    refused(f"{write_factory(HEAD + f'Average.scaling_factor = {value}')}:make", "scaling_factor of .*own.py:make")


def test_neighbours_of_two_experiments_do_not_mix(write_factory: Write) -> None:
    for name, factor in (("one", 4), ("two", 16)):
        write_factory(f"FACTOR = {factor}", f"{name}/size.py")
        write_factory(HEAD.replace("8", "size.FACTOR") + "\nimport size\n", f"{name}/own.py")
    folder = write_factory("").parent
    before = list(sys.path)
    vaes = [load_vae(f"{folder / name / 'own.py'}:make") for name in ("one", "two", "one")]
    assert [vae.card.f for vae in vaes] == [4, 16, 4]
    assert vaes[0].encode(pictures(1, 16, 16)).mean.shape == (1, 3, 4, 4)
    assert sys.path == before
    assert "size" not in sys.modules


def test_a_model_that_refuses_small_pictures(write_factory: Write) -> None:
    text = HEAD.replace("return F.avg", "assert pixels.shape[-1] >= 200\n        return F.avg")
    assert load_vae(f"{write_factory(text)}:make").card.f == 8


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("F.avg_pool2d(pixels, 8)", "F.avg_pool2d(pixels, 8)[0]", r"latents of shape \(3, 8, 8\) .* expected \(1, C"),
        ("F.avg_pool2d(pixels, 8)", "F.avg_pool2d(pixels, (8, 4))", r"latents of shape \(1, 3, 8, 16\)"),
        ("F.avg_pool2d(pixels, 8)", "pixels.flatten(1)", r"latents of shape \(1, 12288\)"),
        ("F.avg_pool2d(pixels, 8)", "(pixels, pixels)", "encode of .* returned a tuple of 2"),
        ("F.avg_pool2d(pixels, 8)", "None", "encode of .* returned a NoneType"),
        ("F.avg_pool2d(pixels, 8)", "pixels.long()", r"encode of .* returned torch.int64"),
        ("scale_factor=8)", "scale_factor=4)", r"decode of .* gave shape \(1, 3, 32, 32\); expected \(1, 3, 64, 64\)"),
        ("scale_factor=8)", "scale_factor=8)[:, :1]", r"decode of .* gave shape \(1, 1, 64, 64\)"),
        ("scale_factor=8)", "scale_factor=8).numpy()", "decode of .* returned a ndarray"),
        ("def decode", "def decoder", "Average without a method decode"),
    ],
)
def test_wrong_returns_name_factory_and_shapes(write_factory: Write, old: str, new: str, text: str) -> None:
    error = refused(f"{write_factory(HEAD.replace(old, new))}:make", text)
    assert "own.py:make" in error.message


def test_mean_and_log_var_of_different_shapes(write_factory: Write) -> None:
    text = HEAD.replace("F.avg_pool2d(pixels, 8)", "type('P', (), {'mean': pixels, 'log_var': pixels[:, :1]})()")
    refused(f"{write_factory(text)}:make", r"mean of shape \(1, 3, 64, 64\) and a log_var of \(1, 1, 64, 64\)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("return Average()", "raise KeyError('decoder.conv')"), r"make\(\) raised KeyError: .*own.py:13"),
        (HEAD.replace("return F.avg_pool2d", "return F.nothing"), r"encode raised AttributeError: .*own.py:7"),
        (HEAD.replace("F.avg_pool2d(pixels, 8)", "F.conv2d(pixels, 1)"), r"encode raised TypeError: .*own.py:7"),
        (HEAD.replace("def make()", "def make(path)"), r"make\(\) needs arguments: missing .* 'path'"),
        ("def make(:", r"its import raised SyntaxError: .*own.py:1"),
        ("import not_installed_anywhere", r"its import raised ModuleNotFoundError: .*own.py:1"),
        ("import sys\nsys.exit(3)", r"its import raised SystemExit: 3 \(own.py:2\)"),
    ],
)
def test_errors_of_the_users_code_have_their_place(write_factory: Write, text: str, message: str) -> None:
    error = refused(f"{write_factory(text)}:make", message)
    assert error.__cause__ is not None


def test_running_out_of_memory_passes_through(write_factory: Write) -> None:
    text = HEAD.replace("return F.avg", "if len(pixels) > 1:\n            raise MemoryError\n        return F.avg")
    vae = load_vae(f"{write_factory(text)}:make")
    with pytest.raises(MemoryError):
        vae.encode(pictures(2, 64, 64))


def test_shapes_are_checked_at_every_size(write_factory: Write) -> None:
    text = HEAD.replace("return F.avg", "pixels = F.interpolate(pixels, size=64)\n        return F.avg")
    vae = load_vae(f"{write_factory(text)}:make")
    with pytest.raises(InputError, match=r"gave shape \(1, 3, 8, 8\); expected \(1, 3, 16, 16\)"):
        vae.encode(pictures(1, 128, 128))


@pytest.mark.parametrize(
    ("factory", "hint"), [("mak", "Did you mean make"), ("zzz", "Average, make"), ("torch", "Average, make")]
)
def test_a_name_that_is_no_factory(write_factory: Write, factory: str, hint: str) -> None:
    assert hint in refused(f"{write_factory(HEAD)}:{factory}", factory).hint


def test_places_that_do_not_exist(tmp_path: Path) -> None:
    refused(f"{tmp_path / 'absent.py'}:make", "absent.py does not exist")
    refused("no_such_package.module:make", "no module 'no_such_package.module'")
    refused("json.nothing:make", "no module 'json.nothing'")
