import hashlib
import io
import os
import tarfile
import zipfile

import pytest

from albert_model.errors import InputError
from albert_model.weights.archive import check_sha256, extracted


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(name) if kind == tarfile.REGTYPE else 0
    return info


def write_tar(path, *members, mode="w:gz"):
    """An archive whose files hold their names."""
    with tarfile.open(path, mode) as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(info.name.encode()))
    return path


def write_zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def tree(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where archives are unpacked, three folders below one that they might write to."""
    folder = tmp_path / "a" / "b" / "scratch"
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


FORMATS = {"m.tar.gz": "w:gz", "m.tgz": "w:gz", "m.tar": "w"}


@pytest.mark.parametrize("name", FORMATS)
def test_files_are_there_as_long_as_the_context_lasts(scratch, tmp_path, name):
    path = write_tar(tmp_path / name, member("./a.txt"), member("./variables/b"), mode=FORMATS[name])
    with extracted(path) as folder:
        assert tree(folder) == {"a.txt": "./a.txt", "variables/b": "./variables/b"}
        assert scratch in folder.parents
    assert list(scratch.iterdir()) == []


def test_a_zip_archive_is_unpacked(scratch, tmp_path):
    with extracted(write_zip(tmp_path / "m.zip", "uncased/vocab.txt", "uncased/m.index")) as folder:
        assert tree(folder) == {"vocab.txt": "uncased/vocab.txt", "m.index": "uncased/m.index"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["albert_base/a", "albert_base/b"], {"a", "b"}),
        (["x/y/a", "x/y/b"], {"a", "b"}),
        (["x/a", "._x"], {"a"}),
        (["variables/a"], {"variables/a"}),
        (["x/a", "b"], {"x/a", "b"}),
    ],
    ids=["a folder", "nested", "with a Mac's notes", "a SavedModel's own", "beside a file"],
)
def test_a_folder_around_all_is_gone_into(scratch, tmp_path, names, expected):
    path = write_tar(tmp_path / "m.tar.gz", *map(member, names))
    with extracted(path) as folder:
        assert tree(folder).keys() == expected


def test_links_within_the_folder_are_kept(scratch, tmp_path):
    members = member("x/a"), member("x/b", tarfile.SYMTYPE, "a"), member("x/c", tarfile.LNKTYPE, "x/a")
    with extracted(write_tar(tmp_path / "m.tar.gz", *members)) as folder:
        assert tree(folder) == dict.fromkeys("abc", "x/a")


OUTSIDE = {
    "absolute": [member("/tmp/evil")],
    "parent": [member("../evil")],
    "parent, hidden": [member("x/../../evil")],
    "symbolic link out": [member("x/link", tarfile.SYMTYPE, "../../evil")],
    "absolute symbolic link": [member("link", tarfile.SYMTYPE, "/etc/passwd")],
    "file through a link": [member("link", tarfile.SYMTYPE, ".."), member("link/evil")],
    "hard link out": [member("link", tarfile.LNKTYPE, "../evil")],
    "absolute hard link": [member("link", tarfile.LNKTYPE, "/etc/passwd")],
}


@pytest.mark.parametrize("members", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("before", [[], [member("good")]], ids=["alone", "after a good one"])
def test_what_leads_out_is_refused_and_nothing_is_written(scratch, tmp_path, members, before):
    path = write_tar(tmp_path / "m.tar.gz", *before, *members)
    (tmp_path / "a" / "b" / "evil").write_text("as it was")
    message = rf"m.tar.gz: member {members[0].name} leads out of its folder"
    with pytest.raises(InputError, match=message), extracted(path):
        pass
    assert tree(tmp_path / "a") == {"b/evil": "as it was"}
    assert list(scratch.iterdir()) == []


def test_links_that_lead_out_together_are_refused(scratch, tmp_path):
    """Each looks as if it stayed inside."""
    chain = member("a/b", tarfile.SYMTYPE, "."), member("a/b/up", tarfile.SYMTYPE, "../.."), member("a/up/evil")
    path = write_tar(tmp_path / "m.tar.gz", *chain)
    with pytest.raises(InputError, match=r"m\.tar\.gz: "), extracted(path):
        pass
    assert tree(tmp_path / "a") == {}


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_refused(scratch, tmp_path, kind):
    path = write_tar(tmp_path / "m.tar.gz", member("good"), member("pipe", kind))
    with pytest.raises(InputError, match="member pipe is neither file nor folder"), extracted(path):
        pass
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "x/../../evil"])
def test_a_zip_archive_that_leads_out_is_refused(scratch, tmp_path, name):
    path = write_zip(tmp_path / "m.zip", "good", name)
    with pytest.raises(InputError, match=f"m.zip: member {name} leads out of its folder"), extracted(path):
        pass
    assert tree(tmp_path / "a") == {}


def truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def text(path):
    path.write_text("no archive")
    return path


DAMAGED = {
    "truncated": lambda folder: truncated(write_tar(folder / "m.tar.gz", *map(member, "abcdef")), -20),
    "truncated tar": lambda folder: truncated(write_tar(folder / "m.tar", member("a" * 90), mode="w"), 540),
    "empty": lambda folder: truncated(write_tar(folder / "m.tar.gz"), 0),
    "plain text": lambda folder: text(folder / "m.tar.gz"),
    "truncated zip": lambda folder: truncated(write_zip(folder / "m.zip", "a"), -20),
    "zip that is text": lambda folder: text(folder / "m.zip"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_is_refused(scratch, tmp_path, damage):
    path = damage(tmp_path)
    with pytest.raises(InputError, match=rf"(?s){path}: not a complete archive \(.*Fetch it again"), extracted(path):
        pass
    assert list(scratch.iterdir()) == []


def test_one_wrong_bit_of_a_packed_file_is_noticed(scratch, tmp_path):
    path = tmp_path / "m.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("weights")
        info.size = 50_000
        archive.addfile(info, io.BytesIO(os.urandom(50_000)))
    content = bytearray(path.read_bytes())
    content[30_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a complete archive"), extracted(path):
        pass


@pytest.mark.parametrize("change", [str, str.upper])
def test_the_right_checksum_passes(tmp_path, change):
    (tmp_path / "file").write_bytes(b"abc")
    check_sha256(tmp_path / "file", change(hashlib.sha256(b"abc").hexdigest()))


def test_a_wrong_checksum_is_refused_with_both(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    expected = hashlib.sha256(b"abd").hexdigest()
    message = f"file: its SHA-256 is {hashlib.sha256(b'abc').hexdigest()}, expected {expected}"
    with pytest.raises(InputError, match=message):
        check_sha256(tmp_path / "file", expected)
