"""Tar shards: indexed and streamed. The oracle for what a sample is: the webdataset package itself."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import webdataset

from tests.images.nasty import encode, noise
from vaecheck.errors import InputError, SetupError
from vaecheck.images import shards as shards_module
from vaecheck.images.entries import ImageSet, Listing, Share, Stream
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.sources import open_images

NAMES = ("a.png", "b/c.JPG", "b/d.jpeg", "e.WebP", "z/y/x.bmp")


def contents(images: ImageSet) -> dict[str, bytes]:
    return {entry.id: entry.read() for entry in images}


def faults(images: ImageSet) -> dict[str, str]:
    return {entry.id: entry.fault for entry in images if entry.fault}


def refusal(source: object, **options: int) -> InputError:
    with pytest.raises(InputError) as caught:
        list(open_images(str(source), **options))
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture " + os.fsencode(name))
    return tmp_path / "photos"


def compress(path: Path, mode: str) -> Path:
    """The same tar, compressed by tarfile."""
    packed = path.with_name(f"{path.name}.{mode}")
    opener = {"gz": gzip.open, "bz2": __import__("bz2").open, "xz": __import__("lzma").open}[mode]
    with opener(packed, "wb") as file:
        file.write(path.read_bytes())
    return packed


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


class TestShards:
    @pytest.fixture
    def shards(self, folder: Path, tmp_path: Path) -> Path:
        """The pictures of `folder` over three shards, with labels between them."""
        for i in range(3):
            members = {name: (folder / name).read_bytes() for name in NAMES[i::3]}
            labels = {f"{name}.cls": b"7" for name in NAMES[i::3]}
            write_shard(tmp_path / f"data-{i:03d}.tar", members | labels | {"./._a.png": b"hidden"})
        return tmp_path

    @pytest.mark.parametrize("pattern", ["data-{000..002}.tar", "data-*.tar", "data-{002..000}.tar"])
    def test_shards_equal_the_folder(self, folder: Path, shards: Path, pattern: str) -> None:
        assert contents(open_images(f"{shards}/{pattern}")) == contents(open_images(str(folder)))

    def test_a_list_of_shards(self, folder: Path, shards: Path) -> None:
        (shards / "shards.txt").write_text("data-000.tar\ndata-001.tar\ndata-002.tar\n")
        assert contents(open_images(str(shards / "shards.txt"))) == contents(open_images(str(folder)))

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_processes_divide_them_by_shards(self, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each picture once, in the order of its place; each shard opened by one process, where there are enough."""
        for i in range(3):
            members = {f"{i}{k}.png": encode(noise(16, 16, 9 * i + k), "PNG") for k in range(3 + i)}
            compress(write_shard(tmp_path / f"data-{i}.tar", members), "gz")
        stream = open_images(str(tmp_path / "data-{0..2}.tar.gz"))
        opened: list[str] = []
        real = shards_module._open
        monkeypatch.setattr(shards_module, "_open", lambda shard: (opened.append(shard), real(shard))[1])
        parts = [list(Share(rank, size).of(stream)) for rank in range(size)]
        assert [entry.id for _, entry in sorted((one for part in parts for one in part), key=lambda one: one[0])] == [
            entry.id for entry in stream
        ]
        assert len(opened) == (3 if size <= 3 else 3 * size) + 3
        few = stream.only({f"data-{i}.tar.gz/{i}1.png" for i in range(3)} | {"absent"})
        chosen = [entry.id for rank in range(size) for _, entry in Share(rank, size).of(few)]
        assert sorted(chosen) == [f"data-{i}.tar.gz/{i}1.png" for i in range(3)]

    def test_one_shard_made_of_a_folder(self, folder: Path, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "all.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(folder, arcname=".")
        assert contents(open_images(str(tmp_path / "all.tar"))) == contents(open_images(str(folder)))

    def test_shards_that_share_names_are_told_apart(self, tmp_path: Path) -> None:
        for i in range(2):
            write_shard(tmp_path / f"{i}.tar", {"0001.png": b"%d" % i})
        images = open_images(f"{tmp_path}/{{0..1}}.tar")
        assert contents(images) == {"0.tar/0001.png": b"0", "1.tar/0001.png": b"1"}

    def test_a_missing_shard_is_an_error(self, shards: Path) -> None:
        assert "data-003.tar does not exist" in refusal(f"{shards}/data-{{000..003}}.tar").message

    def test_reading_does_not_hold_the_shard(self, shards: Path) -> None:
        images = open_images(f"{shards}/data-*.tar")
        assert all(entry.length is not None and entry.offset >= 512 for entry in images.entries)

    def test_hard_links_and_special_members(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"a.png": b"one"})
        with tarfile.open(path, "a") as tar:
            for name, kind, target in (("b.png", tarfile.LNKTYPE, "a.png"), ("c.png", tarfile.SYMTYPE, "/etc/passwd")):
                header = tarfile.TarInfo(name)
                header.type, header.linkname = kind, target
                tar.addfile(header)
            fifo = tarfile.TarInfo("d.png")
            fifo.type = tarfile.FIFOTYPE
            tar.addfile(fifo)
        a, b, c, d = open_images(str(path)).entries
        assert a.read() == b"one"
        for entry in (b, c, d):
            with pytest.raises(InputError, match="special file inside its tar"):
                entry.read()

    def test_a_repeated_member_counts_once_packed_or_not(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"a.png": b"old"})
        with tarfile.open(path, "a") as tar:
            header = tarfile.TarInfo("a.png")
            header.size = 3
            tar.addfile(header, io.BytesIO(b"new"))
        for source in (path, compress(path, "gz")):
            first, again = list(open_images(str(source)))
            assert (first.id, first.read()) == ("a.png", b"old")
            assert (again.id, again.fault) == ("a.png#2", "repeats an earlier name of its shard")

    def test_names_that_climb_out_stay_inside(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"../../up.png": b"1", "/abs.png": b"2"})
        assert contents(open_images(str(path))) == {"up.png": b"1", "abs.png": b"2"}

    def test_a_shard_without_its_end_blocks_is_whole(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"a.png": b"x" * 512, "b.png": b"y" * 512})
        path.write_bytes(path.read_bytes()[:2048])
        assert open_images(str(path)).ids == ("a.png", "b.png")

    def test_what_is_no_tar_is_an_error(self, tmp_path: Path) -> None:
        for damaged in (b"", b"no tar", b"<html>" * 1000):
            for name in ("a.tar", "a.tar.gz", "a.tgz"):
                (tmp_path / name).write_bytes(damaged)
                assert "is not a tar file" in refusal(tmp_path / name).message

    def test_without_a_picture(self, tmp_path: Path) -> None:
        assert "no picture" in refusal(write_shard(tmp_path / "b.tar", {"a.txt": b"1"})).message
        (tmp_path / "c.tar.zst").write_bytes(b"")
        assert "zstd -d" in refusal(tmp_path / "c.tar.zst").hint


