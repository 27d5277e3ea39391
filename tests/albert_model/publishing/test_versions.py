import errno
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.publishing import stores, versions
from albert_model.publishing.versions import Versions
from albert_model.weights import manifest
from tests.albert_model.publishing.killing import killed_at_each
from tests.forks import Fork, forkserver

FILES = {"config.json": b"{}\n", "saved_model/variables/data": b"\x01" * 5000, "saved_model/saved_model.pb": b"graph"}


def make_source(folder, files=None):
    for name, content in (files or FILES).items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder)


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / "source")


@pytest.fixture(params=["disk", "ram"])
def destination(request, tmp_path):
    """A folder on a disk, and one in TensorFlow's file system in memory."""
    return str(tmp_path / "new" / "encoders") if request.param == "disk" else f"ram://{tmp_path.name}/encoders"


def push(destination, source, model="a", keep=5):
    return Versions(destination).push(source, "# A model\n", {"created": "now", "lineage": {"model": model}}, keep)


def content(destination):
    """What is there besides the lock."""
    return sorted(set(stores.store_of(destination).names(destination)) - {stores.LOCK})


def assert_served(destination, number):
    """`latest` names it, and it is whole."""
    assert Versions(destination).latest() == number
    assert versions.verify(destination) == (f"{destination}/{number}", [])


# === Push ===


def test_a_version_is_complete_and_its_manifest_true(source, destination):
    assert push(destination, source) == 1
    assert content(destination) == ["1", "latest"]
    assert_served(destination, 1)
    store = stores.store_of(destination)
    assert store.files(f"{destination}/1") == sorted([*FILES, "MODEL_CARD.md", "manifest.json"])
    assert stores.read(store, f"{destination}/1/saved_model/variables/data") == FILES["saved_model/variables/data"]
    said = json.loads(stores.read(store, f"{destination}/1/manifest.json"))
    assert (said["version"], said["created"], said["lineage"]) == (1, "now", {"model": "a"})
    assert said["files"].keys() == {*FILES, "MODEL_CARD.md"}


def test_versions_count_up_and_what_is_pushed_stays(source, destination):
    push(destination, source, "a")
    store = stores.store_of(destination)
    before = {name: store.digest(f"{destination}/1/{name}") for name in store.files(f"{destination}/1")}
    assert push(destination, source, "b") == 2
    assert {name: store.digest(f"{destination}/1/{name}") for name in store.files(f"{destination}/1")} == before
    assert Versions(destination).numbers() == [1, 2]
    assert_served(destination, 2)


def test_a_model_that_is_the_newest_version_already_is_not_pushed_again(source, destination):
    """As after a push that was killed before it was recorded."""
    assert [push(destination, source, "a"), push(destination, source, "a")] == [1, 1]
    assert Versions(destination).numbers() == [1]


def test_a_model_that_an_older_version_holds_is_not_pushed_over_the_newest(source, destination):
    """As when the run of an older span is repeated with another licence."""
    assert [push(destination, source, model) for model in "aba"] == [1, 2, 1]
    assert Versions(destination).latest() == 2


def test_numbers_that_are_no_versions_are_left_alone(source, tmp_path):
    (tmp_path / "to" / "2024").mkdir(parents=True)
    (tmp_path / "to" / "2025").write_text("")
    (tmp_path / "to" / ("9" * 5000)[:200]).write_text("")
    (tmp_path / "to" / "0x1").write_text("")
    assert push(str(tmp_path / "to"), source) == 2026
    assert Versions(str(tmp_path / "to")).numbers() == [2026]


def test_old_versions_are_removed_and_never_the_one_that_is_served(source, destination):
    for model in "abcd":
        push(destination, source, model, keep=2)
    assert content(destination) == ["3", "4", "latest"]
    Versions(destination).rollback(3)
    assert push(destination, source, "d", keep=1) == 4  # the newest version: nothing is pushed or removed
    assert_served(destination, 3)
    assert push(destination, source, "e", keep=1) == 5
    assert content(destination) == ["5", "latest"]


def test_a_package_without_files_is_refused(tmp_path, destination):
    with pytest.raises(InputError, match="holds no files of a package"):
        push(destination, str(tmp_path / "nothing"))
    assert content(destination) == []


