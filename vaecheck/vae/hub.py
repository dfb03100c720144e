"""owner/name[:subfolder or file][@revision] on the Hugging Face hub -> a folder or file in its cache with one VAE.

HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.

Why not snapshot_download: it asks for a repository's files without any limit of time, and which file to take
(half or full precision, safetensors or a pickle) can be chosen only when their names are known.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaecheck.deadline import within
from vaecheck.errors import InputError, SetupError, VaecheckError
from vaecheck.hub_errors import endpoint, refusal, said, status_of
from vaecheck.vae.aliases import ALIASES
from vaecheck.vae.from_diffusers import choose_weights
from vaecheck.vae.scaling import CONFIG

PART = r"\w[\w.-]*"
HUB_ID = re.compile(rf"(?P<repo>{PART}/{PART})(:(?P<subfolder>[^@:]+))?(@(?P<revision>.+))?")
PATIENCE_SECONDS = 12.0
SINGLE_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class HubId:
    repo: str
    subfolder: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """The id that `text` spells, or None when it does not have the form of one."""
        match = HUB_ID.fullmatch(text)
        if match is None:
            return None
        subfolder = match["subfolder"]
        return cls(match["repo"], subfolder.strip("/") if subfolder else None, match["revision"])

    @property
    def file(self) -> str | None:
        """The single file that is named in place of a subfolder, by its suffix; None where none is."""
        return self.subfolder if self.subfolder and self.subfolder.endswith(SINGLE_FILES) else None

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Where in the repository its VAE can be: the subfolder named, else the top, else a pipeline's vae/."""
        return (f"{self.subfolder}/",) if self.subfolder else ("", "vae/")


def folder_of(hub_id: HubId, *, offline: bool = False) -> Path:
    """The cached folder with config.json and one set of weights, downloaded unless it is there or `offline`.

    What is in the cache is used when the hub cannot be reached. Raises InputError for a repository, revision or
    subfolder that does not exist; SetupError for a gated repository, and when there is no network and no copy.
    """
    return _fetched(hub_id, _download, _cached, offline)


def file_of(hub_id: HubId, *, offline: bool = False) -> Path:
    """The cached copy of hub_id.file alone, downloaded unless it is there or `offline`. Raises as folder_of does."""
    return _fetched(hub_id, _download_file, _cached_file, offline)


def _fetched(
    hub_id: HubId, download: Callable[[HubId], Path], cached: Callable[[HubId], Path | None], offline: bool
) -> Path:
    import huggingface_hub.errors as hub_errors

    if offline or _offline_mode():
        return cached(hub_id) or _raise(_not_cached(hub_id))
    try:
        return download(hub_id)
    except VaecheckError:
        raise
    except hub_errors.RevisionNotFoundError as error:
        raise _explained(hub_id, error) from error
    except Exception as error:
        if path := cached(hub_id):
            return path
        raise _explained(hub_id, error) from error


def _download_file(hub_id: HubId) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    names, hub, seconds = _names(hub_id), endpoint(), _patience()
    name, repo, revision = hub_id.file, hub_id.repo, hub_id.revision
    if name not in names:
        raise _no_such_file(hub_id, names)
    url = hf_hub_url(repo, name, revision=revision, endpoint=hub)
    within(seconds, lambda: get_hf_file_metadata(url, timeout=seconds, endpoint=hub))
    beside = (Path(name).parent / CONFIG).as_posix()
    with _bars_only_on_a_terminal():
        if beside in names:
            hf_hub_download(repo, beside, revision=revision, endpoint=hub)
        return Path(hf_hub_download(repo, name, revision=revision, endpoint=hub))


def _names(hub_id: HubId) -> list[str]:
    """The files of the repository at the revision."""
    from huggingface_hub import HfApi

    api, seconds = HfApi(endpoint=endpoint()), _patience()
    info = within(seconds, lambda: api.model_info(hub_id.repo, revision=hub_id.revision, timeout=seconds))
    return [file.rfilename for file in info.siblings or ()]


def _download(hub_id: HubId) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    names, hub, seconds = _names(hub_id), endpoint(), _patience()
    repo, revision = hub_id.repo, hub_id.revision
    prefix = _prefix(hub_id, names)
    weights = choose_weights(_directly_under(prefix, names))
    if weights is None:
        raise InputError(
            f"{repo} has {prefix}{CONFIG} but no diffusers weights beside it",
            hint=f"Its files there: {', '.join(sorted(_directly_under(prefix, names))[:8])}",
        )
    url = hf_hub_url(repo, prefix + CONFIG, revision=revision, endpoint=hub)
    within(seconds, lambda: get_hf_file_metadata(url, timeout=seconds, endpoint=hub))
    with _bars_only_on_a_terminal():
        paths = [
            Path(hf_hub_download(repo, prefix + name, revision=revision, endpoint=hub))
            for name in (CONFIG, *weights.names)
        ]
    return paths[0].parent


