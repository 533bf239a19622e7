"""A folder and a bucket behave alike; what only one of them knows comes after."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks.adapters.storage import open_store
from tasks.adapters.storage import s3 as s3_adapter
from tasks.adapters.storage.folder import FolderStore
from tasks.core.errors import ObjectChanged, SettingsError, StorageError
from tasks.core.records import VideoRef
from tests.adapters.storage.places import Folder, Place
from tests.s3 import Bucket, Disturbance, Server, fill
from tests.waiting import patience

pytest_plugins = ["tests.s3", "tests.adapters.storage.places"]

MIB = 2**20
ODD_NAMES = [
    "two words.mp4",
    "ünï-ćode 視頻.mp4",
    "100%25 %.mp4",
    "-dash.mp4",
    "[1080p] (final).mp4",
    "a+b&c=d;e#f.mp4",
    "quote'\".mp4",
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "store").mkdir()
    return Folder(tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a b/%20/", "s3://bucket/a b/%20"),
        ("file:///videos/new", "file:///videos/new"),
        ("/videos//new/", "file:///videos/new"),
        ("videos", f"file://{Path.cwd()}/videos"),
        ("~/videos", f"file://{Path.home()}/videos"),
    ],
)
def test_a_store_tells_its_whole_uri(text: str, uri: str) -> None:
    assert open_store(text).uri == uri


@pytest.mark.parametrize(
    ("typed", "stored"), [("Caf\u00e9", ["Cafe\u0301"]), ("Cafe\u0301", ["Caf\u00e9"]), ("Caf\u00e9", [])]
)
def test_a_folder_is_found_in_whatever_unicode_form_it_was_typed(
    tmp_path: Path, typed: str, stored: list[str]
) -> None:
    for name in stored:
        (tmp_path / name).mkdir()
    assert open_store(str(tmp_path / typed)).uri == f"file://{tmp_path}/{(stored or [typed])[0]}"
    (tmp_path / typed).mkdir()
    assert open_store(str(tmp_path / typed)).uri == f"file://{tmp_path}/{typed}"


@pytest.mark.parametrize("text", ["", "/", "s3://", "s3:///", "file://", "gs://bucket/x", "http://host/x"])
def test_what_is_no_place_for_files_is_an_error_that_shows_the_fix(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write s3://bucket/prefix, or a folder") as caught:
        open_store(text)
    assert repr(text) in str(caught.value)


def test_videos_are_chosen_by_pattern_in_the_order_of_their_uris(place: Place) -> None:
    for key in ["in/b.MP4", "in/a/deep/x.mov", "in/empty.avi", "in/notes.txt", "in-other/c.mp4", "d.mp4"]:
        place.put(key, b"" if "empty" in key else key.encode())
    store = open_store(f"{place.uri}/in")
    videos = store.videos("**/*.{mp4,mov,avi}")
    names = ["a/deep/x.mov", "b.MP4", "empty.avi"]
    assert [video.uri for video in videos] == [f"{place.uri}/in/{name}" for name in names]
    assert [video.size_bytes for video in videos] == [15, 8, 0]
    assert store.videos("**/*.{mp4,mov,avi}", limit=2) == videos[:2]
    assert store.videos("*.mp4") == [videos[1]]
    assert store.videos("nothing") == []


def test_what_is_no_video_is_counted_and_what_is_hidden_named(place: Place) -> None:
    for key in [
        "in/a.mp4",
        "in/a.srt",
        "in/b/B.JPG",
        "in/b/._a.mp4",
        "in/@eaDir/a.mp4/x.jpg",
        "in/.x/y/a.mp4",
    ]:
        place.put(key)
    place.put("in/_SUCCESS", b"")
    uri = f"{place.uri}/in"
    listing = open_store(uri).listing("**/*.mp4")
    assert [video.uri for video in listing.videos] == [f"{uri}/a.mp4"]
    assert listing.left_out.by_ending == {"srt": 1, "jpg": 1}
    hidden = [".x/", "@eaDir/", "_SUCCESS", "b/._a.mp4"]
    assert listing.left_out.named == [f"{uri}/{name}" for name in hidden]
    assert len(open_store(uri).names()) == 7


def test_an_etag_tells_two_versions_apart(place: Place) -> None:
    place.put("a.mp4", b"one")
    first = open_store(place.uri).videos("*")
    assert open_store(place.uri).videos("*") == first
    place.put("a.mp4", b"two")
    assert open_store(place.uri).videos("*") != first
    assert '"' not in first[0].etag


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_kept_verbatim(place: Place, tmp_path: Path, name: str) -> None:
    place.put(f"in/{name}", name.encode())
    [video] = open_store(f"{place.uri}/in").videos("**/*.mp4")
    assert video.uri == f"{place.uri}/in/{name}"
    open_store(video.uri).download(video, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == name.encode()
    uri = open_store(place.uri).publish(tmp_path / "got", f"out/{name}")
    assert uri == f"{place.uri}/out/{name}"
    assert place.get(f"out/{name}") == name.encode()


def test_a_single_object_is_a_source_of_one_video(place: Place) -> None:
    place.put("in/clip.bin")
    place.put("in/clip.bin.mp4")
    store = open_store(f"{place.uri}/in/clip.bin")
    assert [video.uri for video in store.videos("*.mp4")] == [store.uri]
    assert store.names() == ["clip.bin"]


@pytest.mark.parametrize("size", [0, 1, 40 * MIB])
def test_download_brings_the_very_bytes(place: Place, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    place.put("a.mp4", body)
    store = open_store(place.uri)
    store.download(store.videos("*")[0], tmp_path / "scratch" / "video")
    assert (tmp_path / "scratch" / "video").read_bytes() == body
    assert os.listdir(tmp_path / "scratch") == ["video"]  # noqa: PTH208


def test_fetch_brings_what_is_there_now(place: Place, tmp_path: Path) -> None:
    place.put("tables/a.parquet", b"rows")
    open_store(place.uri).fetch("tables/a.parquet", tmp_path / "scratch" / "a")
    assert (tmp_path / "scratch" / "a").read_bytes() == b"rows"
    with pytest.raises(StorageError) as caught:
        open_store(place.uri).fetch("tables/b.parquet", tmp_path / "scratch" / "b")
    assert caught.value.reason == "not_found"


def overwrite(place: Place) -> None:
    place.put("a.mp4", b"two")


def remove(place: Place) -> None:
    place.delete("a.mp4")


def turn_into_a_folder(place: Place) -> None:
    place.delete("a.mp4")
    place.put("a.mp4/b", b"one")


@pytest.mark.parametrize("change", [overwrite, remove, turn_into_a_folder])
def test_a_video_that_changed_since_it_was_listed_is_not_downloaded(
    place: Place, tmp_path: Path, change: Callable[[Place], None]
) -> None:
    place.put("a.mp4", b"one")
    store = open_store(place.uri)
    [video] = store.videos("*")
    change(place)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "video").write_bytes(b"what was there before")
    with pytest.raises(ObjectChanged, match=r"a\.mp4 was replaced or removed") as caught:
        store.download(video, tmp_path / "scratch" / "video")
    assert not caught.value.retryable
    assert Folder(tmp_path / "scratch").names() == ["video"]
    assert (tmp_path / "scratch" / "video").read_bytes() == b"what was there before"


def test_publish_replaces_and_reads_back(place: Place, tmp_path: Path) -> None:
    store = open_store(f"{place.uri}/out")
    local = tmp_path / "local"
    for body in [b"old", b"", b"newer"]:
        local.write_bytes(body)
        assert store.publish(local, "runs/1.json") == f"{place.uri}/out/runs/1.json"
        assert store.read_bytes("runs/1.json") == body
    assert place.names() == ["out/runs/1.json"]


def test_a_large_file_is_published_whole(place: Place, tmp_path: Path) -> None:
    body = os.urandom(40 * MIB)
    (tmp_path / "local").write_bytes(body)
    store = open_store(place.uri)
    store.publish(tmp_path / "local", "large.bin")
    assert hashlib.md5(store.read_bytes("large.bin")).digest() == hashlib.md5(body).digest()


def test_publishing_what_is_not_there_leaves_the_old_object(place: Place, tmp_path: Path) -> None:
    place.put("latest.json", b"old")
    with pytest.raises(StorageError) as caught:
        open_store(place.uri).publish(tmp_path / "missing", "latest.json")
    assert caught.value.reason == "not_found"
    assert [place.get(key) for key in place.names()] == [b"old"]


def test_names_and_existence(place: Place) -> None:
    for key in ["out/runs/b.json", "out/runs/a/x.json", "out/runs-old/c.json", "out/latest.json"]:
        place.put(key)
    store = open_store(f"{place.uri}/out")
    assert store.names("runs") == store.names("runs/") == ["runs/a/x.json", "runs/b.json"]
    assert store.names() == ["latest.json", "runs-old/c.json", "runs/a/x.json", "runs/b.json"]
    assert store.names("never") == []
    assert open_store(f"{place.uri}/never").names() == []
    assert store.exists("latest.json")
    assert not store.exists("runs")
    assert not store.exists("latest")


def test_reading_what_is_not_there_is_an_error(place: Place) -> None:
    with pytest.raises(StorageError, match=r"/no\.json: .*Check the ") as caught:
        open_store(place.uri).read_bytes("no.json")
    assert (caught.value.reason, caught.value.retryable) == ("not_found", False)


def test_a_folder_comes_down_whole(place: Place, tmp_path: Path) -> None:
    for key in ["model/config.json", "model/deep/weights.safetensors", "model-2/config.json"]:
        place.put(key, key.encode())
    open_store(f"{place.uri}/model").download_folder(tmp_path / "model")
    got = Folder(tmp_path / "model")
    assert sorted(got.names()) == ["config.json", "deep/weights.safetensors"]
    assert got.get("config.json") == b"model/config.json"


def test_a_folder_of_nothing_is_an_error(place: Place, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(f"{place.uri}/model").download_folder(tmp_path / "model")
    assert caught.value.reason == "not_found"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"file://.*/typo") as caught:
        open_store(str(tmp_path / "typo")).videos("**")
    assert (caught.value.reason, caught.value.retryable) == ("not_found", False)


def test_a_folder_takes_links_to_files_and_skips_what_is_no_file(folder: Folder) -> None:
    folder.put("real.bin", b"film")
    (folder.path / "link.mp4").symlink_to("real.bin")
    (folder.path / "gone.mp4").symlink_to("nowhere")
    (folder.path / "loop.mp4").symlink_to("loop.mp4")
    (folder.path / "folder.mp4").mkdir()
    os.mkfifo(folder.path / "pipe.mp4")
    folder.put(".left-by-a-kill.mp4.part")
    (folder.path / "elsewhere").symlink_to("folder.mp4")
    listing = open_store(folder.uri).listing("**/*.mp4*")
    [video] = listing.videos
    assert (video.name, video.size_bytes) == ("link.mp4", 4)
    assert listing.left_out.named == [
        f"{folder.uri}/{name}" for name in ("elsewhere/", "gone.mp4", "loop.mp4", "pipe.mp4")
    ]


def test_a_file_written_to_during_the_copy_is_not_taken(folder: Folder, tmp_path: Path) -> None:
    class Overwritten(FolderStore):
        def _opened(self, stream: object) -> VideoRef:
            version = super()._opened(stream)
            folder.put("a.mp4", b"two")
            return version

    folder.put("a.mp4", b"one")
    store = Overwritten(str(folder.path))
    with pytest.raises(ObjectChanged):
        store.download(store.videos("*")[0], tmp_path / "scratch" / "video")
    assert Folder(tmp_path / "scratch").names() == []


def test_1500_keys_are_listed_whole(bucket: Bucket) -> None:
    fill(bucket, {f"in/{n % 7}/{n:04}.mp4": b"" for n in range(1500)})
    videos = open_store(f"{bucket.uri}/in").videos("**/*.mp4")
    assert len({video.uri for video in videos}) == 1500
    assert videos == sorted(videos, key=lambda video: video.uri)


def test_keys_only_a_bucket_can_have(bucket: Bucket, tmp_path: Path) -> None:
    for key in ["in/up/../a.mp4", "in//b.mp4", "in/./c.mp4", "in/folder.mp4/"]:
        bucket.put(key, key.encode())
    store = open_store(f"{bucket.uri}/in")
    videos = store.videos("**/*.mp4*")
    assert [video.uri for video in videos] == [
        f"{bucket.uri}/in/./c.mp4",
        f"{bucket.uri}/in//b.mp4",
        f"{bucket.uri}/in/up/../a.mp4",
    ]
    for video in videos:
        store.download(video, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == video.uri.removeprefix(bucket.uri + "/").encode()


@pytest.mark.parametrize("key", ["in/../../escaped", "in//../escaped", "in/deep/../../escaped"])
def test_a_key_that_points_out_of_the_folder_is_not_written(bucket: Bucket, tmp_path: Path, key: str) -> None:
    bucket.put(key)
    with pytest.raises(StorageError, match=r"leads out of its folder"):
        open_store(f"{bucket.uri}/in").download_folder(tmp_path / "one" / "two")
    assert Folder(tmp_path).names() == []


def test_a_missing_bucket_is_an_error(aws: Server, tmp_path: Path) -> None:
    store = open_store("s3://no-such-bucket/in")
    (tmp_path / "local").write_bytes(b"x")
    attempts: list[Callable[[], object]] = [
        lambda: store.videos("**"),
        lambda: store.names("runs"),
        lambda: store.publish(tmp_path / "local", "x"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"s3://no-such-bucket/in.*NoSuchBucket") as caught:
            attempt()
        assert (caught.value.reason, caught.value.retryable) == ("not_found", False)


def test_without_credentials_requests_are_unsigned(
    network: Disturbance, aws: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    public, private = aws.new_bucket(ACL="public-read"), aws.new_bucket()
    public.put("a.mp4", b"film", ACL="public-read")
    private.put("a.mp4", b"film")
    store = open_store(public.uri)
    store.download(store.videos("*")[0], tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"film"
    assert {request.rpartition(" ")[2] for request in network.requests} == {"unsigned"}
    with pytest.raises(StorageError, match=r"no AWS credentials were found.*Set AWS_PROFILE") as caught:
        open_store(private.uri).read_bytes("a.mp4")
    assert caught.value.reason == "no_credentials"


def test_endpoint_and_keys_come_from_the_profile(
    bucket: Bucket, aws: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put("a.mp4")
    for name in ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]:
        monkeypatch.delenv(name)
    (tmp_path / "aws-config").write_text(
        f"[profile nightly]\nregion = us-east-1\nendpoint_url = {aws.endpoint}\n"
        "aws_access_key_id = of-the-profile\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    assert [video.name for video in open_store(bucket.uri).videos("*")] == ["a.mp4"]


def test_an_endpoint_for_s3_alone_comes_first(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("a.mp4")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert [video.name for video in open_store(bucket.uri).videos("*")] == ["a.mp4"]


def test_a_profile_that_does_not_exist_is_an_error(aws: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(StorageError, match=r"typo.*Set AWS_PROFILE") as caught:
        open_store("s3://bucket").videos("*")
    assert (caught.value.reason, caught.value.retryable) == ("no_credentials", False)


def test_threads_share_one_connection(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(16):
        bucket.put(f"{number}.mp4", bytes([number]) * 1000)

    def fetch(number: int) -> bytes:
        store = open_store(bucket.uri)
        [video] = store.videos(f"{number}.mp4")
        store.download(video, tmp_path / str(number))
        return (tmp_path / str(number)).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch, range(16))) == [bytes([number]) * 1000 for number in range(16)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_connects_anew(bucket: Bucket) -> None:
    bucket.put("a.mp4")
    store = open_store(bucket.uri)
    assert store.names() == ["a.mp4"]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(store.names).get(timeout=patience(30)) == ["a.mp4"]
    assert store.names() == ["a.mp4"]


def test_settings_are_read_afresh_after_closing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bucket.uri)
    assert store.names() == []
    s3_adapter.close_connections()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError):
        store.names()


def test_a_reference_of_another_version_is_refused_even_when_its_size_fits(
    place: Place, tmp_path: Path
) -> None:
    place.put("a.mp4", b"one")
    store = open_store(place.uri)
    [video] = store.videos("*")
    with pytest.raises(ObjectChanged):
        store.download(replace(video, etag="0" * 32), tmp_path / "got")
    assert not (tmp_path / "got").exists()


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder for a test that is not to run as root, to whom every folder is open."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_hidden_folder_is_not_looked_into(readable_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Folder(readable_folder).put(".Trashes/a.mp4")
    (readable_folder / ".Trashes").chmod(0)
    with as_nobody():
        assert open_store(str(readable_folder)).listing("**").left_out.passed_over == 1
    (readable_folder / ".Trashes").chmod(0o755)
    assert caplog.messages == []


def test_a_folder_that_may_not_be_looked_into_hides_only_its_own(
    readable_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(readable_folder)
    for name in ("a.mp4", "closed/b.mp4", "open/c.mp4"):
        folder.put(name)
    (readable_folder / "closed").chmod(0)
    with as_nobody():
        videos = open_store(folder.uri).videos("**/*.mp4")
        with pytest.raises(StorageError) as caught:
            open_store(f"{folder.uri}/closed").videos("**/*.mp4")
    assert [video.name for video in videos] == ["a.mp4", "c.mp4"]
    assert caught.value.reason == "denied"
    (readable_folder / "closed").chmod(0o755)
    [warning] = caplog.messages
    assert warning == (f"{readable_folder}/closed: what is in this folder is not seen (Permission denied).")


def count_up(current: bytes | None) -> bytes:
    return str(int(current or b"0") + 1).encode()


def test_no_update_of_a_file_is_lost_when_many_are_made_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: open_store(folder.uri).update("runs/count", count_up), range(64)):
            pass
    assert folder.get("runs/count") == b"64"


@pytest.mark.parametrize("before", [None, b"1"])
def test_an_update_of_an_object_begins_anew_when_another_came_in_between(
    bucket: Bucket, before: bytes | None
) -> None:
    seen: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        if not seen:
            bucket.put("count", b"41")
        seen.append(current)
        return count_up(current)

    if before is not None:
        bucket.put("count", before)
    open_store(bucket.uri).update("count", change)
    assert (seen, bucket.get("count")) == ([before, b"41"], b"42")


def test_an_update_may_leave_everything_as_it_is(place: Place) -> None:
    store = open_store(place.uri)
    store.update("none", lambda current: None)
    place.put("some", b"old")
    store.update("some", lambda current: None)
    assert (place.names(), place.get("some")) == (["some"], b"old")


def test_what_is_removed_is_gone(place: Place) -> None:
    place.put("out/runs/a.json")
    place.put("out/b.json")
    store = open_store(f"{place.uri}/out")
    store.remove("runs/a.json")
    store.remove("runs/a.json")
    assert place.names() == ["out/b.json"]


def test_parts_are_removed_when_nobody_can_be_writing_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in (".old.part", "runs/.old.part", ".new.part", "old.json"):
        folder.put(name)
        if "old" in name:
            os.utime(tmp_path / name, (0, 0))
    open_store(folder.uri).remove_parts()
    assert sorted(folder.names()) == [".new.part", "old.json"]