MEMBERS = {
    "000.jpg": b"picture 0",
    "000.json": b"{}",
    "000.seg.png": b"mask 0",
    "000.npy": b"embedding",
    "001.cls": b"1",
    "001.PNG": b"picture 1",
    "001.depth.png": b"depth",
    "002.webp": b"second",
    "002.jpg": b"picture 2",
    "inner/003.v2.png": b"picture 3",
    "004.npy": b"picture 4",
}
PICTURES = {
    "000.jpg": b"picture 0",
    "001.PNG": b"picture 1",
    "002.jpg": b"picture 2",
    "inner/003.v2.png": b"picture 3",
    "004.npy": b"picture 4",
}
SECOND = {"002.webp": "is a second picture of its sample, whose picture is 002.jpg"}


class TestSamples:
    @pytest.fixture(params=["tar", "gz", "bz2", "xz"])
    def shard(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = write_shard(tmp_path / "data.tar", MEMBERS)
        return path if request.param == "tar" else compress(path, request.param)

    def test_one_picture_of_each_sample(self, shard: Path) -> None:
        images = open_images(str(shard))
        assert {entry.id: entry.read() for entry in images if not entry.fault} == PICTURES
        assert faults(images) == SECOND

    def test_the_samples_are_those_of_webdataset(self, shard: Path) -> None:
        """As many pictures as webdataset has samples, under its keys."""
        keys = [sample["__key__"] for sample in webdataset.WebDataset(str(shard), shardshuffle=False)]
        mine = [entry.id.split(".")[0] for entry in open_images(str(shard)) if not entry.fault]
        assert sorted(mine) == sorted(keys)
        assert len(keys) == 5

    def test_dotted_pictures_without_a_plain_one_are_pictures(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"a.v1.png": b"1", "a.v2.png": b"2", "b.left.jpg": b"3"})
        assert contents(open_images(str(path))) == {"a.v1.png": b"1", "a.v2.png": b"2", "b.left.jpg": b"3"}


