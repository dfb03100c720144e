"""REF -> VAE: an alias, a hub id, a diffusers folder, a single file, or a factory."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import replace
from pathlib import Path

import torch

from vaecheck.errors import InputError, SetupError
from vaecheck.results.types import GIVEN, LatentScaling
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.aliases import ALIASES, BUNDLED
from vaecheck.vae.from_checkpoint import SCALING_UNKNOWN, from_checkpoint
from vaecheck.vae.from_diffusers import built_in, choose_weights, from_diffusers, vae_folder
from vaecheck.vae.from_factory import from_factory
from vaecheck.vae.hub import SINGLE_FILES, HubId, file_of, folder_of
from vaecheck.vae.scaling import CONFIG

BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "kl-f8-tiny"
FACTORY = re.compile(r"(?P<where>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<factory>[A-Za-z_]\w*)")
FORMS = (
    "A VAE is an alias (vaecheck vaes), owner/name on the hub, a diffusers folder, a weight file, or FILE.py:FACTORY."
)
UNPACKED = "Download and unpack it, then give the file: --vae model.ckpt"


def load_vae(
    ref: str,
    *,
    offline: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    scaling_factor: float | None = None,
    shift_factor: float | None = None,
) -> LoadedVAE:
    """The VAE that `ref` names, on `device`, computing in `dtype`, in eval mode, its f and channels probed.

    scaling_factor, shift_factor: instead of those shipped with it.
    Raises InputError for a REF that leads nowhere or to something that is no VAE of pictures; SetupError when it is
    not here and cannot be fetched.
    """
    if scaling_factor is not None and not (math.isfinite(scaling_factor) and scaling_factor):
        raise InputError(f"a scaling factor of {scaling_factor} scales nothing", hint="Give a finite number, not 0.")
    if shift_factor is not None and not math.isfinite(shift_factor):
        raise InputError(f"a shift factor of {shift_factor} shifts to nowhere", hint="Give a finite number.")
    model = adapted(ref, offline=offline)
    if scaling_factor is not None or shift_factor is not None:
        model = _settled(model, _given(ref, model.scaling, scaling_factor, shift_factor))
    return LoadedVAE(ref, model, device, dtype)


def _given(ref: str, shipped: LatentScaling, factor: float | None, shift: float | None) -> LatentScaling:
    if factor is None and shipped.channel_stds is not None:
        raise InputError(
            f"{ref} ships a mean and std for each channel, which a shift alone cannot join",
            hint="Give --scaling-factor too, to judge both instead of what is shipped.",
        )
    shift = shipped.shift_factor if shift is None else shift
    if factor is None:
        return LatentScaling(shipped.scaling_factor, shift, source=GIVEN, unusable=shipped.unusable)
    return LatentScaling(factor, shift, source=GIVEN)


def adapted(ref: str, *, offline: bool = False) -> Adapted:
    """The model that `ref` names, in float32, not probed. Raises as `load_vae` does."""
    if ref in ALIASES:
        return _from_alias(ref, offline)
    if not ref.strip():
        raise InputError("the REF of the VAE is empty", hint=FORMS)
    path = Path(ref).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.exists():
        return _from_file(path)
    if match := FACTORY.fullmatch(ref):
        return from_factory(match["where"], match["factory"])
    hub_id = HubId.parse(ref)
    if hub_id is None or _is_path(ref):
        raise _leads_nowhere(ref)
    return _from_hub(hub_id, offline)


def _from_hub(hub_id: HubId, offline: bool) -> Adapted:
    if hub_id.file:
        return from_checkpoint(file_of(hub_id, offline=offline))
    return from_diffusers(folder_of(hub_id, offline=offline))


def _from_folder(folder: Path) -> Adapted:
    """A diffusers folder; or one with a single weight file, which is what people download without its config."""
    if not any((candidate / CONFIG).is_file() for candidate in (folder, folder / "vae")):
        files = sorted(path for path in folder.iterdir() if path.suffix in SINGLE_FILES and path.is_file())
        if len(files) == 1:
            return from_checkpoint(files[0])
        if files:
            raise InputError(
                f"{folder} has {len(files)} weight files and no {CONFIG}: {', '.join(path.name for path in files[:5])}",
                hint=f"Name the VAE's: {files[0]}",
            )
    return from_diffusers(vae_folder(folder))


def _from_file(path: Path) -> Adapted:
    """A weight file by its content; the one that its own diffusers folder would load, with that folder's config."""
    if path.suffix == ".py":
        raise InputError(f"{path} is a file of factories", hint=f"Say which: {path}:FACTORY")
    if (path.parent / CONFIG).is_file():
        weights = choose_weights(file.name for file in path.parent.iterdir())
        if weights and weights.names == (path.name,):
            return from_diffusers(path.parent)
    return from_checkpoint(path)


def _from_alias(name: str, offline: bool) -> Adapted:
    alias = ALIASES[name]
    if alias.target == BUNDLED:
        if not BUNDLED_FOLDER.is_dir():
            raise SetupError(f"{name} is not in this installation", hint="Install vaecheck again.")
        return built_in(BUNDLED_FOLDER)
    hub_id = HubId.parse(alias.target)
    if hub_id is None:
        raise SetupError(f"{name} is on no hub: its authors publish it at {alias.target}", hint=UNPACKED)
    found = _from_hub(hub_id, offline)
    if not found.scaling.known and alias.scaling_factor is not None:
        return _settled(found, LatentScaling(alias.scaling_factor, source="the publisher's own config"))
    return found


def _settled(model: Adapted, scaling: LatentScaling) -> Adapted:
    warnings = model.warnings
    if scaling.known:
        warnings = tuple(warning for warning in warnings if not warning.startswith(SCALING_UNKNOWN))
    if scaling.scaling_factor is not None and scaling.scaling_factor < 0:
        warnings += (f"a scaling factor of {scaling.scaling_factor:g} flips the sign of the latents",)
    return replace(model, scaling=scaling, warnings=warnings)


def _is_path(ref: str) -> bool:
    """Whether a name with one slash is plainly a path: it begins or ends like one."""
    inside_repository = ":" in ref
    ends = ref.endswith(("/", ".py", *(() if inside_repository else SINGLE_FILES)))
    return ref.startswith((".", "/", "~")) or "\\" in ref or ends


def _leads_nowhere(ref: str) -> InputError:
    if _is_path(ref) or "/" in ref:
        return InputError(f"{ref} does not exist", hint=f"Paths count from {Path.cwd()}. {FORMS}")
    close = difflib.get_close_matches(ref.lower(), ALIASES, n=2)
    hint = f"Did you mean {' or '.join(close)}?" if close else FORMS
    return InputError(f"{ref!r} is no alias, folder or hub id", hint=hint)
