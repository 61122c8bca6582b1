"""Shards with sounds, clips, motions and conversations; shards behind an address or a command."""

import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.media import MediaReader
from anymal_eval.training.sources import TrainingData, _remote_shard, _shard_file, open_data


def shard(path: Path, *samples: Mapping[str, object]) -> Path:
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def captioned(key: str) -> dict[str, object]:
    return {"__key__": key, "wav": b"sound " + key.encode(), "txt": f"caption {key}"}


def ids(source: TrainingData) -> list[str]:
    return [sample.id for number in range(source.shards) for sample in source.read_shard(number)]


def test_motions_and_conversations_with_any_number_of_media(tmp_path: Path) -> None:
    motion = io.BytesIO()
    np.save(motion, np.arange(6 * 400, dtype=np.float32).reshape(6, 400))
    talk = [
        {"from": "human", "value": "<image>\nand <image>: which is red?"},
        {"from": "gpt", "value": "The first."},
        {"from": "human", "value": "And what is heard?\n<audio>"},
        {"from": "gpt", "value": "Rain."},
    ]
    path = shard(
        tmp_path / "a.tar",
        {"__key__": "1", "imu.npy": motion.getvalue(), "txt": "a person walks"},
        {"__key__": "2", "npy": motion.getvalue(), "json": {"caption": "a person runs"}},
        {"__key__": "3", "jpg": b"picture", "npy": b"an embedding", "seg.png": b"a mask", "txt": "a kite"},
        {"__key__": "4", "0.jpg": b"one", "1.jpg": b"two", "wav": b"rain", "json": {"conversations": talk}},
        {"__key__": "5", "mp4": b"clip", "json": {"instruction": "What?", "response": "A dog.", "system": "Be brief."}},
        {"__key__": "6", "json": {"instruction": "Say yes.", "response": "Yes."}},
        {"__key__": "7", "jpg": b"one", "json": {"conversations": talk}},
    )  # fmt: skip
    source = open_data(f"webdataset:{path}")
    found = list(source.read_shard(0))
    assert [[one.kind for one in sample.media] for sample in found] == [
        ["imu"], ["imu"], ["image"], ["image", "image", "audio"], ["video"], [],
    ]  # fmt: skip
    assert found[3].turns == (
        Turn(role="user", parts=(Slot(medium="image"), "and ", Slot(medium="image"), ": which is red?")),
        Turn(role="assistant", parts=("The first.",)),
        Turn(role="user", parts=("And what is heard?", Slot(medium="audio"))),
        Turn(role="assistant", parts=("Rain.",)),
    )
    assert found[4].turns[0] == Turn(role="system", parts=("Be brief.",))
    assert source.opener is not None
    assert [source.opener(one.uri) for one in found[3].media] == [b"one", b"two", b"rain"]
    assert source.unreadable == [f"{path}: 7: <audio> stands at the edge of what the user says, and the row has none"]
    with MediaReader(source.opener) as reader:
        assert reader.imu(found[0].media[0]).shape == (6, 400)
        assert np.array_equal(reader.imu(found[1].media[0]), reader.imu(found[0].media[0]))


def test_a_command_that_writes_shards(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"{number}.tar", captioned(f"{number}-a"), captioned(f"{number}-b"))
    marker = tmp_path / "started"
    source = open_data(f"webdataset:pipe:touch {marker}; cat {tmp_path}/{{0..1}}.tar")
    assert source.shards == 2
    assert not marker.exists()  # nothing runs before training
    assert ids(source) == ["0/0-a", "0/0-b", "1/1-a", "1/1-b"]
    assert source.opener is not None
    assert [source.opener(one.media[0].uri) for one in source.read_shard(1)] == [b"sound 1-a", b"sound 1-b"]
    packed = open_data(f"webdataset:pipe:gzip -c {tmp_path}/0.tar")
    assert len(ids(packed)) == 2
    failing = open_data(f"webdataset:pipe:cat {tmp_path}/0.tar; exit 3")
    with pytest.raises(MissingData, match=r"^pipe:cat .*/0.tar; exit 3: the command ended with status 3"):
        ids(failing)


def test_a_mixture_keeps_the_shards_that_it_draws_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shard_file, "kept", _shard_file.Kept())
    count, many = tmp_path / "count", 11
    for number in range(many):
        shard(tmp_path / f"{number}.tar", captioned("a"))
    source = open_data(f"webdataset:pipe:echo >> {count}; cat {tmp_path}/{{0..{many - 1}}}.tar")
    runs = []
    for most in (8, 12):
        _shard_file.kept.clear()
        _shard_file.keep(most)
        count.write_text("")
        for _ in range(2):
            assert len(ids(source)) == many
        runs.append(len(count.read_text()))
    assert runs == [2 * many, many]


def test_no_file_and_no_member_is_run_as_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "pipe:touch stolen; cat .tar"
    shard(tmp_path / name, {"__key__": "pipe:touch stolen", "wav": b"x", "txt": "a"})
    assert len(ids(open_data("webdataset:*.tar"))) == 1
    assert len(ids(open_data(f"webdataset:./{name}"))) == 1
    (tmp_path / "pairs.jsonl").write_text('{"id": "1", "audio": "pipe:touch stolen", "caption": "a"}\n')
    with pytest.raises((MissingData, BadData)):
        open_data("pairs:pairs.jsonl")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pairs.jsonl", name]