class TestStreams:
    @pytest.fixture
    def packed(self, tmp_path: Path) -> str:
        for i in range(2):
            members = {f"{i}{k:02d}.png": encode(noise(16, 16, 50 * i + k), "PNG") for k in range(50)}
            compress(write_shard(tmp_path / f"data-{i}.tar", members), "gz")
        return str(tmp_path / "data-{0..1}.tar.gz")

    def test_equal_to_plain_shards(self, packed: str) -> None:
        plain, stream = open_images(packed.removesuffix(".gz")), open_images(packed)
        assert isinstance(plain, Listing)
        assert isinstance(stream, Stream)
        assert stream.count is None
        assert [entry.read() for entry in stream] == [entry.read() for entry in plain]
        assert list(stream.ids) == [f"data-{i[0]}.tar.gz/{i}" for i in plain.ids]
        assert list(stream.files()) == sorted({entry.path + ".gz" for entry in plain})

    def test_one_shard_has_the_ids_of_the_plain_one(self, tmp_path: Path, packed: str) -> None:
        plain, stream = open_images(str(tmp_path / "data-0.tar")), open_images(str(tmp_path / "data-0.tar.gz"))
        assert contents(stream) == contents(plain)

    def test_every_pass_is_the_same(self, packed: str) -> None:
        stream = open_images(packed)
        assert list(stream) == list(stream)
        few = stream.only({"data-1.tar.gz/107.png", "data-0.tar.gz/003.png", "absent"})
        assert list(few.ids) == ["data-0.tar.gz/003.png", "data-1.tar.gz/107.png"]
        many = stream.only(list(stream.ids)[10:90])
        assert list(many.ids) == list(stream.ids)[10:90] == [entry.id for entry in many]
        assert many.count == 80

    def test_limit_and_sample(self, packed: str) -> None:
        ids = list(open_images(packed).ids)
        assert [entry.id for entry in open_images(packed, limit=60)] == ids[:60]
        drawn = open_images(packed, sample=70, seed=3)
        assert drawn.count == 70
        assert [entry.id for entry in drawn] == [image_id for image_id in ids if image_id in set(drawn.ids)]
        assert set(open_images(packed, limit=20, sample=5).ids) <= set(ids[:20])

    def test_the_same_draw_as_of_a_listing(self, tmp_path: Path, packed: str) -> None:
        plain, stream = tmp_path / "data-0.tar", tmp_path / "data-0.tar.gz"
        assert open_images(str(stream), sample=9).ids == open_images(str(plain), sample=9).ids

    def test_a_limit_does_not_read_the_rest(self, tmp_path: Path, packed: str) -> None:
        (tmp_path / "data-1.tar.gz").write_bytes(b"no tar")
        assert len(list(open_images(packed, limit=50))) == 50
        assert "data-1.tar.gz is not a tar file" in refusal(packed, limit=51).message

    def test_repeated_names(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.tar", {"a.png": b"1", "b.png": b"2"})
        with tarfile.open(path, "a") as tar:
            tar.addfile(tarfile.TarInfo("a.png"))
        packed = compress(path, "gz")
        entries = list(open_images(str(packed)))
        assert [(entry.id, bool(entry.fault)) for entry in entries] == [("a.png", 0), ("b.png", 0), ("a.png#2", 1)]

    def test_memory_is_flat(self, tmp_path: Path) -> None:
        """20 MB of pictures; what is held at once stays under a few of them."""
        picture = os.urandom(200_000)
        packed = compress(write_shard(tmp_path / "a.tar", {f"{i:04d}.png": picture for i in range(100)}), "gz")
        stream = open_images(str(packed))
        next(iter(stream))
        tracemalloc.start()
        assert sum(len(entry.read()) for entry in stream) == 100 * 200_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


class TestDamage:
    @pytest.fixture
    def whole(self, tmp_path: Path) -> bytes:
        """Five members of 1536 bytes each, header and all."""
        return write_shard(tmp_path / "a.tar", {f"{i}.png": b"x" * 1000 for i in range(5)}).read_bytes()

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("cut", "left"),
        [(1536 * 2 + 700, 2), (1536 * 2 + 100, 2), (1536 * 4 + 512 + 999, 4), (1536 + 512, 1)],
    )
    def test_a_cut_shard_gives_its_whole_members_and_one_skip(
        self, tmp_path: Path, whole: bytes, cut: int, left: int, packed: bool
    ) -> None:
        name = "a.tar.gz" if packed else "a.tar"
        (tmp_path / name).write_bytes(gzip.compress(whole[:cut]) if packed else whole[:cut])
        images = open_images(str(tmp_path / name))
        assert [entry.id for entry in images if not entry.fault] == [f"{i}.png" for i in range(left)]
        assert list(faults(images)) == [name]
        assert faults(images)[name].startswith("is damaged or cut off near byte ")

    def test_a_compressed_file_that_is_cut(self, tmp_path: Path) -> None:
        members = {f"{i}.png": os.urandom(20_000) for i in range(10)}
        packed = compress(write_shard(tmp_path / "a.tar", members), "gz")
        packed.write_bytes(packed.read_bytes()[:100_000])
        good = [entry for entry in open_images(str(packed)) if not entry.fault]
        assert len(good) == 4
        assert all(entry.read() == members[entry.id] for entry in good)
        assert list(faults(open_images(str(packed)))) == ["a.tar.gz"]

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_damaged_header(self, tmp_path: Path, whole: bytes, packed: bool) -> None:
        junk = whole[:3072] + b"junk" * 128 + whole[3584:]
        name = "a.tar.gz" if packed else "a.tar"
        (tmp_path / name).write_bytes(gzip.compress(junk) if packed else junk)
        images = open_images(str(tmp_path / name))
        assert [entry.id for entry in images if not entry.fault] == ["0.png", "1.png"]
        assert "a damaged header" in faults(images)[name]

    def test_a_header_that_leads_back(self, tmp_path: Path, whole: bytes) -> None:
        """A negative size, in base 256, would have tarfile read the same members for ever."""
        header = bytearray(whole[1536:2048])
        header[124:136] = b"\xff" * 8 + (-1536 & 0xFFFFFFFF).to_bytes(4, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "a.tar").write_bytes(whole[:1536] + bytes(header) + whole[2048:])
        images = open_images(str(tmp_path / "a.tar"))
        assert [entry.id for entry in images] == ["0.png", "a.tar"]

    def test_it_is_counted_or_ends_the_run(self, tmp_path: Path) -> None:
        members = {f"{i}.png": encode(noise(16, 16, i), "PNG") for i in range(4)}
        for i in range(2):
            write_shard(tmp_path / f"{i}.tar", {f"{i}{name}": data for name, data in members.items()})
        (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:3000])
        images = open_images(f"{tmp_path}/{{0..1}}.tar")
        loader = Loader(images, Intake(size=16), batch_size=4)
        assert sum(len(batch.ids) for batch in loader) == loader.count == 6
        assert [skipped.id for skipped in loader.skipped] == ["0.tar"]
        with pytest.raises(InputError, match=r"0\.tar is damaged or cut off near byte"):
            list(Loader(images, Intake(size=16, bad_images="fail"), batch_size=4))

    @pytest.mark.parametrize("packed", [False, True])
    def test_flipped_bytes_never_hang_nor_crash(self, tmp_path: Path, whole: bytes, packed: bool) -> None:
        import random

        draw = random.Random(0)
        source = gzip.compress(whole) if packed else whole
        path = tmp_path / ("a.tar.gz" if packed else "a.tar")
        for _ in range(150):
            damaged = bytearray(source)
            for _ in range(draw.randint(1, 20)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            path.write_bytes(damaged)
            with contextlib.suppress(InputError):
                assert len(list(open_images(str(path)))) <= 6


class TestHostileNames:
    @pytest.mark.parametrize("packed", [False, True])
    def test_nothing_is_written_and_ids_stay_inside(
        self, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = tmp_path / "place"
        place.mkdir()
        path = write_shard(tmp_path / "a.tar", {"../../up.png": b"1", "/abs.png": b"2", "C:\\x\n.png": b"3"})
        with tarfile.open(path, "a") as tar:
            for name, kind in (
                ("link.png", tarfile.SYMTYPE),
                ("dev.png", tarfile.CHRTYPE),
                ("hard.png", tarfile.LNKTYPE),
            ):
                header = tarfile.TarInfo(name)
                header.type, header.linkname = kind, "/etc/passwd"
                tar.addfile(header)
        path = compress(path, "gz") if packed else path
        monkeypatch.chdir(place)
        before = sorted(tmp_path.rglob("*"))
        images = open_images(str(path))
        good = {entry.id: entry.read() for entry in images if not entry.fault}
        assert good == {"up.png": b"1", "abs.png": b"2", "C:\\\\x\\n.png": b"3"}
        assert set(faults(images)) == {"link.png", "dev.png", "hard.png"}
        assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if "broken" not in self.path:
                return super().do_GET()
            body = (tmp_path / "data-0.tar").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:2000])
            self.close_connection = True
            return None

    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()


