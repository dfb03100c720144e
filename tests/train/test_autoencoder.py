"""What is trained on: our model, diffusers' classes and a user's own; whole, or the decoder alone."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.train.small import MODEL, pictures, recipe, same, state_of, trained, trainee_of
from tests.vae.small_diffusers import saved_diffusers
from vaecheck.errors import InputError
from vaecheck.train.autoencoder import Trainable, built_in, can_be_opened, loaded, save
from vaecheck.vae.adapter import sha256_of_state
from vaecheck.vae.kl_f8 import KLAutoencoder
from vaecheck.vae.load import adapted, load_vae

OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.up = nn.ConvTranspose2d(4, 3, 4, 4)
        self.again = self.up.weight  # tied

    def encode(self, pixels):
        return self.down(pixels)

    def decode(self, latents):
        return self.up(latents)

class Held:
    def __init__(self):
        self.model = Own()
        self.encode, self.decode = self.model.encode, self.model.decode

class Deaf(Own):
    @torch.no_grad()
    def decode(self, latents):
        return self.up(latents)

class Numb(Own):
    @torch.no_grad()
    def encode(self, pixels):
        return self.down(pixels)

class Plain:
    def encode(self, pixels):
        return pixels[:, :, ::4, ::4]
    def decode(self, latents):
        return latents.repeat_interleave(4, 2).repeat_interleave(4, 3)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(textwrap.dedent(OWN))
    return path


def ref_of(kind: str, tmp_path: Path) -> str:
    if kind == "kl-f8-tiny":
        return kind
    if kind in ("Own", "Held"):
        (tmp_path / "own.py").write_text(OWN)
        return f"{tmp_path / 'own.py'}:{kind}"
    return saved_diffusers(kind, tmp_path / kind)


def encoder_of(trainable: Trainable) -> dict[str, torch.Tensor]:
    """Parameters and buffers of the encoder, whatever its class calls it."""
    names = ("encoder.", "quant_conv.", "down.", "0.down.")
    return {name: value for name, value in state_of(trainable.module).items() if name.startswith(names)}


KINDS = ["kl-f8-tiny", "AutoencoderKL", "AutoencoderTiny", "VQModel", "AsymmetricAutoencoderKL", "Own", "Held"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_alone_leaves_the_encoder_bit_for_bit(kind: str, tmp_path: Path) -> None:
    ref = ref_of(kind, tmp_path)
    trainable = loaded(ref, adapted(ref, offline=True), "decoder")
    encoder, whole = encoder_of(trainable), state_of(trainable.module)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before = load_vae(ref, offline=True).encode(pixels).mean
    configured = replace(recipe(2, crop=32, loss={"adversarial": 0.1}), model=None)
    trainee = trainee_of(configured, trainable=trainable)
    trained(trainee, tmp_path / "out")
    assert encoder
    assert same(encoder, encoder_of(trainable))
    after = state_of(trainable.module)
    changed = {name for name in whole if not torch.equal(whole[name], after[name])}
    assert changed
    assert changed <= set(trainable.tuned) | {
        "up.weight",
        "0.up.weight",
    }  # the name of a tied weight is that of its first owner
    module = trainee.averaged()
    if can_be_opened(module):
        opened = load_vae(str(tmp_path / "out"), offline=True)
        assert torch.equal(opened.encode(pixels).mean, before)
    else:
        stored = load_file(tmp_path / "out" / "weights.safetensors")
        assert same(stored, {name: value.contiguous() for name, value in state_of(module).items()})


@pytest.mark.parametrize("kind", ["kl-f8-tiny", "AutoencoderKL", "AutoencoderTiny", "Own"])
def test_the_whole_changes_encoder_and_decoder(kind: str, tmp_path: Path) -> None:
    ref = ref_of(kind, tmp_path)
    trainable = loaded(ref, adapted(ref, offline=True), "whole")
    before = encoder_of(trainable)
    trained(trainee_of(replace(recipe(2), model=None), trainable=trainable), tmp_path / "out")
    after = encoder_of(trainable)
    kernels = [name for name, value in before.items() if value.dim() == 4]
    assert kernels
    assert not any(torch.equal(before[name], after[name]) for name in kernels)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("kl-f8-tiny", "decoder.conv_out"), ("AutoencoderKL", "decoder.conv_out"), ("Own", "up"), ("Held", "0.up")],
)
def test_the_last_layer_is_the_one_that_pixels_come_from(kind: str, name: str, tmp_path: Path) -> None:
    ref = ref_of(kind, tmp_path)
    trainable = loaded(ref, adapted(ref, offline=True), "decoder")
    assert trainable.last_layer is trainable.module.get_submodule(name).weight
    assert not any(module._forward_hooks for module in trainable.module.modules())


def test_the_last_layer_of_a_new_model_is_its_conv_out() -> None:
    trainable = built_in(MODEL)
    assert isinstance(trainable.module, KLAutoencoder)
    assert trainable.last_layer is trainable.module.decoder.conv_out.weight
    named = {name for name, _ in trainable.module.named_parameters()}
    assert set(trainable.of_decoder()) == {n for n in named if n.startswith(("decoder.", "post_quant_conv."))}
    assert set(trainable.tuned) == named


def test_what_cannot_be_trained_is_refused_in_words(own: Path) -> None:
    def load(name: str, part: str) -> Any:
        ref = f"{own}:{name}"
        return loaded(ref, adapted(ref, offline=True), part)

    with pytest.raises(InputError, match="has no torch module"):
        load("Plain", "whole")
    with pytest.raises(InputError, match="no part 'encoder'"):
        load("Own", "encoder")
    for part in ("decoder", "whole"):
        with pytest.raises(InputError, match="cannot be trained"):
            load("Deaf", part)
    assert load("Numb", "decoder").tuned
    with pytest.raises(InputError, match="its encode keeps no gradients"):
        load("Numb", "whole")


def test_a_trained_folder_becomes_one_to_ship(tmp_path: Path) -> None:
    trainee = trainee_of(recipe(2))
    trained(trainee, tmp_path / "trained")
    model = trainee.averaged()
    assert same(state_of(KLAutoencoder.load(tmp_path / "trained")), state_of(model))
    model.with_scaling_factor(0.25).save(tmp_path / "shipped", dtype=torch.float16)
    shipped = KLAutoencoder.load(tmp_path / "shipped")
    assert shipped.config == replace(MODEL, scaling_factor=0.25)
    for name, value in model.state_dict().items():
        assert torch.equal(shipped.state_dict()[name], value.half().float())


def test_a_save_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / ".saving.tmp").mkdir()
    (tmp_path / ".saving.tmp" / "rest").write_text("of a killed save")
    save(nn.Conv2d(1, 1, 1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    assert pictures().fingerprint


def test_going_on_from_other_weights_is_refused(tmp_path: Path) -> None:
    """The same class, shape and recipe; a checkpoint of one start is none of the other."""
    starts = [tmp_path / name for name in ("one", "other")]
    for seed, folder in enumerate(starts):
        torch.manual_seed(seed)
        KLAutoencoder(MODEL).save(folder)

    def trainee(start: Path) -> Any:
        trainable = loaded(str(start), adapted(str(start), offline=True), "decoder")
        return trainee_of(replace(recipe(2), model=None), trainable=trainable)

    trained(trainee(starts[0]), tmp_path / "out")
    assert trained(trainee(starts[0]), tmp_path / "out") == []
    with pytest.raises(InputError, match=r"another training: started_from was [0-9a-f]{64} and is [0-9a-f]{64}"):
        trained(trainee(starts[1]), tmp_path / "out")


@pytest.mark.parametrize("kind", ["kl-f8-tiny", "AutoencoderKL", "Own"])
def test_the_hash_of_a_start_is_that_of_its_card(kind: str, tmp_path: Path) -> None:
    ref = ref_of(kind, tmp_path)
    opened = adapted(ref, offline=True)
    assert loaded(ref, opened, "decoder").sha256 == load_vae(ref, offline=True).card.sha256
    unknown = loaded(ref, replace(opened, sha256=None), "whole")
    assert unknown.sha256 == sha256_of_state(unknown.module)
