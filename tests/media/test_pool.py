"""Decoders that hang, crash or are many; and that nothing stays behind."""

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anymal_eval.errors import MediaError, MediaTimeout
from anymal_eval.media.pool import SCRIPT, DecoderPool
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media

MakeClip = Callable[..., Path]
Numbers = Callable[[NDArray[np.uint8]], list[int]]
Steady = Callable[..., list[int]]


def pids(reader: MediaReader) -> list[int]:
    return [worker.process.pid for worker in reader._pool._all]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def fifo(tmp_path: Path) -> Media:
    """A pipe that never delivers a byte."""
    os.mkfifo(tmp_path / "hangs.mp4")
    return Media(kind="video", uri=str(tmp_path / "hangs.mp4"))


def test_a_decoder_that_hangs_is_killed_and_replaced(
    fifo: Media, make_clip: MakeClip, read_numbers: Numbers, steady: Steady
) -> None:
    whole = Media(kind="video", uri=str(make_clip("a.mkv", steady(8))))
    with MediaReader(timeout_s=2) as reader:
        assert read_numbers(reader.video(whole, 2)) == [2, 6]
        (before,) = pids(reader)
        start = time.monotonic()
        with pytest.raises(MediaTimeout, match=r"hangs.mp4: the decoder was killed") as caught:
            reader.video(fifo, 2)
        assert time.monotonic() - start >= 2
        assert caught.value.kind == "timeout"
        assert gone(before)
        assert read_numbers(reader.video(whole, 2)) == [2, 6]
        (after,) = pids(reader)
    assert gone(after)


def test_a_file_that_stops_in_its_middle_is_killed_too(fifo: Media, make_clip: MakeClip, steady: Steady) -> None:
    content = make_clip("a.ts", steady(60), codec="libx264", pix_fmt="yuv420p").read_bytes()
    stop = threading.Event()

    def stall() -> None:
        with open(fifo.uri, "wb", buffering=0) as pipe:
            pipe.write(content[:20_000])
            stop.wait()

    writer = threading.Thread(target=stall)
    writer.start()
    with MediaReader(timeout_s=2) as reader, pytest.raises(MediaTimeout, match=r"hangs\.mp4"):
        reader.video(fifo, 2)
    stop.set()
    writer.join()


def wait_for_reader(fifo: Media) -> int:
    """Wait until a decoder has opened the pipe; returns our end, for which it waits."""
    ends: list[int] = []

    def opened() -> bool:
        try:
            ends.append(os.open(fifo.uri, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # no decoder has opened it yet
            return False
        return True

    wait_for(opened)
    return ends[0]


def kill_decoders(reader: MediaReader, number: signal.Signals, end: int) -> None:
    killed = pids(reader)
    for pid in killed:
        os.kill(pid, number)
    wait_for(lambda: any(map(gone, killed)))
    os.close(end)


def test_a_decoder_that_crashes_twice_is_an_error_of_its_file(
    fifo: Media, make_clip: MakeClip, read_numbers: Numbers, steady: Steady
) -> None:
    whole = Media(kind="video", uri=str(make_clip("a.mkv", steady(8))))
    with MediaReader(timeout_s=60) as reader, ThreadPoolExecutor(1) as thread:
        reader.video(whole, 2)
        crash = thread.submit(reader.video, fifo, 2)
        for number in (signal.SIGKILL, signal.SIGSEGV):
            kill_decoders(reader, number, wait_for_reader(fifo))
        with pytest.raises(MediaError, match=r"hangs.mp4: two decoder processes died on it \(status -11\)"):
            crash.result()
        assert read_numbers(reader.video(whole, 2)) == [2, 6]


def test_a_decoder_that_is_killed_once_costs_no_medium(
    tmp_path: Path, fifo: Media, make_clip: MakeClip, read_numbers: Numbers, steady: Steady
) -> None:
    """The system kills it where memory runs out, and the idle one beside it: the clip is no reason."""
    whole = make_clip("a.mkv", steady(8))
    with MediaReader(timeout_s=60, processes=2) as reader, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: reader.video(Media(kind="video", uri=str(whole)), 2), range(2)))
        clip = threads.submit(reader.video, fifo, 2)
        (tmp_path / "whole").write_bytes(whole.read_bytes())
        end = wait_for_reader(fifo)
        (tmp_path / "whole").replace(fifo.uri)
        kill_decoders(reader, signal.SIGKILL, end)
        assert len(pids(reader)) <= 2
        assert read_numbers(clip.result()) == [2, 6]


