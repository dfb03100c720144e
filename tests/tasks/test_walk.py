"""A walk that is stopped, killed or finds no room goes on to the result of one that was not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaecheck.errors import InputError, SetupError
from vaecheck.results.comparison import Comparison
from vaecheck.results.types import Result
from vaecheck.tasks import kept_run
from vaecheck.tasks.compare import compare
from vaecheck.tasks.latents import latents
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.scale_factor import scale_factor
from vaecheck.tasks.settings import KEPT_RUN, Listener, Settings

STUB = f"{Path(__file__).with_name('stub_vaes.py')}:plain"
SHARP = f"{Path(__file__).with_name('stub_vaes.py')}:sharp"
COUNT, BATCH = 20, 3
SETTINGS = Settings(size=32, batch_size=BATCH, offline=True, device="cpu", yardstick="none", save_every=0)
OF_TIME = ("_per_second", "peak_memory")


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Coarse noise of two shapes, and one file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for place in range(COUNT):
        draw = np.random.default_rng(place)
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((40, 48 - 8 * (place % 3 == 1)), Image.Resampling.BICUBIC).save(folder / f"{place:02d}.png")
    (folder / "07-broken.png").write_bytes(b"no picture")
    return str(folder)


@pytest.fixture(autouse=True)
def saved_after_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_run, "SHARE_OF_TIME", 1e9)


def measured(kind: str, pictures: str, settings: Settings, listener: Listener) -> tuple[Any, Any]:
    """What is the same of two runs of one thing: all but the environment and figures of time; and what is shown."""
    pixels = replace(settings, metrics=("psnr_db", "ssim", "fd_efficientnet_lite0", "kl_nats_per_image", "latent_std"))
    shown: Any = ()
    result: Result | Comparison
    if kind == "scale-factor":
        result = scale_factor(pictures, STUB, settings, listener)
    elif kind == "latents":
        result, panels = latents(pictures, STUB, replace(settings, metrics=("latent_std", "spectral_slope")), listener)
        shown = tuple(SimpleNamespace(id=one.title, original=one.images[1][1]) for one in panels)
    elif kind == "compare":
        result, shown = compare([STUB, SHARP], pictures, pixels, listener)
    else:
        result, shown = reconstruct(pictures, STUB, pixels, listener)
    kept = {name: one for name, one in result.measures.items() if not any(part in name for part in OF_TIME)}
    of_pictures = [(one.id, getattr(one, "role", ""), np.asarray(one.original).tobytes()) for one in shown]
    resumed = result.environment.resumed_from
    without_time: Any = {"measures": kept, "environment": None} | ({"fronts": ()} if kind == "compare" else {})
    return replace(result, **without_time), (of_pictures, resumed)


def after(pictures: int, do: Callable[[], None]) -> Listener:
    seen = 0

    def advance(more: int) -> None:
        nonlocal seen
        seen += more
        if pictures <= seen:
            do()

    return Listener(advance=advance)


def kill() -> None:
    raise Killed


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("kind", ["reconstruct", "compare", "scale-factor", "latents"])
def test_a_killed_walk_goes_on_to_the_same_result(tmp_path: Path, pictures: str, kind: str, fit: str) -> None:
    settings = replace(SETTINGS, fit=fit)
    whole, (shown, _) = measured(kind, pictures, settings, Listener())
    kept = replace(settings, out=tmp_path)
    for at in (4, 13):
        with pytest.raises(Killed):
            measured(kind, pictures, replace(kept, resume=True), after(at, kill))
    resumed, (again, found) = measured(kind, pictures, replace(kept, resume=True), Listener())
    assert found == 12  # 13 are 5 batches, the fifth of which was not saved
    assert resumed == whole
    assert again == shown


@pytest.mark.parametrize("kind", ["reconstruct", "latents"])
def test_sigterm_ends_it_after_a_batch_and_nothing_is_lost(tmp_path: Path, pictures: str, kind: str) -> None:
    whole, (shown, _) = measured(kind, pictures, SETTINGS, Listener())
    kept, told = replace(SETTINGS, out=tmp_path, save_every=1e9), list[str]()
    with pytest.raises(KeyboardInterrupt):
        measured(kind, pictures, kept, replace(after(6, stop), tell=told.append))
    assert any("stopped after 6 pictures" in text for text in told)
    resumed, (again, found) = measured(kind, pictures, replace(kept, resume=True), Listener())
    assert (resumed, again, found) == (whole, shown, 6)


def test_what_comes_after_the_walk_may_fail_too(tmp_path: Path, pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = measured("reconstruct", pictures, SETTINGS, Listener())
    with monkeypatch.context() as patch:
        patch.setattr("vaecheck.tasks.reconstruct.per_image", lambda built: kill())
        with pytest.raises(Killed):
            measured("reconstruct", pictures, replace(SETTINGS, out=tmp_path), Listener())
    resumed, (_, found) = measured("reconstruct", pictures, replace(SETTINGS, out=tmp_path, resume=True), Listener())
    assert (resumed, found) == (whole, COUNT)


def test_a_full_disk_is_told_and_what_was_saved_stays(
    tmp_path: Path, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, warned = replace(SETTINGS, out=tmp_path), list[str]()
    whole, _ = measured("scale-factor", pictures, SETTINGS, Listener())
    real, calls = torch.save, 0

    def full(state: object, file: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(kept_run.torch, "save", full)
        with pytest.raises(Killed):
            measured("scale-factor", pictures, kept, replace(after(12, kill), warn=warned.append))
    assert any("No space left" in text for text in warned)
    assert not list(tmp_path.rglob("*.tmp"))
    resumed, (_, found) = measured("scale-factor", pictures, replace(kept, resume=True), Listener())
    assert (resumed, found) == (whole, 2 * BATCH)


def test_another_run_is_refused_by_what_differs(tmp_path: Path, pictures: str) -> None:
    kept = replace(SETTINGS, out=tmp_path)
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(6, kill))
    for other, words in (
        (replace(kept, size=40), "size was 32 and is 40"),
        (replace(kept, batch_size=2), "batch_size was 3 and is 2"),
        (replace(kept, tiling=32), "tiling was None and is 32"),
        (replace(kept, max_pixels=9999), "max_pixels was"),
    ):
        with pytest.raises(InputError, match=words) as refused:
            scale_factor(pictures, STUB, replace(other, resume=True))
        assert "without --resume" in refused.value.hint
    with pytest.raises(InputError, match="vaes was"):
        scale_factor(pictures, SHARP, replace(kept, resume=True))


def test_other_metrics_are_another_run(tmp_path: Path, pictures: str) -> None:
    kept = replace(SETTINGS, out=tmp_path, metrics=("psnr_db",))
    with pytest.raises(Killed):
        compare([STUB, SHARP], pictures, kept, after(6, kill))
    with pytest.raises(InputError, match="figures was"):
        compare([STUB, SHARP], pictures, replace(kept, resume=True, metrics=("ssim",)))


def test_what_was_kept_is_there_until_another_run_has_something(tmp_path: Path, pictures: str) -> None:
    kept, told = replace(SETTINGS, out=tmp_path), list[str]()
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(9, kill))
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, replace(after(3, kill), tell=told.append))
    assert any("keeps a run that was stopped" in text for text in told)
    assert scale_factor(pictures, STUB, replace(kept, resume=True)).environment.resumed_from == 2 * BATCH


def test_a_part_without_the_firsts_is_no_run(tmp_path: Path, pictures: str) -> None:
    """The second of two processes had saved and the first had not; what it left is not mixed into a later run."""
    kept, folder = replace(SETTINGS, out=tmp_path), tmp_path / KEPT_RUN / "scale-factor"
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(6, kill))
    (first,) = folder.glob("*.pt")
    first.rename(folder / "0000-00001.pt")
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, replace(kept, resume=True), after(6, kill))
    found = scale_factor(pictures, STUB, replace(kept, resume=True))
    assert (found.environment.resumed_from, found.data.count) == (BATCH, COUNT)


def test_pictures_that_went_are_missed(tmp_path: Path, pictures: str) -> None:
    copy = tmp_path / "pictures"
    shutil.copytree(pictures, copy)
    kept = replace(SETTINGS, out=tmp_path / "out")
    with pytest.raises(Killed):
        scale_factor(str(copy), STUB, kept, after(6, kill))
    (copy / "00.png").rename(copy / "90.png")
    with pytest.raises(SetupError, match="22 of 21 pictures"):
        scale_factor(str(copy), STUB, replace(kept, resume=True))


def test_a_folder_that_cannot_be_saved_to_is_told_before_the_first_picture(
    tmp_path: Path, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = replace(SETTINGS, out=tmp_path)
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(6, kill))
    before = [path.name for path in (tmp_path / KEPT_RUN / "scale-factor").iterdir()]
    with monkeypatch.context() as patch:
        patch.setattr(kept_run.torch, "save", lambda *given: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(SetupError, match="No space left"):
            scale_factor(pictures, STUB, replace(kept, resume=True))
    assert [path.name for path in (tmp_path / KEPT_RUN / "scale-factor").iterdir()] == before


def test_a_damaged_file_is_a_sentence(tmp_path: Path, pictures: str) -> None:
    kept = replace(SETTINGS, out=tmp_path)
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(6, kill))
    (file,) = (tmp_path / KEPT_RUN / "scale-factor").glob("*.pt")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        scale_factor(pictures, STUB, replace(kept, resume=True))


def test_without_resume_it_begins_anew(tmp_path: Path, pictures: str) -> None:
    kept = replace(SETTINGS, out=tmp_path)
    with pytest.raises(Killed):
        scale_factor(pictures, STUB, kept, after(6, kill))
    assert scale_factor(pictures, STUB, kept).environment.resumed_from is None


def test_nothing_to_go_on_with_is_said(tmp_path: Path, pictures: str) -> None:
    told: list[str] = []
    kept = replace(SETTINGS, out=tmp_path, resume=True)
    found = scale_factor(pictures, STUB, kept, Listener(tell=told.append))
    assert found.environment.resumed_from == 0
    assert any("nothing to go on with" in text for text in told)
    with pytest.raises(InputError, match="--resume needs the folder"):
        scale_factor(pictures, STUB, replace(SETTINGS, resume=True))


def test_saving_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_run, "SHARE_OF_TIME", 0.02)
    kept = kept_run.KeptRun(tmp_path, kept_run.World(), {}, every=10.0)
    assert not kept.is_due
    kept.seen(kept_run.IMAGES_BETWEEN)
    assert kept.is_due
    kept._cost = 1e6
    assert not kept.is_due
