"""Tables, written by pyarrow and by the datasets package."""

from __future__ import annotations

import os
import random
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.images.nasty import encode, noise
from vaecheck.errors import InputError, SetupError
from vaecheck.images.entries import HELD_AT_MOST, Listing, Stream
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.sources import open_images

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def picture(i: int) -> bytes:
    return encode(noise(20, 16, i), "PNG")


def write(path: Path, columns: dict[str, Any], rows_in_group: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_in_group)
    return path


def cells(ids: range) -> Any:
    return pa.array([{"bytes": picture(i), "path": f"{i}.png"} for i in ids], type=IMAGE)


def refusal(source: object, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        open_images(str(source), **options)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """120 pictures in two tables, as hub data sets have them."""
    for i in range(2):
        columns = {"image": cells(range(60 * i, 60 * i + 60)), "label": pa.array(range(60))}
        write(tmp_path / "set" / f"train-{i:05d}-of-00002.parquet", columns)
    (tmp_path / "set" / "README.md").write_text("a data set")
    return tmp_path / "set"


class TestSources:
    @pytest.mark.parametrize("source", ["set", "set/*.parquet", "set/train-{00000..00001}-of-00002.parquet", "all.txt"])
    def test_folder_glob_braces_and_list(self, folder: Path, source: str) -> None:
        (folder.parent / "all.txt").write_text("\n".join(f"set/{path.name}" for path in folder.glob("*.parquet")))
        images = open_images(str(folder.parent / source))
        entries = list(images)
        assert images.count == len(entries) == 120
        assert entries[0].id == "train-00000-of-00002.parquet/00000000"
        assert entries[-1].id == "train-00001-of-00002.parquet/00000059"
        assert [entry.read() for entry in entries] == [picture(i) for i in range(120)]
        assert [entry.id for entry in entries] == list(images.ids) == sorted(images.ids)

    def test_one_file(self, folder: Path) -> None:
        images = open_images(str(folder / "train-00001-of-00002.parquet"))
        assert images.count == 60
        assert next(iter(images)).id == "train-00001-of-00002.parquet/00000000"
        assert list(images.files()) == [str(folder / "train-00001-of-00002.parquet")]

    def test_pictures_beside_a_table_are_the_pictures(self, folder: Path) -> None:
        (folder / "a.png").write_bytes(picture(0))
        assert open_images(str(folder)).ids == ("a.png",)

    @pytest.mark.parametrize("embedded", [True, False])
    def test_what_the_datasets_package_writes(self, tmp_path: Path, embedded: bool) -> None:
        """Its Image feature holds the bytes, or the path of a file here."""
        for i in range(3):
            (tmp_path / f"{i}.png").write_bytes(picture(i))
        features = datasets.Features({"note": datasets.Value("binary"), "shot": datasets.Image()})
        shots = [{"bytes": picture(i)} if embedded else str(tmp_path / f"{i}.png") for i in range(3)]
        rows = datasets.Dataset.from_dict({"note": [b"x"] * 3, "shot": shots}, features)
        rows.to_parquet(tmp_path / "out" / "a.parquet")
        images = open_images(str(tmp_path / "out"))
        assert [entry.read() for entry in images] == [picture(i) for i in range(3)]

    def test_one_fingerprint_for_all_forms(self, folder: Path, tmp_path: Path) -> None:
        files = tmp_path / "files"
        files.mkdir()
        for i in range(120):
            (files / f"{i:03d}.png").write_bytes(picture(i))
        (tmp_path / "names.txt").write_text("\n".join(f"files/{i:03d}.png" for i in range(120)))
        for name, mode in (("files.tar", "w"), ("files.tar.gz", "w:gz")):
            with tarfile.open(tmp_path / name, mode) as tar:
                tar.add(files, ".")
        forms = ["files", "files/*.png", "names.txt", "files.tar", "files.tar.gz", "set"]
        found = {}
        for form in forms:
            loader = Loader(open_images(str(tmp_path / form)), Intake(size=16), batch_size=32)
            found[form] = (sum(len(batch.ids) for batch in loader), loader.fingerprint)
        assert set(found.values()) == {(120, found["files"][1])}


class TestPasses:
    def test_limit_and_sample(self, folder: Path) -> None:
        ids = list(open_images(str(folder)).ids)
        few = open_images(str(folder), limit=61)
        assert [entry.id for entry in few] == ids[:61] == list(few.ids)
        assert few.count == 61
        drawn = open_images(str(folder), sample=80, seed=1)
        assert drawn.count == 80
        assert [entry.id for entry in drawn] == list(drawn.ids) == [i for i in ids if i in set(drawn.ids)]
        assert set(open_images(str(folder), limit=50, sample=20).ids) <= set(ids[:50])
        assert len(list(open_images(str(folder), sample=500))) == 120

    def test_few_are_held_and_many_stream(self, folder: Path) -> None:
        images = open_images(str(folder))
        ids = list(images.ids)
        few, many = images.only(ids[50:70]), images.only(ids[: HELD_AT_MOST + 1])
        assert isinstance(few, Listing)
        assert isinstance(many, Stream)
        assert [entry.read() for entry in few] == [picture(i) for i in range(50, 70)]
        assert [entry.id for entry in many] == ids[: HELD_AT_MOST + 1]

    def test_a_limit_does_not_read_the_rest(self, folder: Path) -> None:
        path = folder / "train-00001-of-00002.parquet"
        images = open_images(str(folder), limit=60)
        path.unlink()
        assert len(list(images)) == 60

    def test_memory_is_bounded(self, tmp_path: Path) -> None:
        """90 MB of pictures in one row group; pyarrow never holds more than a fraction of it."""
        path = tmp_path / "big.parquet"
        big = [os.urandom(30_000) for _ in range(100)]
        with pq.ParquetWriter(
            path, pa.schema({"jpg": pa.binary()}), use_dictionary=False, compression="none"
        ) as writer:
            for _ in range(1):
                writer.write_table(pa.table({"jpg": big * 30}), row_group_size=3000)
        assert pq.ParquetFile(path).num_row_groups == 1
        del big
        images = open_images(str(path))
        held = []
        for entry in images:
            assert len(entry.read()) == 30_000
            held.append(pa.total_allocated_bytes())
        assert len(held) == 3000
        assert max(held) < 40e6


class TestColumns:
    def test_by_kind_and_by_name(self, tmp_path: Path) -> None:
        data = pa.array([picture(0)])
        alone = {"blob": data, "text": pa.array(["x"])}
        named = {"embedding": data, "img": data}
        declared = {"mask": cells(range(1, 2)), "image": cells(range(1)), "raw": data}
        for i, columns in enumerate((alone, named, declared)):
            images = open_images(str(write(tmp_path / f"{i}.parquet", columns)))
            assert [entry.read() for entry in images] == [picture(0)]
            assert images.source == f"{tmp_path / f'{i}.parquet'}{['', '#img', '#image'][i]}"

    def test_named_by_the_user(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", {"image": cells(range(1)), "mask": cells(range(1, 2))})
        assert [entry.read() for entry in open_images(f"{path}#mask")] == [picture(1)]
        assert open_images(f"{path}#mask").source == f"{path}#mask"
        assert [entry.read() for entry in open_images(f"{tmp_path}/*.parquet#mask")] == [picture(1)]
        assert "column nope is absent" in refusal(f"{path}#nope").message
        assert refusal(f"{path}#nope").hint == "Its columns: image (pictures), mask (pictures)"

    def test_ambiguous_and_absent(self, tmp_path: Path) -> None:
        two = write(tmp_path / "two.parquet", {"left": cells(range(1)), "right": cells(range(1))})
        assert "several columns that may hold pictures: left, right" in refusal(two).message
        assert f"{two}#left" in refusal(two).hint
        none = write(tmp_path / "none.parquet", {"label": pa.array([1])})
        assert "no column of pictures, but label (int64)" in refusal(none).message
        assert "label holds no pictures" in refusal(f"{none}#label").message

    def test_tables_of_different_columns(self, folder: Path) -> None:
        write(folder / "z.parquet", {"other": cells(range(1))})
        assert "z.parquet has no column image, which " in refusal(folder).message


class TestFaults:
    def test_cells_without_a_picture_are_skips(self, tmp_path: Path) -> None:
        values = [
            None,
            {"bytes": None, "path": "https://host.invalid/a"},
            {"bytes": b"", "path": None},
            {"bytes": picture(0)},
        ]
        path = write(tmp_path / "a.parquet", {"image": pa.array(values, type=IMAGE)})
        loader = Loader(open_images(str(path)), Intake(size=16), batch_size=4)
        assert [batch.ids for batch in loader] == [("a.parquet/00000003",)]
        reasons = [skipped.reason for skipped in loader.skipped]
        assert reasons[:2] == ["has no bytes", "has no bytes, only the path https://host.invalid/a"]
        assert len(reasons) == 3

    def test_a_damaged_row_group_loses_its_own_rows_alone(self, folder: Path) -> None:
        path = folder / "train-00000-of-00002.parquet"
        column = pq.ParquetFile(path).metadata.row_group(2).column(0)
        data = bytearray(path.read_bytes())
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
        path.write_bytes(data)
        entries = list(open_images(str(folder)))
        lost = [i for i, entry in enumerate(entries) if entry.fault]
        assert lost == list(range(20, 30))
        assert entries[20].fault.startswith("cannot be read: ")
        assert len(entries) == 120

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no table" * 100])
    def test_no_table(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.parquet").write_bytes(content)
        assert "is not a complete parquet file" in refusal(tmp_path / "a.parquet").message

    def test_a_cut_table_a_pipe_and_no_rows(self, folder: Path, tmp_path: Path) -> None:
        path = folder / "train-00000-of-00002.parquet"
        path.write_bytes(path.read_bytes()[:-100])
        assert "train-00000-of-00002.parquet is not a complete parquet file" in refusal(folder).message
        os.mkfifo(tmp_path / "pipe.parquet")
        assert "is a named pipe" in refusal(tmp_path / "pipe.parquet").message
        empty = write(tmp_path / "empty.parquet", {"image": pa.array([], type=IMAGE)})
        assert "it has no rows" in refusal(empty).message

    def test_flipped_bytes_end_in_skips_or_an_error(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", {"image": cells(range(6))}, rows_in_group=3)
        whole, draw = path.read_bytes(), random.Random(0)
        outcomes = {"read": 0, "refused": 0}
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            path.write_bytes(data)
            try:
                list(open_images(str(path)))
                outcomes["read"] += 1
            except InputError:
                outcomes["refused"] += 1
        assert sum(outcomes.values()) == 200
        assert min(outcomes.values()) > 0


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SetupError, match="need the pyarrow package") as caught:
        open_images(str(folder))
    assert caught.value.hint == "pip install 'vaecheck[data]'"