def test_a_source_elsewhere_is_read_there(source, tmp_path):
    remote = f"ram://{tmp_path.name}/package"
    for name, data in FILES.items():
        tf.io.gfile.makedirs(os.path.dirname(f"{remote}/{name}"))
        with tf.io.gfile.GFile(f"{remote}/{name}", "wb") as file:
            file.write(data)
    assert push(str(tmp_path / "to"), remote) == 1
    assert_served(str(tmp_path / "to"), 1)


# === Errors ===


def test_a_destination_that_is_a_file_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{tmp_path / 'file'}: is no folder"):
        push(str(tmp_path / "file"), source)


def test_a_destination_that_vanishes_is_named(source, tmp_path, monkeypatch):
    """In the middle of a push; nothing makes it anew."""
    destination = tmp_path / "to"
    push(str(destination), source)
    monkeypatch.setattr(versions.manifest, "text", lambda *_: shutil.rmtree(destination) or "{}")
    with pytest.raises(InputError, match=f"{destination}: is no folder, or vanished meanwhile"):
        push(str(destination), source, "b")
    assert not destination.exists()


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=64k none "$1" && exec "$2" -c '
import os, sys
from albert_model.errors import InputError
from albert_model.publishing.versions import Versions, verify
destination, source, large = sys.argv[1:]
def push(source, model):
    return Versions(destination).push(source, "", {"lineage": {"model": model}}, 5)
push(source, "a")
try:
    push(large, "b")
except InputError as error:
    print(error)
assert sorted(os.listdir(destination)) == [".lock", "1", "latest"], os.listdir(destination)
assert verify(destination) == (f"{destination}/1", [])
assert push(source, "c") == 2
' "$1" "$3" "$4"
"""


def test_a_full_disk_is_named_and_nothing_is_left_behind(source, tmp_path):
    """A real one, of 64 KiB, in a mount namespace of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no user mount a file system")
    (tmp_path / "disk").mkdir()
    large = make_source(tmp_path / "large", FILES | {"z": b"z" * 100_000})
    script = [_ON_A_SMALL_DISK, "sh", str(tmp_path / "disk"), sys.executable, source, large]
    done = subprocess.run(["unshare", "-rm", "sh", "-c", *script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'disk'}: the disk is full. What latest names is as it was." in done.stdout


def test_a_destination_that_may_not_be_written_is_named(source, destination, monkeypatch):
    def denied(self, path, chunks):
        raise OSError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(type(stores.store_of(destination)), "write", denied)
    with pytest.raises(InputError, match=r"cannot be written .*Permission denied"):
        push(destination, source)


def test_what_reads_back_as_something_else_is_not_published(source, destination, monkeypatch):
    push(destination, source)
    store = type(stores.store_of(destination))
    digest = store.digest

    def wrong(self, path):
        return digest(self, path).replace("0", "1") if path.endswith("data") else digest(self, path)

    monkeypatch.setattr(store, "digest", wrong)
    with pytest.raises(OSError, match="reads back as something else"):
        push(destination, source, "b")
    monkeypatch.undo()
    assert content(destination) == ["1", "latest"]
    assert_served(destination, 1)


# === Killed ===


def _killed_everywhere(folder, source):
    """In a process that has no threads, which is forked for each operation."""
    start, destination = Path(folder, "start"), Path(folder, "to")
    for model in "ab":
        push(str(start), source, model)
    before = {1: "a", 2: "b"}

    def prepare(_k):
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(start, destination)

    def check(k):
        there = Versions(str(destination))
        served = there.latest()
        assert served in (2, 3), k
        assert_served(str(destination), served)
        assert all(there.verify(number) == [] for number in there.numbers() if number in (*before, 3)), k
        other = "d" if k % 2 else "c"  # the same model once more, or the next
        number = push(str(destination), source, other, keep=1)
        assert_served(str(destination), number)
        assert content(str(destination)) == [str(number), "latest"], k

    operations = killed_at_each(prepare, partial(push, str(destination), source, "c", 1), check)
    print(operations)
    prepare(0)
    assert push(str(destination), source, "c", 1) == 3


def test_a_push_that_is_killed_leaves_a_complete_version(source, tmp_path):
    """At each of its file operations; the next push puts right what it left."""
    done = Fork(_killed_everywhere, tmp_path, source).done()
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


class Killed(BaseException):
    """What the file system says to a process that is dead."""


class Dying:
    """`tf.io.gfile` for a process that is killed before its k-th operation: it does nothing any more then."""

    def __init__(self, k):
        self.left = k

    def step(self):
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def GFile(self, path, mode):
        self.step()
        return DyingFile(path, mode, self.step) if "w" in mode else tf.io.gfile.GFile(path, mode)

    def __getattr__(self, name):
        def call(*arguments, **named):
            self.step()
            return getattr(tf.io.gfile, name)(*arguments, **named)

        return call


class DyingFile(tf.io.gfile.GFile):
    """A file that stays without content where the process is killed before it writes."""

    def __init__(self, path, mode, step):
        super().__init__(path, mode)
        self.step = step

    def write(self, content):
        super().write(b"")
        self.step()
        super().write(content)


def test_a_push_elsewhere_that_is_killed_leaves_a_complete_version(source, tmp_path, monkeypatch):
    """At each of its file operations; its lease ends by itself."""
    monkeypatch.setattr(stores, "_LEASE_SECONDS", 0.05)
    monkeypatch.setattr(stores._Lease, "hold", lambda self: None)  # which is tested below
    for k in range(1000):
        destination = f"ram://{tmp_path.name}-{k}"
        push(destination, source, "a")
        push(destination, source, "b")
        dying = Versions(destination)
        dying._store._files = Dying(k)
        try:
            assert dying.push(source, "", {"lineage": {"model": "c"}}, 1) == 3
            break
        except Killed:
            served = Versions(destination).latest()
            assert served in (2, 3)
            assert_served(destination, served)
            number = push(destination, source, "d", keep=1)
            assert_served(destination, number)
            assert content(destination) == [str(number), "latest"], k
    assert k > 60  # operations


# === Several at once ===


def test_pushers_at_once_get_a_version_each(source, tmp_path):
    destination = str(tmp_path / "to")
    with forkserver.Pool(3) as pool:
        numbers = pool.starmap(push, [(destination, source, model) for model in "abcdef"])
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6][-len(numbers) :]
    assert content(destination) == ["2", "3", "4", "5", "6", "latest"]
    assert_served(destination, 6)


