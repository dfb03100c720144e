"""REF -> VAE: an alias, a hub id, a diffusers folder, or a factory."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import replace
from pathlib import Path

import torch

from vaecheck.errors import InputError, SetupError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.aliases import ALIASES, BUNDLED
from vaecheck.vae.from_diffusers import built_in, from_diffusers, vae_folder
from vaecheck.vae.from_factory import from_factory
from vaecheck.vae.hub import HubId, folder_of

BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "kl-f8-tiny"
FACTORY = re.compile(r"(?P<where>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<factory>[A-Za-z_]\w*)")
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
FORMS = "A VAE is an alias (vaecheck vaes), owner/name on the hub, a diffusers folder, or FILE.py:FACTORY."


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
    Raises InputError for a REF that leads nowhere or to something that is no VAE of RGB pictures; SetupError when
    it is not here and cannot be fetched.
    """
    if scaling_factor is not None and not (math.isfinite(scaling_factor) and scaling_factor):
        raise InputError(f"a scaling factor of {scaling_factor} scales nothing", hint="Give a finite number, not 0.")
    adapted = _adapted(ref, offline)
    if scaling_factor is not None or shift_factor is not None:
        shipped = adapted.scaling
        factor = shipped.scaling_factor if scaling_factor is None else scaling_factor
        shift = shipped.shift_factor if shift_factor is None else shift_factor
        adapted = replace(adapted, scaling=LatentScaling(factor, shift, source="given"))
    return LoadedVAE(ref, adapted, device, dtype)


def _adapted(ref: str, offline: bool) -> Adapted:
    if ref in ALIASES:
        return _from_alias(ref, offline)
    if not ref.strip():
        raise InputError("the REF of the VAE is empty", hint=FORMS)
    path = Path(ref).expanduser()
    if path.is_dir():
        return from_diffusers(vae_folder(path))
    if path.exists():
        raise _single_file(ref)
    if match := FACTORY.fullmatch(ref):
        return from_factory(match["where"], match["factory"])
    hub_id = HubId.parse(ref)
    if hub_id is None or _is_path(ref):
        raise _leads_nowhere(ref)
    return from_diffusers(folder_of(hub_id, offline=offline))


def _from_alias(name: str, offline: bool) -> Adapted:
    alias = ALIASES[name]
    if alias.target == BUNDLED:
        if not BUNDLED_FOLDER.is_dir():
            raise SetupError(f"{name} is not in this installation", hint="Install vaecheck again.")
        return built_in(BUNDLED_FOLDER)
    hub_id = HubId.parse(alias.target)
    assert hub_id is not None
    adapted = from_diffusers(folder_of(hub_id, offline=offline))
    if not adapted.scaling.known and alias.scaling_factor is not None:
        return replace(adapted, scaling=LatentScaling(alias.scaling_factor, source="the publisher's own config"))
    return adapted


def _is_path(ref: str) -> bool:
    """Whether a name with one slash is plainly a path: it begins or ends like one."""
    return ref.startswith((".", "/", "~")) or "\\" in ref or ref.endswith(("/", ".py", *SINGLE_FILES))


def _single_file(ref: str) -> InputError:
    if ref.endswith(".py"):
        return InputError(f"{ref} is a file of factories", hint=f"Say which: {ref}:FACTORY")
    return InputError(
        f"{ref} is a single file, and single files are not read yet",
        hint="A diffusers folder is: config.json beside diffusion_pytorch_model.safetensors.",
    )


def _leads_nowhere(ref: str) -> InputError:
    if _is_path(ref) or "/" in ref:
        return InputError(f"{ref} does not exist", hint=f"Paths count from {Path.cwd()}. {FORMS}")
    close = difflib.get_close_matches(ref.lower(), ALIASES, n=2)
    hint = f"Did you mean {' or '.join(close)}?" if close else FORMS
    return InputError(f"{ref!r} is no alias, folder or hub id", hint=hint)
