from __future__ import annotations

import io
import json
import os
import pickle
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.images.nasty import encode, noise
from vaecheck.errors import InputError, SetupError
from vaecheck.images.entries import ImageSet, printable
from vaecheck.images.sources import open_images

NAMES = ("a.png", "b/c.JPG", "b/d.jpeg", "e.WebP", "z/y/x.bmp")


@pytest.fixture(autouse=True)
def never_hang() -> Iterator[None]:
    """A read that waits for a pipe ends the test instead of the whole run."""

    def stop(signum: int, frame: object) -> None:
        raise TimeoutError("waited for a picture for 20 seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture " + os.fsencode(name))
    return root


def contents(images: ImageSet) -> dict[str, bytes]:
    return {entry.id: entry.read() for entry in images}


def refusal(source: object, **options: int) -> InputError:
    with pytest.raises(InputError) as caught:
        open_images(str(source), **options)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "photos", *NAMES)


class TestFolder:
    def test_recursive_by_suffix_in_order_of_the_path(self, folder: Path) -> None:
        write(folder, "notes.txt", "b/labels.json", "no_suffix", "raw.heic")
        images = open_images(str(folder))
        assert images.ids == NAMES
        assert len(images) == 5
        assert contents(images)["b/c.JPG"] == b"picture b/c.JPG"
        assert images.source == str(folder)

    def test_plain_text_order(self, tmp_path: Path) -> None:
        write(tmp_path, "a/x.png", "a.png", "a-b.png", "B.png", "é.png", "10.png", "9.png")
        assert open_images(str(tmp_path)).ids == ("10.png", "9.png", "B.png", "a-b.png", "a.png", "a/x.png", "é.png")

    def test_hidden_names_are_left_out(self, folder: Path) -> None:
        write(folder, ".thumb.png", ".cache/q.png", "b/._c.JPG")
        assert open_images(str(folder)).ids == NAMES

    def test_symlinked_folders_are_not_followed_but_links_to_files_are(self, folder: Path, tmp_path: Path) -> None:
        write(tmp_path / "other", "far.png")
        (folder / "loop").symlink_to(folder)
        (folder / "linked").symlink_to(tmp_path / "other")
        (folder / "near.png").symlink_to(tmp_path / "other" / "far.png")
        images = open_images(str(folder))
        assert images.ids == (*NAMES[:4], "near.png", NAMES[4])
        assert contents(images)["near.png"] == b"picture far.png"

    def test_the_root_itself_may_be_a_link(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        assert open_images(str(tmp_path / "link")).ids == NAMES

    def test_a_folder_named_like_a_picture(self, tmp_path: Path) -> None:
        write(tmp_path, "album.png/one.png")
        assert open_images(str(tmp_path)).ids == ("album.png/one.png",)

    def test_missing_and_empty(self, tmp_path: Path) -> None:
        assert "no such file or folder" in refusal(tmp_path / "gone").message
        assert "no picture" in refusal(tmp_path).message
        write(tmp_path, "a.txt", "b.txt", "c.json")
        assert "3 files: 2 with .txt, 1 with .json" in refusal(tmp_path).message
        assert "png" in refusal(tmp_path).hint
        assert refusal("").message.endswith("(empty)")
        assert "no such file" in refusal("nul\0byte").message

    def test_a_folder_of_shards_points_to_the_glob(self, tmp_path: Path) -> None:
        write(tmp_path, "data-000.tar")
        assert "*.tar" in refusal(tmp_path).hint

    def test_a_folder_that_cannot_be_listed_is_an_error(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root reads everything, so the refusal is made here."""
        scandir = os.scandir

        def guarded(path: str) -> object:
            if str(path).endswith("/b"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        assert "cannot be listed: Permission denied" in refusal(folder).message
        assert "cannot be listed: Permission denied" in refusal(f"{folder}/**/*.png").message


class TestFiles:
    def test_one_file(self, folder: Path) -> None:
        images = open_images(str(folder / "b" / "c.JPG"))
        assert contents(images) == {"c.JPG": b"picture b/c.JPG"}

    def test_a_named_file_needs_no_suffix(self, tmp_path: Path) -> None:
        write(tmp_path, "picture")
        assert open_images(str(tmp_path / "picture")).ids == ("picture",)

    def test_relative_paths_survive_a_change_of_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        images = open_images("b")
        monkeypatch.chdir(folder.parent)
        assert contents(images) == {"c.JPG": b"picture b/c.JPG", "d.jpeg": b"picture b/d.jpeg"}

    def test_special_files_never_wait(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe.png")
        (folder / "nowhere.png").symlink_to(folder / "gone.png")
        (folder / "self.png").symlink_to(folder / "self.png")
        (folder / "null.png").symlink_to("/dev/zero")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket.png"))
        reasons = {}
        for entry in open_images(str(folder)).entries:
            try:
                entry.read()
            except InputError as error:
                reasons[entry.id] = error.message
        listener.close()
        assert reasons == {
            "pipe.png": "is a named pipe, not a regular file",
            "nowhere.png": "is a link that leads nowhere: No such file or directory",
            "self.png": "is a link that leads nowhere: Too many levels of symbolic links",
            "null.png": "is a device, not a regular file",
            "socket.png": "is a socket, not a regular file",
        }
        assert len(open_images(f"{folder}/*.png")) == 6

    @pytest.mark.parametrize("name", ["pipe.png", "pipe.txt", "pipe.tar"])
    def test_a_pipe_given_by_name_never_waits(self, tmp_path: Path, name: str) -> None:
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match="is a named pipe"):
            open_images(str(tmp_path / name)).entries[0].read()

    def test_a_file_that_went_away(self, folder: Path) -> None:
        images = open_images(str(folder))
        (folder / "a.png").unlink()
        with pytest.raises(InputError, match=f"cannot be read: No such file or directory: {folder}/a.png"):
            images.entries[0].read()

    def test_a_giant_is_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "giant.png").open("wb") as file:
            file.truncate(1 << 34)
        with pytest.raises(InputError, match="has 17179869184 bytes"):
            open_images(str(tmp_path)).entries[0].read()

    def test_an_entry_pickles_and_is_small(self, folder: Path) -> None:
        images = open_images(str(folder))
        assert pickle.loads(pickle.dumps(images)) == images
        assert len(pickle.dumps(images.entries[0])) < 500


class TestNames:
    def test_every_name_is_readable_and_its_id_safe(self, tmp_path: Path) -> None:
        names = [
            'it\'s "quoted".png',
            " two  spaces .png",
            "<script>alert(1)</script>.png".replace("/", "_"),
            "broken [/red].png".replace("/", "_"),
            "日本語 😀 e\u0301.png",
            "line\nbreak.png",
            "line\\nbreak.png",
            "escape\x1b[31m.png",
            "separator\u2028.png",
            "-rf.png",
            "%s {0} $HOME `id`.png",
            "x" * 251 + ".png",
        ]
        write(tmp_path, *names)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.png")).write_bytes(b"picture latin")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xff.png")).write_bytes(b"picture latin")
        images = open_images(str(tmp_path))
        assert len(images) == len(set(images.ids)) == len(names) + 2
        assert all(entry.read().startswith(b"picture") for entry in images.entries)
        for image_id in images.ids:
            assert json.loads(json.dumps(image_id)) == image_id
            image_id.encode("utf-8")
            assert "\n" not in image_id
            assert "\x1b" not in image_id
        assert {"line\\nbreak.png", "line\\\\nbreak.png", "latin\\udce9.png", "latin\\udcff.png"} <= set(images.ids)
        assert "日本語 😀 e\u0301.png" in images.ids

    def test_a_folder_with_an_undecodable_name(self, tmp_path: Path) -> None:
        root = os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9")
        write(Path(root), "a.png")
        images = open_images(root)
        assert images.ids == ("a.png",)
        assert images.source.endswith("f\\udce9")
        assert refusal(root + "/gone").message.isprintable()

    def test_printable(self) -> None:
        assert printable("plain é 😀") == "plain é 😀"
        assert printable("a\tb\udcff") == "a\\tb\\udcff"


class TestGlobAndList:
    @pytest.mark.parametrize(
        ("pattern", "ids"),
        [
            ("*.png", ("a.png",)),
            ("**/*.*", NAMES),
            ("**", NAMES),
            ("*", NAMES),
            ("b/*", ("c.JPG", "d.jpeg")),
            ("b/[c].JPG", ("c.JPG",)),
            ("**/?.jp*g", ("d.jpeg",)),
            ("{a.png,e.WebP}", ("a.png", "e.WebP")),
            ("b/{c..d}.JPG", None),
        ],
    )
    def test_glob(self, folder: Path, pattern: str, ids: tuple[str, ...] | None) -> None:
        write(folder, "b/labels.json", ".hidden.png")
        (folder / "zz").symlink_to(folder)
        if ids is None:
            assert "no such file" in refusal(folder / pattern).message
        else:
            assert open_images(f"{folder}/{pattern}").ids == ids

    def test_a_glob_without_a_match(self, folder: Path) -> None:
        assert "no picture" in refusal(folder / "*.gif").message

    def test_a_file_whose_name_looks_like_a_glob(self, tmp_path: Path) -> None:
        write(tmp_path, "a[1].png", "a1.png")
        assert open_images(str(tmp_path / "a[1].png")).ids == ("a[1].png",)

    def test_list(self, folder: Path) -> None:
        names = folder / "names.txt"
        names.write_text(f"\ufeffb/d.jpeg\r\n\n# a comment\n  ./a.png  \n{folder}/z/y/x.bmp\nb/gone.png\n")
        images = open_images(str(names))
        assert images.ids == ("a.png", "b/d.jpeg", "b/gone.png", "z/y/x.bmp")
        assert images.entries[1].read() == b"picture b/d.jpeg"
        with pytest.raises(InputError, match="No such file"):
            images.entries[2].read()

    def test_a_list_elsewhere_is_relative_to_its_folder(self, folder: Path) -> None:
        write(folder, "lists/x")
        (folder / "lists" / "names.txt").write_text("../b/c.JPG\n../b/d.jpeg\n")
        assert open_images(str(folder / "lists" / "names.txt")).ids == ("c.JPG", "d.jpeg")

    def test_a_list_that_names_a_picture_twice(self, folder: Path) -> None:
        (folder / "names.txt").write_text("a.png\nb/c.JPG\nb/../a.png\n")
        assert "names a.png twice" in refusal(folder / "names.txt").message

    def test_an_empty_list(self, folder: Path) -> None:
        (folder / "names.txt").write_text("# nothing\n\n")
        assert "lists no path" in refusal(folder / "names.txt").message

    def test_what_a_list_may_not_hold(self, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("a.png\npipe:touch ran\n")
        assert "would run a command" in refusal(tmp_path / "names.txt").message
        assert not (tmp_path / "ran").exists()


class TestOtherSources:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("pipe:cat data.tar", "would run a command"),
            ("s3://bucket/data.tar", "s3:// is not read"),
            ("https://host.invalid/a.png", "is no URL of tar shards"),
            ("hf://models/owner/name", "is no data set of the hub"),
            ("hf://datasets/name", "is no data set of the hub"),
            ("photos#image", "no such file"),
        ],
    )
    def test_refused_with_a_remedy(self, source: str, says: str) -> None:
        assert says in refusal(source).message

    def test_a_column_of_a_folder(self, folder: Path) -> None:
        assert "names a column" in refusal(f"{folder}#image").message
        write(folder, "odd#name/a.png")
        assert open_images(f"{folder}/odd#name").ids == ("a.png",)

    @pytest.mark.parametrize("source", ["https://host.invalid/a.tar", "hf://datasets/owner/name"])
    def test_offline(self, source: str) -> None:
        with pytest.raises(SetupError, match="the run is offline") as caught:
            open_images(source, offline=True)
        assert caught.value.hint


class TestChoice:
    @pytest.fixture
    def many(self, tmp_path: Path) -> str:
        write(tmp_path, *(f"{i:03d}.png" for i in range(100)))
        return str(tmp_path)

    def test_limit_takes_the_first(self, many: str) -> None:
        assert open_images(many, limit=3).ids == ("000.png", "001.png", "002.png")
        assert len(open_images(many, limit=1000)) == 100

    def test_sample_is_drawn_with_the_seed_and_kept_in_order(self, many: str) -> None:
        drawn = open_images(many, sample=20, seed=1).ids
        assert drawn == open_images(many, sample=20, seed=1).ids
        assert drawn != open_images(many, sample=20, seed=2).ids
        assert list(drawn) == sorted(set(drawn))
        assert len(drawn) == 20
        assert len(open_images(many, sample=1000)) == 100

    def test_a_sample_is_the_same_wherever_it_is_drawn(self, many: str) -> None:
        assert open_images(many, sample=4, seed=0).ids == ("020.png", "021.png", "057.png", "099.png")

    def test_every_picture_is_drawn_about_as_often(self, many: str) -> None:
        drawn = [image_id for seed in range(200) for image_id in open_images(many, sample=10, seed=seed).ids]
        counts = [drawn.count(f"{i:03d}.png") for i in range(100)]
        assert sum(counts) == 2000
        assert min(counts) >= 5  # mean 20, standard deviation 4.2
        assert max(counts) <= 38

    def test_sample_is_drawn_from_the_limit(self, many: str) -> None:
        assert set(open_images(many, limit=10, sample=5).ids) <= set(open_images(many, limit=10).ids)

    @pytest.mark.parametrize("options", [{"limit": 0}, {"sample": 0}, {"limit": -1}])
    def test_no_picture_left(self, many: str, options: dict[str, int]) -> None:
        assert "leaves no picture" in refusal(many, **options).message

    def test_only_keeps_the_order(self, many: str) -> None:
        images = open_images(many)
        assert images.only({"062.png", "012.png", "absent.png"}).ids == ("012.png", "062.png")
        assert images.only(images.ids) == images


def test_the_bundled_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "samples/mine.png")
    monkeypatch.chdir(tmp_path)
    images = open_images("samples")
    assert len(images) >= 4
    assert "mine.png" not in images.ids
    assert all(Image.open(io.BytesIO(entry.read())).size >= (64, 64) for entry in images.entries)
    assert open_images("./samples").ids == ("mine.png",)


def test_real_pictures_are_read_whole(tmp_path: Path) -> None:
    data = encode(noise(30, 20), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    assert open_images(str(tmp_path)).entries[0].read() == data