def test_another_one_at_work_is_waited_for_and_then_named(source, destination, monkeypatch):
    push(destination, source)
    monkeypatch.setattr(stores, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(stores, "_LEASE_SECONDS", 2.0)
    with (
        stores.store_of(destination).lock(destination),
        pytest.raises(InputError, match="another push or rollback has been at work"),
    ):
        push(destination, source, "b")
    assert push(destination, source, "b") == 2


@pytest.fixture
def lease(tmp_path, monkeypatch):
    """Makes leases of a folder, of a second each."""
    monkeypatch.setattr(stores, "_LEASE_SECONDS", 1.0)
    tf.io.gfile.makedirs(f"ram://{tmp_path.name}")
    return lambda: stores._Lease(tf.io.gfile, f"ram://{tmp_path.name}")


def test_a_lease_is_prolonged_while_it_is_held(lease):
    one, other = lease(), lease()
    one.take()
    for _ in range(8):
        time.sleep(0.2)
        one.hold()
        other._write()
        assert other._others()
        other.drop()
    one.drop()
    other.take()


def test_who_was_held_up_for_too_long_stops(lease):
    one, other = lease(), lease()
    one.take()
    time.sleep(1.1)
    other.take()
    with pytest.raises(InputError, match="another push may have begun"):
        one.hold()


def test_a_lease_that_nobody_can_have_taken_is_no_lease(lease, tmp_path):
    with tf.io.gfile.GFile(f"ram://{tmp_path.name}/.lease-{'9' * 5000}-x", "w") as file:
        file.write("")
    lease().take()


# === Rollback ===


def test_rollback_and_on(source, destination):
    for model in "abc":
        push(destination, source, model)
    Versions(destination).rollback(1)
    assert_served(destination, 1)
    assert push(destination, source, "d") == 4
    assert_served(destination, 4)


def test_a_rollback_to_what_is_not_whole_is_refused(source, destination):
    push(destination, source, "a")
    push(destination, source, "b")
    stores.store_of(destination).remove(f"{destination}/1/config.json")
    with pytest.raises(InputError, match=r"/1: not as its manifest.json says: config.json is missing"):
        Versions(destination).rollback(1)
    assert_served(destination, 2)


def test_a_rollback_to_nothing_is_refused(source, destination):
    with pytest.raises(InputError, match="there is no such folder"):
        Versions(destination).rollback(1)
    push(destination, source)
    with pytest.raises(InputError, match="has no version 2; it has 1"):
        Versions(destination).rollback(2)


@pytest.mark.parametrize("said", ["", "two", "-1", "1 2", "9" * 5000, "../1"])
def test_a_pointer_that_names_nothing_is_refused_and_put_right_by_the_next_push(source, tmp_path, said):
    destination = str(tmp_path / "to")
    push(destination, source)
    (tmp_path / "to" / "latest").write_text(said)
    with pytest.raises(InputError, match=r"to/latest: should hold the number of a version, .*albert rollback"):
        versions.verify(destination)
    assert [version.is_latest for version in Versions(destination).all()] == [False]
    assert push(destination, source, "a") == 1  # nothing to push, and yet
    assert_served(destination, 1)


def test_a_pointer_to_what_is_not_there_is_named(source, tmp_path):
    push(str(tmp_path / "to"), source)
    (tmp_path / "to" / "latest").write_text("7\n")
    with pytest.raises(InputError, match="names version 7, which is not there"):
        versions.verify(str(tmp_path / "to"))
    push(str(tmp_path / "to"), source)
    assert_served(str(tmp_path / "to"), 1)


# === Verification ===


@pytest.fixture
def version(source, tmp_path):
    push(str(tmp_path / "to"), source)
    return tmp_path / "to" / "1"


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_flipped_byte_in_any_file_is_noticed(version):
    for path in sorted(path for path in version.rglob("*") if path.is_file() and path.name != "manifest.json"):
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(flipped(whole, place))
            assert versions.verify(str(version))[1] == [f"{path.relative_to(version)} was changed"]
        path.write_bytes(whole)
    assert versions.verify(str(version))[1] == []


def test_a_flipped_byte_anywhere_in_the_manifest_is_noticed(version):
    path = version / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place))
        assert len(versions.verify(str(version))[1]) == 1, whole[: place + 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["files"].update({"config.json": "0" * 64}),
        lambda said: said["files"].pop("config.json"),
        lambda said: said.update(digest="0" * 64),
        lambda said: said.pop("digest"),
        lambda said: said.update(format_version=1),
        lambda said: said.update(files={"../../x": "0"}),
        lambda said: said.update(files=None),
    ],
)
def test_a_manifest_that_was_edited_is_noticed(version, change):
    said = json.loads((version / "manifest.json").read_text())
    change(said)
    (version / "manifest.json").write_text(json.dumps(said, indent=2) + "\n")
    (problem,) = versions.verify(str(version))[1]
    assert problem.startswith("manifest.json: ")