class Server(SimpleHTTPRequestHandler):
    """The files of a folder; ``cut.tar`` ends early, as often as ``cuts`` says, and ``short.tar`` always."""

    cuts = 0

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""

    def send_header(self, keyword: str, value: str) -> None:
        """``short.tar`` names no length."""
        if keyword != "Content-Length" or not self.path.startswith("/short.tar"):
            super().send_header(keyword, value)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.path.startswith("/short.tar"):
            outputfile.write(source.read(2000))
            return
        if self.path.startswith("/cut.tar") and type(self).cuts:
            type(self).cuts -= 1
            outputfile.write(source.read(100))
            self.close_connection = True
            return
        super().copyfile(source, outputfile)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_remote_shard, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_shards_at_an_address(tmp_path: Path, host: str) -> None:
    for name in ("0", "1", "cut"):
        shard(tmp_path / f"{name}.tar", captioned(name))
    source = open_data(f"webdataset:http://{host}/{{0..1}}.tar?signature=7")
    assert ids(source) == ["0/0", "1/1"]
    assert "signature" not in source.name + source.fingerprint
    assert source.opener is not None
    [sample] = source.read_shard(1)
    assert "signature" not in sample.media[0].uri
    assert source.opener(sample.media[0].uri) == b"sound 1"
    Server.cuts = 2
    assert ids(open_data(f"webdataset:http://{host}/cut.tar")) == ["cut/cut"]
    Server.cuts = 3
    with pytest.raises(MissingData, match=r"cut.tar: the shard cannot be fetched \("):
        ids(open_data(f"webdataset:http://{host}/cut.tar?again=1"))
    with pytest.raises(MissingData, match=rf"^http://{host}/9.tar: the server answered 404"):
        ids(open_data(f"webdataset:http://{host}/9.tar?signature=7"))
    with pytest.raises(BadData, match="shards must be files"):
        open_data(f"webdataset:http://{host}/list.html")
    with pytest.raises(BadData, match="differ in their query alone"):
        open_data(f"webdataset:http://{host}/0.tar?part={{0..1}}")


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remote_shard, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    expected = r"^http://127.0.0.1:1/0.tar: the shard cannot be fetched \(Connection refused\); the same command"
    with pytest.raises(MissingData, match=expected) as raised:
        ids(open_data("webdataset:http://127.0.0.1:1/0.tar?signature=7"))
    assert "\n" not in str(raised.value)
    assert "signature" not in str(raised.value)
    with pytest.raises(BadData, match=r"^https://host/0.tar: no user or password is sent") as refused:
        open_data("webdataset:https://me:word@host/0.tar")
    assert "word@" not in str(refused.value)


def cut_commands(folder: Path) -> dict[str, str]:
    """Commands that end with status 0 and write less than a shard, and what must be in their one line."""
    whole = shard(folder / "0.tar", *(captioned(str(number)) for number in range(4)))
    with tarfile.open(folder / "0.tar.gz", "w:gz") as archive:
        archive.add(whole, "0.wav")
    size = (folder / "0.tar.gz").stat().st_size
    (folder / "page.tar").write_bytes(b"<html>busy</html>" * 100)
    return {
        f"cat {folder}/6.tar | cat": "(cat: ",
        "true": "the shard is empty (0 bytes)",
        f"head -c 1540 {whole}": "in 0.txt: unexpected end of data",
        f"head -c 2048 {whole}": "it does not end as tar files do",
        f"head -c {size // 2} {folder}/0.tar.gz": "it cannot be inflated",
        f"cat {folder}/page.tar": "no plain tar file",
        f"echo first >&2; printf '\\033[31mno such\\rkey' >&2; cat {whole}; exit 4": "status 4 (key)",
    }


def test_a_shard_that_does_not_come_whole_is_no_shard(tmp_path: Path) -> None:
    for command, line in cut_commands(tmp_path).items():
        source = open_data(f"webdataset:pipe:{command}")
        for _ in range(2):  # what came the first time is not kept
            with pytest.raises(MissingData) as raised:
                ids(source)
            assert line in str(raised.value)
            assert str(raised.value).startswith(f"pipe:{command}: ")
            assert "by hand to see why" in str(raised.value)
            assert "\n" not in str(raised.value)
        assert source.unreadable == []


def test_a_server_without_a_length_that_ends_early(tmp_path: Path, host: str) -> None:
    shard(tmp_path / "short.tar", captioned("a"), captioned("b"))
    with pytest.raises(
        MissingData, match=rf"^http://{host}/short.tar: after .*: it did not come whole: the same command"
    ):
        ids(open_data(f"webdataset:http://{host}/short.tar"))


def test_an_archive_of_nothing_is_one_unreadable_line(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w"):
        pass
    source = open_data(f"webdataset:pipe:cat {tmp_path}/0.tar")
    assert ids(source) == []
    assert "no plain tar file with members" in source.unreadable[0]


def test_a_command_that_takes_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_remote_shard, "WARN_AFTER_S", 0.05)
    shard(tmp_path / "0.tar", captioned("a"))
    assert ids(open_data(f"webdataset:pipe:sleep 0.3; cat {tmp_path}/0.tar")) == ["0/a"]
    assert caplog.messages[0].startswith("pipe:sleep 0.3; cat ")
    assert caplog.messages[0].endswith("its shard is waited for")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/{0..3}.tar", "write webdataset:pipe:aws s3 cp s3://bucket/{0..3}.tar -"),
        ("gs://b/0.tar", "write webdataset:pipe:gsutil cp gs://b/0.tar -"),
        ("hdfs://b/0.tar", "write webdataset:pipe:COMMAND, one that writes the shard"),
        ("/data/{3..0}.tar", "the range {3..0} counts down: write {0..3}"),
        ("pipe:cat {010..009}.tar", "the range {010..009} counts down: write {009..010}"),
    ],
)
def test_addresses_that_name_no_shard(address: str, message: str) -> None:
    with pytest.raises(WrongUse) as raised:
        open_data(f"webdataset:{address}")
    assert str(raised.value).startswith(f"{address}: ")
    assert message in str(raised.value)