def test_an_idle_decoder_that_was_killed_costs_nothing(make_clip: MakeClip, steady: Steady) -> None:
    whole = Media(kind="video", uri=str(make_clip("a.mkv", steady(8))))
    with MediaReader() as reader:
        reader.video(whole, 2)
        os.kill(pids(reader)[0], signal.SIGKILL)
        assert len(reader.video(whole, 2)) == 2


def test_many_threads_share_few_decoders(make_clip: MakeClip, read_numbers: Numbers, steady: Steady) -> None:
    path = str(make_clip("a.mkv", steady(60)))
    with MediaReader(processes=2) as reader, ThreadPoolExecutor(8) as threads:

        def first(number: int) -> list[int]:
            item = Media(kind="video", uri=path, start_s=number / 10, end_s=number / 10 + 0.1)
            return read_numbers(reader.video(item, 1))

        assert list(threads.map(first, range(60))) == [[number] for number in range(60)]
        assert len(pids(reader)) == 2


def test_closing_frees_a_thread_that_waits(fifo: Media) -> None:
    reader = MediaReader(timeout_s=60)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(reader.video, fifo, 2)
        wait_for(lambda: pids(reader))
        (pid,) = pids(reader)
        time.sleep(0.5)
        reader.close()
        with pytest.raises(MediaError, match="the reader was closed"):
            waiting.result(timeout=20)
    assert gone(pid)
    with pytest.raises(MediaError, match="the reader was closed"):
        reader.video(fifo, 2)
    reader.close()


def test_a_forgotten_reader_leaves_no_process(make_clip: MakeClip, steady: Steady) -> None:
    reader = MediaReader()
    reader.video(Media(kind="video", uri=str(make_clip("a.mkv", steady(4)))), 2)
    (pid,) = pids(reader)
    del reader
    wait_for(lambda: gone(pid))


def test_a_killed_parent_leaves_no_process_and_a_script_needs_no_guard(
    tmp_path: Path, make_clip: MakeClip, steady: Steady
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\nfrom anymal_eval.media import MediaReader\nfrom anymal_eval.records import Media\n"
        "reader = MediaReader()\n"
        f"reader.video(Media(kind='video', uri={str(make_clip('a.mkv', steady(4)))!r}), 2)\n"
        "print(*(w.process.pid for w in reader._pool._all), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={"PYTHONPATH": os.getcwd()}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for(lambda: gone(int(done.stdout)))


def test_the_decoder_imports_nothing_heavy() -> None:
    tree = ast.parse(SCRIPT.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert packages == {"numpy", "av", "PIL", "anymal_eval"}
    loads = (
        "import anymal_eval.media.decoder, sys; print(*{'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_impossible_pools_are_refused() -> None:
    for timeout, processes in [(0.0, 1), (1.0, 0), (float("nan"), 1)]:
        with pytest.raises(ValueError, match="cannot be"):
            DecoderPool(timeout_s=timeout, processes=processes)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def test_memory_stays_flat(tmp_path: Path, make_clip: MakeClip, steady: Steady) -> None:
    """300 pictures, sounds and clips: neither process grows by 5 % after the first 100."""
    import soundfile

    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    soundfile.write(tmp_path / "a.wav", noise.uniform(-1, 1, 44_100), 44_100)
    path = str(make_clip("a.mp4", steady(30), codec="libx264", pix_fmt="yuv420p"))
    with MediaReader() as reader:
        sizes = []
        for number in range(300):
            assert reader.image(Media(kind="image", uri=str(tmp_path / "a.jpg"))).shape == (480, 640, 3)
            assert len(reader.audio(Media(kind="audio", uri=str(tmp_path / "a.wav")), 16_000)) == 16_000
            assert len(reader.video(Media(kind="video", uri=path), 4)) == 4
            if number in (100, 299):
                sizes.append((resident(os.getpid()), resident(pids(reader)[0])))
    (ours, theirs), (ours_then, theirs_then) = sizes
    assert ours_then < 1.05 * ours, sizes
    assert theirs_then < 1.05 * theirs, sizes