def test_a_manifest_of_other_spaces_is_noticed(version):
    path = version / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert versions.verify(str(version))[1] == [
        "manifest.json: was changed since it was written (digest). Fetch it again."
    ]


def test_files_that_are_missing_or_extra_are_named(version):
    (version / "config.json").unlink()
    (version / "saved_model" / "more").write_text("")
    (version / "link").symlink_to("/dev/zero")
    (version / "links").symlink_to("/")
    os.mkfifo(version / "pipe")
    Path(os.fsdecode(bytes(version) + b"/\xff\x1b[2J")).touch()
    (version / "parity.json").write_text("as the converter writes")
    assert versions.verify(str(version))[1] == [
        "config.json is missing",
        *("link is extra", "links is extra", "pipe is extra", "saved_model/more is extra"),
        r"'\udcff\x1b[2J' is extra",
    ]


def test_what_is_no_package_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither a package .* nor a folder of versions"):
        versions.verify(str(tmp_path))
    with pytest.raises(InputError, match="nothing: there is no such folder"):
        versions.verify(str(tmp_path / "nothing"))


def test_a_package_without_its_manifest_is_said_to_be_one(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json is missing"):
        versions.verify(str(tmp_path))


def test_a_manifest_that_is_nested_deep_is_refused():
    with pytest.raises(InputError, match="x: "):
        manifest.read(b"[" * 100_000, "x")


def test_versions_are_listed_with_what_their_manifests_say(source, destination):
    push(destination, source, "a")
    push(destination, source, "b")
    first, second = Versions(destination).all()
    assert (first.number, first.folder, first.is_latest) == (1, f"{destination}/1", False)
    assert (second.manifest["lineage"], second.is_latest) == ({"model": "b"}, True)
    assert Versions(destination).version_of("a") == 1
    assert Versions(destination).version_of("z") is None
