"""Archives and folders of arrays: what is read, and a sentence for all that is broken."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from released import npy

from pipeline.core.errors import PipelineError
from pipeline.data.archives import (
    ArrayArchive,
    ArrayFolder,
    array_digest,
    array_path,
    open_arrays,
    parse_npy,
)

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)
LARGEST = ROWS.nbytes


def write_zip(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def refusal(path: Path, name: str = "a/x.npy", largest: int = LARGEST) -> str:
    """Return the one sentence with which an archive is refused."""
    with pytest.raises(PipelineError) as error, open_arrays(path) as source:
        source.read(name, largest)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "bool", ">f4"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_and_a_folder_give_the_same_arrays(
    tmp_path: Path, dtype: str, compression: int
) -> None:
    rows = ROWS.astype(dtype)
    path = write_zip(
        tmp_path / "a.zip", {"a/x.npy": npy(rows), "a/note.txt": b""}, compression=compression
    )
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "folder/a/x.npy").write_bytes(npy(rows))
    for source in (ArrayArchive(path), ArrayFolder(tmp_path / "folder")):
        with source:
            assert list(source.names()) == ["a/x.npy"]
            read = source.read("a/x.npy", rows.nbytes)
        assert read.dtype == rows.dtype
        np.testing.assert_array_equal(read, rows)


def test_the_order_of_a_fortran_array_is_kept() -> None:
    rows = np.asfortranarray(ROWS)
    np.testing.assert_array_equal(parse_npy(npy(rows), "x"), rows)


def test_what_macos_adds_is_ignored(tmp_path: Path) -> None:
    names = ["a/x.npy", "__MACOSX/a/._x.npy", "a/._x.npy"]
    path = write_zip(tmp_path / "a.zip", dict.fromkeys(names, npy(ROWS)))
    with ArrayArchive(path) as source:
        assert list(source.names()) == ["a/x.npy"]


@pytest.mark.parametrize(
    "name", ["../x.npy", "a/../../x.npy", "/etc/x.npy", "..\\x.npy", "C:/x.npy", "\\x.npy"]
)
def test_a_name_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS), name: npy(ROWS)})
    assert "whose name leaves the folder; download" in refusal(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (stat.S_IFLNK, "member 'a/link' that is a link"),
        (stat.S_IFIFO, "member 'a/link' that is neither a file nor a folder"),
    ],
)
def test_a_member_that_is_no_file(tmp_path: Path, kind: int, sentence: str) -> None:
    member = zipfile.ZipInfo("a/link")
    member.create_system = 3
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/x.npy", npy(ROWS))
        file.writestr(member, "/etc/passwd")
    assert sentence in refusal(tmp_path / "a.zip")


def test_pickled_objects(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": file.getvalue()})
    assert "'a/x.npy' has pickled objects" in refusal(path, largest=10**6).replace(f"{path}: ", "")


def test_a_bomb_is_refused_by_its_stated_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": bytes(50_000_000)})
    assert path.stat().st_size < 60_000
    assert "has 50000000 bytes; it must have at most 4176" in refusal(path)


def test_a_bomb_that_understates_its_size_is_read_no_further(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS) + bytes(50_000_000)})
    content = path.read_bytes()
    stated = struct.pack("<I", len(npy(ROWS)) + 50_000_000)
    assert content.count(stated) == 2
    path.write_bytes(content.replace(stated, struct.pack("<I", len(npy(ROWS)))))
    assert "is corrupt" in refusal(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, compression: int) -> None:
    """zipfile would unpack such a member whole, whatever size it states."""
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS)}, compression=compression)
    assert "has a member 'a/x.npy' that is neither stored nor deflated" in refusal(path)


def test_a_shape_that_the_file_does_not_hold() -> None:
    content = npy(ROWS).replace(b"(10, 2)", b"(99, 9)")
    with pytest.raises(PipelineError, match=r"has 80 bytes of values, but .* needs 3,564"):
        parse_npy(content, "x.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array at all", npy(ROWS)[:40]])
def test_what_is_no_array(content: bytes) -> None:
    with pytest.raises(PipelineError, match=r"'x.npy' is not an .npy file"):
        parse_npy(content, "x.npy")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member(tmp_path: Path, compression: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS)}, compression=compression)
    content = bytearray(path.read_bytes())
    content[30 + len("a/x.npy") + 40] ^= 0xFF
    path.write_bytes(content)
    assert "is corrupt" in refusal(path)


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS)})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "member 'a/x.npy' that is encrypted" in refusal(path)


def test_a_member_that_is_listed_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/x.npy", npy(ROWS))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a/x.npy", npy(ROWS + 1))
    assert "lists the member 'a/x.npy' twice" in refusal(path)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_download_that_broke_off(tmp_path: Path, kept: float) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS), "a/y.npy": npy(ROWS)})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "is not a whole zip archive" in refusal(path)


def test_a_link_out_of_a_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "outside.npy").write_bytes(npy(ROWS))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.npy").symlink_to(tmp_path / "outside.npy")
    (folder / "y.npy").write_bytes(npy(ROWS))
    (folder / "z.npy").symlink_to("y.npy")
    (folder / "up").symlink_to(tmp_path)
    with ArrayFolder(folder) as source:
        assert list(source.names()) == ["y.npy", "z.npy"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        file.truncate(10**12)
    assert "it must have at most" in refusal(tmp_path, "x.npy")


def test_an_archive_comes_before_a_folder_beside_it(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"has neither CLIP.zip nor a folder CLIP/"):
        array_path(str(tmp_path), "CLIP")
    (tmp_path / "CLIP").mkdir()
    assert array_path(str(tmp_path), "CLIP") == tmp_path / "CLIP"
    write_zip(tmp_path / "CLIP.zip", {})
    assert array_path(str(tmp_path), "CLIP") == tmp_path / "CLIP.zip"


def test_a_digest_changes_with_the_arrays_alone(tmp_path: Path) -> None:
    first = write_zip(tmp_path / "a.zip", {"a/x.npy": npy(ROWS)}, compression=zipfile.ZIP_STORED)
    digest = array_digest(first)
    moved = tmp_path / "elsewhere.zip"
    moved.write_bytes(first.read_bytes())
    os.utime(moved, (0, 0))
    assert array_digest(moved) == digest
    write_zip(first, {"a/x.npy": npy(ROWS + 1)}, compression=zipfile.ZIP_STORED)
    assert first.stat().st_size == moved.stat().st_size
    assert array_digest(first) != digest
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.npy").write_bytes(npy(ROWS))
    digest = array_digest(folder)
    (folder / "y.npy").write_bytes(npy(ROWS))
    assert array_digest(folder) != digest
    with pytest.raises(PipelineError, match="cannot be read"):
        array_digest(tmp_path / "nowhere.zip")
