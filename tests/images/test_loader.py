from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images.nasty import encode, exif, noise, smooth
from vaecheck.errors import InputError
from vaecheck.images.loader import Images, Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.sources import open_images

SMALL = Intake(size=32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten good pictures of several kinds, and three bad ones between them."""
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(7):
        (root / f"{i}.png").write_bytes(encode(noise(40 + i, 50, seed=i), "PNG"))
    (root / "2a_small.png").write_bytes(encode(noise(5, 9), "PNG"))
    (root / "3a_turned.jpg").write_bytes(encode(smooth(64, 48), "JPEG", exif=exif(6)))
    (root / "4a_grey.png").write_bytes(encode(Image.new("L", (40, 40), 9), "PNG"))
    (root / "0a_text.png").write_bytes(b"hello")
    (root / "5a_cut.png").write_bytes(encode(noise(40, 40), "PNG")[:800])
    os.mkfifo(root / "9_pipe.png")
    return root


def load(source: Path | str, intake: Intake = SMALL, *, batch_size: int = 4, workers: int = 1) -> Loader:
    return Loader(open_images(str(source)), intake, batch_size=batch_size, workers=workers)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vaecheck-pictures")]


def test_batches_in_order_with_everything_counted(folder: Path) -> None:
    loader = load(folder)
    batches = list(loader)
    good = (
        "0.png",
        "1.png",
        "2.png",
        "2a_small.png",
        "3.png",
        "3a_turned.jpg",
        "4.png",
        "4a_grey.png",
        "5.png",
        "6.png",
    )
    assert tuple(i for batch in batches for i in batch.ids) == good
    assert [batch.image.shape for batch in batches] == [(4, 3, 32, 32), (4, 3, 32, 32), (2, 3, 32, 32)]
    assert all(batch.image.dtype == torch.uint8 and batch.image.is_contiguous() for batch in batches)
    assert all(batch.valid == (32, 32) for batch in batches)
    assert loader.count == 10
    assert loader.notes == Counter(enlarged=1, exif_rotated=1, grey=1)
    assert [skipped.id for skipped in loader.skipped] == ["0a_text.png", "5a_cut.png", "9_pipe.png"]
    assert loader.skipped[2].reason == "is a named pipe, not a regular file"
    assert loader.seconds > 0
    assert not threads()


def test_the_tensor_holds_the_picture(tmp_path: Path) -> None:
    image = noise(32, 32)
    (tmp_path / "a.png").write_bytes(encode(image, "PNG"))
    (batch,) = load(tmp_path)
    assert np.array_equal(batch.image[0].permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_nothing_depends_on_batch_size_or_workers(folder: Path, batch_size: int, workers: int) -> None:
    def result(loader: Loader) -> tuple[object, ...]:
        batches = list(loader)
        pixels = torch.cat([batch.image for batch in batches])
        ids = tuple(i for batch in batches for i in batch.ids)
        return ids, hashlib.sha256(pixels.numpy().tobytes()).digest(), loader.skipped, loader.notes, loader.fingerprint

    assert result(load(folder, batch_size=batch_size, workers=workers)) == result(load(folder))


class TestFingerprint:
    def test_by_its_definition(self, folder: Path) -> None:
        loader = load(folder)
        pixels = [image.numpy() for batch in loader for image in batch.image]
        hashes = [hashlib.sha256(f"uint8 {one.shape}\n".encode() + one.tobytes()).digest() for one in pixels]
        assert loader.fingerprint == hashlib.sha256(b"".join(sorted(hashes))).hexdigest()

    def test_bad_pictures_do_not_change_it(self, folder: Path) -> None:
        before = load(folder)
        list(before)
        for name in ("0a_text.png", "5a_cut.png", "9_pipe.png"):
            (folder / name).unlink()
        after = load(folder)
        list(after)
        assert before.fingerprint == after.fingerprint

    def test_contents_change_it_and_names_do_not(self, folder: Path) -> None:
        prints = []
        for change in (
            lambda: None,
            lambda: (folder / "0.png").rename(folder / "7b.png"),
            lambda: (folder / "6.png").unlink(),
        ):
            change()
            loader = load(folder)
            list(loader)
            prints.append(loader.fingerprint)
        assert prints[0] == prints[1] != prints[2]

    def test_a_tar_file_has_that_of_its_folder(self, folder: Path, tmp_path: Path) -> None:
        (folder / "9_pipe.png").unlink()
        with tarfile.open(tmp_path / "all.tar", "w") as tar:
            for path in sorted(folder.iterdir(), reverse=True):
                tar.add(path, arcname=path.name)
        a, b = load(folder), load(tmp_path / "all.tar")
        for left, right in zip(a, b, strict=True):
            assert left.ids == right.ids
            assert torch.equal(left.image, right.image)
        assert a.fingerprint == b.fingerprint
        assert a.skipped == b.skipped


class TestShapes:
    @pytest.fixture
    def mixed(self, tmp_path: Path) -> Path:
        for i, size in enumerate([(16, 16), (16, 16), (24, 16), (16, 16), (15, 16), (14, 16), (14, 16)]):
            (tmp_path / f"{i}.png").write_bytes(encode(noise(*size), "PNG"))
        return tmp_path

    def test_pad_groups_pictures_of_one_size_even_when_others_lie_between(self, mixed: Path) -> None:
        batches = list(load(mixed, Intake(size=None, fit="pad"), batch_size=4))
        assert [batch.ids for batch in batches] == [
            ("0.png", "1.png", "3.png"), ("2.png",), ("4.png",), ("5.png", "6.png"),
        ]  # fmt: skip
        assert [batch.places for batch in batches] == [(0, 1, 3), (2,), (4,), (5, 6)]
        assert [batch.valid for batch in batches] == [(16, 16), (16, 24), (16, 15), (16, 14)]
        assert [tuple(batch.image.shape[2:]) for batch in batches] == [(16, 16), (16, 24), (16, 16), (16, 16)]

    def test_none_skips_what_does_not_suit_and_says_how_to_mend_it(self, mixed: Path) -> None:
        loader = load(mixed, Intake(size=None, fit="none"))
        assert [batch.ids for batch in loader] == [("0.png", "1.png", "3.png"), ("2.png",)]
        assert [skipped.id for skipped in loader.skipped] == ["4.png", "5.png", "6.png"]
        assert loader.skipped[0].reason == "is 15x16; this VAE needs multiples of 8"
        assert loader.size_remedy == "--fit pad keeps the sizes, --fit crop --size 256 brings all to one."

    @pytest.mark.parametrize("bad_images", ["skip", "fail"])
    def test_the_remedy_names_no_option_that_a_protocol_refuses(self, tmp_path: Path, bad_images: str) -> None:
        (tmp_path / "0.png").write_bytes(encode(noise(15, 16), "PNG"))
        hints = []
        for fixed in (False, True):
            intake = Intake(size=None, fit="none", bad_images=bad_images, fit_is_fixed=fixed)
            with pytest.raises(InputError) as caught:
                list(load(tmp_path, intake))
            hints.append(caught.value.hint)
        assert "--fit pad" in hints[0]
        assert "--fit" not in hints[1]
        assert "its sides must be multiples of 8" in hints[1]

    @pytest.fixture
    def many(self, tmp_path: Path) -> Path:
        """Sixty pictures of six sizes, in turn."""
        for i in range(60):
            (tmp_path / f"{i:02d}.png").write_bytes(encode(noise(16, 16 + 8 * (i % 6), seed=i), "PNG"))
        return tmp_path

    def test_grouping_changes_no_picture_and_no_count(self, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def result(batch_size: int, held: int) -> tuple[object, ...]:
            monkeypatch.setattr("vaecheck.images.loader.BYTES_HELD", held)
            loader = load(many, Intake(size=None, fit="none"), batch_size=batch_size, workers=2)
            seen = {}
            for batch in loader:
                assert len(batch.ids) <= batch_size
                for place, name, image in zip(batch.places, batch.ids, batch.image, strict=True):
                    assert place == int(name[:2])
                    seen[name] = hashlib.sha256(image.numpy().tobytes()).hexdigest()
            assert len(seen) == 60
            return sorted(seen.items()), loader.count, loader.notes, loader.fingerprint, sorted(loader.digests)

        alone = result(1, 0)
        for batch_size, held in ((4, 1 << 28), (4, 5000), (4, 0), (100, 20_000)):
            assert result(batch_size, held) == alone

    @pytest.mark.parametrize("held", [0, 6_000, 20_000])
    def test_what_waits_is_bounded_in_bytes(self, many: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
        """Read but not given out: what waits, one batch, and what is decoded ahead."""
        monkeypatch.setattr("vaecheck.images.loader.BYTES_HELD", held)
        loader = load(many, Intake(size=None, fit="none"), batch_size=8)
        made = {f"{i:02d}.png": 3 * 16 * (16 + 8 * (i % 6)) for i in range(60)}
        largest, given, most = max(made.values()), 0, 0
        accepted: list[int] = []
        in_order = loader._in_order

        def counted(done: object) -> object:
            for place, picture in (pictures := in_order(done)):
                accepted.append(made[picture.id])
                yield place, picture
            pictures.close()

        monkeypatch.setattr(loader, "_in_order", counted)
        for batch in loader:
            most = max(most, sum(accepted) - given)
            given += sum(made[name] for name in batch.ids)
        assert given == sum(made.values())
        assert held / 2 <= most <= max(held, largest) + largest

    def test_the_fullest_goes_first_and_of_equals_the_oldest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for i, side in enumerate((16, 24, 24, 32, 40)):
            (tmp_path / f"{i}.png").write_bytes(encode(noise(16, side), "PNG"))
        monkeypatch.setattr("vaecheck.images.loader.BYTES_HELD", 3 * 16 * (16 + 24 + 24 + 1))
        batches = list(load(tmp_path, Intake(size=None, fit="none"), batch_size=4))
        assert [batch.places for batch in batches] == [(1, 2), (0,), (3,), (4,)]

    def test_a_batch_of_one_kind_is_never_cut_short(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vaecheck.images.loader.BYTES_HELD", 0)
        assert [len(batch.ids) for batch in load(folder, batch_size=4)] == [4, 4, 2]

    def test_batches_are_bounded_in_pixels_too(self, many: Path) -> None:
        images = open_images(str(many))
        intake = Intake(size=None, fit="none")
        loader = Loader(images, intake, batch_size=7, batch_pixels=2 * 16 * 40)
        counts = Counter((batch.image.shape[2], len(batch.ids)) for batch in loader)
        # 16 px: 5 of 10 at a time; 24: 3; 32: 2; 40: 2; 48: 1; 56: 1
        assert counts == {(16, 5): 2, (24, 3): 3, (24, 1): 1, (32, 2): 5, (40, 2): 5, (48, 1): 10, (56, 1): 10}

    def test_large_pictures_are_not_all_decoded_ahead(self, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vaecheck.images.loader.BYTES_AHEAD", 3 * 16 * 56 * 3)
        loader = load(many, Intake(size=None, fit="none"), batch_size=16, workers=2)
        reads: list[int] = []
        read = Path.read_bytes
        monkeypatch.setattr(
            "vaecheck.images.sources.Entry.read", lambda entry: (reads.append(1), read(Path(entry.path)))[1]
        )
        pictures = loader._in_order(())
        for given in range(1, 40):
            next(pictures)
            time.sleep(0.002)
            if given > 20:  # all sizes were seen, and what was begun before is used up
                assert len(reads) - given <= 3
        pictures.close()


class TestBadPictures:
    def test_fail_stops_at_the_first(self, folder: Path) -> None:
        with pytest.raises(InputError) as caught:
            list(load(folder, Intake(size=32, bad_images="fail"), batch_size=1, workers=3))
        assert caught.value.message.startswith("0a_text.png is not a picture")
        assert "--bad-images skip" in caught.value.hint
        assert not threads()

    def test_nothing_left(self, tmp_path: Path) -> None:
        for i in range(5):
            (tmp_path / f"{i}.png").write_bytes(b"")
        with pytest.raises(InputError) as caught:
            list(load(tmp_path))
        assert "none of the 5 pictures" in caught.value.message
        assert "0.png is empty; 1.png is empty; 2.png is empty" in caught.value.message

    def test_our_own_errors_are_not_taken_for_bad_pictures(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*args: object, **kwargs: object) -> None:
            raise AssertionError("a fault of the program")

        monkeypatch.setattr("vaecheck.images.prepare.fit_picture", broken)
        with pytest.raises(AssertionError):
            list(load(folder))
        assert not threads()


class TestThreads:
    def test_an_abandoned_pass_ends_its_threads(self, folder: Path) -> None:
        batches = iter(load(folder, batch_size=1, workers=3))
        next(batches)
        assert threads()
        batches.close()
        assert not threads()

    def test_so_does_one_that_nobody_holds(self, folder: Path) -> None:
        for _ in load(folder, batch_size=1, workers=2):
            break
        deadline = time.monotonic() + 10
        while threads() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not threads()

    @pytest.mark.parametrize(("batch_size", "workers", "most"), [(2, 1, 4), (1, 5, 5)])
    def test_the_look_ahead_is_bounded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, workers: int, most: int
    ) -> None:
        for i in range(40):
            (tmp_path / f"{i:02d}.png").write_bytes(encode(noise(8, 8), "PNG"))
        loader = load(tmp_path, Intake(size=8), batch_size=batch_size, workers=workers)
        reads = []
        monkeypatch.setattr(
            "vaecheck.images.sources.Entry.read", lambda entry: (reads.append(1), Path(entry.path).read_bytes())[1]
        )
        batches = iter(loader)
        for given in range(1, 6):
            next(batches)
            time.sleep(0.02)
            assert len(reads) <= given * batch_size + most
        assert sum(1 for _ in batches) == 40 // batch_size - 5

    def test_a_second_pass_counts_afresh(self, folder: Path) -> None:
        loader = load(folder)
        first: list[Images] = list(loader)
        counted = (loader.count, loader.skipped, dict(loader.notes), loader.fingerprint)
        second = list(loader)
        assert (loader.count, loader.skipped, dict(loader.notes), loader.fingerprint) == counted
        assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [{"size": 30}, {"fit": "stretch"}, {"icc": "adobe"}, {"background": "nope"}, {"bad_images": "hide"}],
    )
    def test_unknown_ones_are_refused_before_any_picture(self, options: dict[str, object]) -> None:
        with pytest.raises(InputError) as caught:
            Intake(**options)
        assert caught.value.hint

    def test_a_batch_size_below_one(self, folder: Path) -> None:
        with pytest.raises(InputError, match="--batch-size 0"):
            load(folder, batch_size=0)

    def test_background_and_limit_reach_the_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))
        (tmp_path / "b.png").write_bytes(encode(noise(9, 9), "PNG"))
        loader = load(tmp_path, Intake(size=8, background="#102030", max_pixels=80))
        (batch,) = loader
        assert batch.image[0, :, 0, 0].tolist() == [16, 32, 48]
        assert "more than the limit of 80" in loader.skipped[0].reason


@pytest.fixture
def photos() -> Path:
    root = Path(os.environ.get("VAECHECK_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "photos" / "val"
    if not root.is_dir():
        pytest.skip(f"no photographs at {root}: set VAECHECK_SHARED")
    return root


def test_real_photographs_against_plain_pillow(photos: Path) -> None:
    images = open_images(str(photos), limit=6)
    loader = Loader(images, Intake(size=64), batch_size=3, workers=2)
    for batch in loader:
        for image_id, image in zip(batch.ids, batch.image, strict=True):
            with Image.open(io.BytesIO((photos / image_id).read_bytes())) as opened:
                rgb = opened.convert("RGB")
            w, h = rgb.size
            w, h = max(64, round(w * 64 / min(rgb.size))), max(64, round(h * 64 / min(rgb.size)))
            x, y = (w - 64) // 2, (h - 64) // 2
            expected = rgb.resize((w, h), Image.BICUBIC).crop((x, y, x + 64, y + 64))
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected))
    assert loader.count == 6