def _prefix(hub_id: HubId, names: list[str]) -> str:
    for prefix in hub_id.prefixes:
        if prefix + CONFIG in names:
            return prefix
    folders = sorted(name.removesuffix(f"/{CONFIG}") for name in names if name.endswith(f"/{CONFIG}"))
    singles = _single_files(names)
    hint = "vaecheck reads diffusers folders (config.json and weights) and single weight files from the hub."
    if folders:
        hint = f"Its subfolders with a {CONFIG}: {', '.join(folders)}. Name one: {hub_id.repo}:{folders[0]}"
    elif singles:
        hint = f"It has {_listed(singles)}. Name one: {_reference(hub_id, singles[0])}"
    where = f"subfolder {hub_id.subfolder!r} with a {CONFIG}" if hub_id.subfolder else f"{CONFIG} or vae/{CONFIG}"
    raise InputError(f"{hub_id.repo} on the hub has no {where}", hint=hint)


def _no_such_file(hub_id: HubId, names: list[str]) -> InputError:
    singles = _single_files(names)
    hint = f"It has {_listed(singles)}: {_reference(hub_id, singles[0])}" if singles else "It has no weight files."
    return InputError(f"{hub_id.repo} on the hub has no file {hub_id.file}", hint=hint)


def _single_files(names: Iterable[str]) -> list[str]:
    """Its weight files, those that are called a VAE first: only to choose what to show."""
    singles = [name for name in names if name.endswith(SINGLE_FILES) and "-of-0" not in name]
    return sorted(singles, key=lambda name: (not re.search(r"vae|(^|/)ae\.", name.lower()), name))


def _listed(singles: list[str]) -> str:
    more = f" and {len(singles) - 5} more" if len(singles) > 5 else ""
    return f"the weight file{'s' * (len(singles) > 1)} {', '.join(singles[:5])}{more}"


def _reference(hub_id: HubId, file: str) -> str:
    return f"{hub_id.repo}:{file}" + (f"@{hub_id.revision}" if hub_id.revision else "")


def _directly_under(prefix: str, names: Iterable[str]) -> list[str]:
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return [name for name in inside if "/" not in name]


def _cached(hub_id: HubId) -> Path | None:
    """The folder of a copy in the cache that has config.json and weights, or None."""
    from huggingface_hub import try_to_load_from_cache

    for prefix in hub_id.prefixes:
        config = try_to_load_from_cache(hub_id.repo, prefix + CONFIG, revision=hub_id.revision)
        if isinstance(config, str):
            folder = Path(config).parent
            if choose_weights(path.name for path in folder.iterdir() if path.exists()):
                return folder
    return None


def _cached_file(hub_id: HubId) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id.repo, hub_id.file or "", revision=hub_id.revision)
    return Path(path) if isinstance(path, str) else None


def _explained(hub_id: HubId, error: Exception) -> VaecheckError:
    """One clear sentence and a remedy for what huggingface_hub raised."""
    import huggingface_hub.errors as hub_errors

    repo, page = hub_id.repo, f"{endpoint()}/{hub_id.repo}"
    absent = f"there is no folder or file {repo} here, and no repository of that name on the hub that you may read"
    if refused := refusal(error, repo, hub_id.revision, page=page, absent=absent):
        return refused
    if isinstance(error, hub_errors.OfflineModeIsEnabled):
        return _not_cached(hub_id)
    status = status_of(error)
    if status == 404:
        return InputError(f"a file of {repo} is not on the hub (404)", hint=f"See its files at {page}")
    happened = f"answered {status}" if status else f"could not be reached ({said(error)})"
    return SetupError(
        f"{_not_here(hub_id)}{repo} is not in the hub's cache; {endpoint()} {happened}",
        hint=f"{_if_path(hub_id)}Check the network and HF_ENDPOINT; kl-f8-tiny and a folder on disk need none.",
    )


def _not_cached(hub_id: HubId) -> SetupError:
    return SetupError(
        f"{_not_here(hub_id)}{hub_id.repo} is not in the hub's cache; the run is offline",
        hint=f"{_if_path(hub_id)}Run once with a network, without --offline and HF_HUB_OFFLINE; kl-f8-tiny needs none.",
    )


def _may_be_path(hub_id: HubId) -> bool:
    """Whether a person may have meant a path: the id is a bare owner/name, and no alias stands for it."""
    return hub_id == HubId(hub_id.repo) and all(alias.target != hub_id.repo for alias in ALIASES.values())


def _not_here(hub_id: HubId) -> str:
    return f"there is no folder or file {hub_id.repo} here, and " if _may_be_path(hub_id) else ""


def _if_path(hub_id: HubId) -> str:
    return f"Paths count from {Path.cwd()}. " if _may_be_path(hub_id) else ""


def _raise(error: VaecheckError) -> Any:
    raise error


def _patience() -> float:
    """Seconds that the hub may keep silent; HF_HUB_ETAG_TIMEOUT can ask for more."""
    from huggingface_hub import constants

    return max(PATIENCE_SECONDS, float(constants.HF_HUB_ETAG_TIMEOUT))


def _offline_mode() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def _bars_only_on_a_terminal() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    change = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if change:
        disable_progress_bars()
    try:
        yield
    finally:
        if change:
            enable_progress_bars()
