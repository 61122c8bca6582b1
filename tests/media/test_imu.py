"""Motions: layouts, hand-worked resampling, and tables that are none."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.errors import MediaError
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media

NAMES = "acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z"


def load_imu(item: Media) -> NDArray[np.float32]:
    with MediaReader() as reader:
        return reader.imu(item)


def save(path: Path, table: NDArray[np.float64], **cut: float) -> Media:
    np.save(path, table)
    return Media(kind="imu", uri=str(path), **cut)  # type: ignore[arg-type]


def write(path: Path, text: str, **cut: float) -> Media:
    path.write_text(text)
    return Media(kind="imu", uri=str(path), **cut)  # type: ignore[arg-type]


def timed(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """An (n, 7) table whose channel c is ``values`` plus c."""
    return np.column_stack([times, *(values + channel for channel in range(6))])


def test_200_hz_without_time_is_kept_as_it_is(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(6, 50))
    motion = load_imu(save(tmp_path / "a.npy", table))
    assert motion.dtype == np.float32
    np.testing.assert_array_equal(motion, table.astype(np.float32))
    part = load_imu(save(tmp_path / "a.npy", table, start_s=0.05, end_s=0.1))
    np.testing.assert_allclose(part, table[:, 10:20], rtol=1e-6)


def test_100_hz_is_interpolated_by_hand(tmp_path: Path) -> None:
    table = timed(np.array([0.0, 0.01, 0.02]), np.array([0.0, 1.0, 4.0]))
    motion = load_imu(save(tmp_path / "a.npy", table))
    np.testing.assert_allclose(motion[0], [0, 0.5, 1, 2.5, 4], atol=1e-6)
    np.testing.assert_allclose(motion[5], [5, 5.5, 6, 7.5, 9], atol=1e-6)


def test_uneven_times_are_interpolated_by_hand(tmp_path: Path) -> None:
    table = timed(np.array([1.0, 1.004, 1.02]), np.array([0.0, 4.0, 0.0]))
    motion = load_imu(save(tmp_path / "a.npy", table))  # from 1 s on: at 1.000, 1.005, 1.010, 1.015, 1.020
    np.testing.assert_allclose(motion[0], [0, 3.75, 2.5, 1.25, 0], atol=1e-6)


def test_csv_in_milliseconds_with_a_window_in_its_own_time(tmp_path: Path) -> None:
    rows = "".join(f"{time},{time},0,0,0,0,9.81\n" for time in range(1000, 1101, 5))
    item = write(tmp_path / "a.csv", f"\ufefftimestamp_ms,{NAMES}\n{rows}\n", start_s=1.02, end_s=1.05)
    motion = load_imu(item)
    np.testing.assert_allclose(motion[0], [1020, 1025, 1030, 1035, 1040, 1045])
    assert (motion[5] == np.float32(9.81)).all()


def test_windows_are_cut_to_what_was_recorded(tmp_path: Path) -> None:
    table = timed(np.arange(100) / 200, np.arange(100.0))
    np.testing.assert_allclose(
        load_imu(save(tmp_path / "a.npy", table, start_s=0.45, end_s=1.5))[0], np.arange(90, 100)
    )
    with pytest.raises(MediaError, match="nothing was recorded from 2 s"):
        load_imu(save(tmp_path / "a.npy", table, start_s=2, end_s=9))
    with pytest.raises(MediaError, match="nothing was recorded"):
        load_imu(save(tmp_path / "a.npy", table, start_s=0.1, end_s=0.1))


@pytest.mark.parametrize("rate", [400, 800, 1000, 500])
def test_faster_recordings_are_filtered(tmp_path: Path, rate: int) -> None:
    times = np.arange(2 * rate) / rate
    slow, fast = np.sin(2 * np.pi * 10 * times), np.sin(2 * np.pi * 0.4 * rate * times)
    kept = load_imu(save(tmp_path / "a.npy", timed(times, slow), start_s=0.5, end_s=1.5))
    np.testing.assert_allclose(kept[0], np.sin(2 * np.pi * 10 * (0.5 + np.arange(200) / 200)), atol=0.01)
    removed = load_imu(save(tmp_path / "b.npy", timed(times, fast), start_s=0.5, end_s=1.5))
    assert np.abs(removed[0]).max() < 0.05
    steady = load_imu(save(tmp_path / "c.npy", timed(times, np.full(len(times), 2.0))))
    np.testing.assert_allclose(steady[0], 2.0, atol=1e-3)  # at the edges too


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (np.zeros((5, 100)), r"\(5, 100\)"),
        (np.zeros((6, 7)), "ambiguous"),
        (np.zeros(12), r"\(12,\)"),
        (np.zeros((6, 0)), "no samples"),
        (np.full((6, 10), np.nan), "NaN"),
        (timed(np.array([0, 0.01, 0.01, 0.02]), np.zeros(4)), "do not rise after sample 1"),
        (timed(np.array([0, 0.01, 2, 2.01]), np.zeros(4)), "a hole of 1.99 s after 0.01 s"),
        (np.array([["a"] * 7] * 3), "numbers"),
        (np.array([[{}] * 7] * 3), "object"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, table: NDArray[np.float64], match: str) -> None:
    item = save(tmp_path / "a.npy", table)
    with pytest.raises(MediaError, match=match) as caught:
        load_imu(item)
    assert str(caught.value).startswith(item.uri)


def test_a_hole_outside_the_window_does_no_harm(tmp_path: Path) -> None:
    table = timed(np.array([0, 0.01, 2, 2.01]), np.arange(4.0))
    np.testing.assert_allclose(load_imu(save(tmp_path / "a.npy", table, start_s=2.0))[0], [2, 2.5, 3])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "0 bytes"),
        (f"{NAMES}\n0,0,0,0,0,0\n", "a header of a time and six channels"),
        (f"time,{NAMES}\n", "no samples"),
        (f"time,{NAMES}\n0,1,2\n", "line 2 has 3 cells"),
        (f"time,{NAMES}\n0,1,2,3,4,5,x\n", "could not convert"),
        (f"time,{NAMES}\n0,1,2,3,4,5,nan\n", "NaN"),
        ("0,1,2,3,4,5,6\n", "a header"),
    ],
)
def test_other_texts_are_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(MediaError, match=match):
        load_imu(write(tmp_path / "a.csv", text))


def test_truncated_and_binary_files_are_refused(tmp_path: Path) -> None:
    item = save(tmp_path / "a.npy", np.zeros((6, 100)))
    content = Path(item.uri).read_bytes()
    for length in (7, 20, 200):
        Path(item.uri).write_bytes(content[:length])
        with pytest.raises(MediaError, match="motion cannot be read"):
            load_imu(item)
    Path(item.uri).write_bytes(b"\xff\xfe\0\x01" * 9)
    with pytest.raises(MediaError, match="motion cannot be read"):
        load_imu(item)


@pytest.mark.parametrize(
    ("column", "scale"),
    [
        *((name, 1000) for name in ("time_ms", "Time (ms)", "t[ms]", "timestamp ms", "ms", "elapsed/ms", "t_ms",
                                    "TimeMs", "time_milliseconds", "timestamp.millis", "stamp-msec")),
        *((name, 10**6) for name in ("time_us", "time (\u00b5s)", "timestamp_microseconds", "us")),
        *((name, 10**9) for name in ("time_ns", "timestamp [ns]", "nanoseconds")),
        *((name, 1) for name in ("time", "t", "time_s", "times", "timestamps", "time (s)", "seconds", "time_status")),
    ],
)  # fmt: skip
def test_the_unit_of_times_by_the_column(tmp_path: Path, column: str, scale: int) -> None:
    rows = "".join(f"{round(n * scale / 200) if scale > 1 else n / 200},{n},0,0,0,0,0\n" for n in range(40))
    motion = load_imu(write(tmp_path / "a.csv", f"{column},{NAMES}\n{rows}"))
    np.testing.assert_allclose(motion[0], np.arange(40), atol=0.3)


def test_times_in_milliseconds_under_another_name(tmp_path: Path) -> None:
    rows = "".join(f"{n * 5},{n},0,0,0,0,0\n" for n in range(4000))
    for item in (
        write(tmp_path / "a.csv", f"time,{NAMES}\n{rows}"),
        write(tmp_path / "b.csv", f"time,{NAMES}\n{rows}", start_s=2, end_s=7),
        save(tmp_path / "c.npy", timed((np.arange(4000) * 5.0).astype(np.float64), np.zeros(4000))),
    ):
        with pytest.raises(MediaError, match=r"its samples are 5 s apart; if its times are in milliseconds, name"):
            load_imu(item)