class TestRemote:
    @pytest.fixture(autouse=True)
    def shards(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for i in range(2):
            write_shard(tmp_path / f"data-{i}.tar", {f"{i}{k}.png": b"%d %d" % (i, k) * 200 for k in range(3)})
        compress(tmp_path / "data-0.tar", "gz")

    def test_a_range_of_urls(self, server: str, tmp_path: Path) -> None:
        images = open_images(f"{server}/data-{{0..1}}.tar")
        assert list(contents(images).values()) == list(contents(open_images(f"{tmp_path}/data-*.tar")).values())
        assert next(iter(images.ids)) == "data-0.tar/00.png"
        assert list(images.files()) == []

    def test_compressed_and_in_a_list(self, server: str, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text(f"# shards\n{server}/data-0.tar.gz\n")
        assert [entry.id for entry in open_images(str(tmp_path / "names.txt"))] == ["00.png", "01.png", "02.png"]

    def test_what_is_not_there(self, server: str) -> None:
        assert "answered 404" in refusal(f"{server}/gone.tar").message

    def test_a_connection_that_breaks_is_no_end_of_the_shard(self, server: str) -> None:
        with pytest.raises(SetupError, match=r"broken\.tar broke off 8240 bytes before its end"):
            list(open_images(f"{server}/broken.tar"))

    def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shards_module, "PATIENCE_SECONDS", 2)
        with pytest.raises(SetupError, match="cannot be reached"):
            list(open_images("http://127.0.0.1:1/a.tar"))


def test_streams_pickle(tmp_path: Path) -> None:
    packed = compress(write_shard(tmp_path / "a.tar", {"a.png": b"1"}), "gz")
    images = open_images(str(packed))
    assert list(pickle.loads(pickle.dumps(images))) == list(images)
