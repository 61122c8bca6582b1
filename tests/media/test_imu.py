"""Motions: layouts, hand-worked resampling, and tables that are none."""

import bisect
import csv
import io
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


# The header of Ego4D's released recordings (EGO4D/docs, "IMU").
EGO4D = [
    "component_idx", "component_timestamp_ms", "canonical_timestamp_ms", "gyro_x", "gyro_y", "gyro_z", "accl_x",
    "accl_y", "accl_z",
]  # fmt: skip
ORDER = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")


def ego4d(count: int = 2000) -> list[dict[str, str]]:
    """Rows at 201 Hz, as GoPro records them, with lost samples, empty cells, and times that were trimmed away."""
    random = np.random.default_rng(3)
    rows = []
    for number in range(count):
        component = number * 4.975124378109452
        canonical = "" if number < 20 or number >= count - 10 else repr(component - 100.0)
        row = {"component_idx": "0", "component_timestamp_ms": repr(component), "canonical_timestamp_ms": canonical}
        row |= {name: repr(float(random.normal(9 if name[0] == "a" else 0))) for name in ORDER}
        if number % 7 == 0:
            row |= dict.fromkeys(ORDER[:3], "")
        if not 300 <= number < 360 and number % 11:
            rows.append(row)
    return rows


def table(rows: list[dict[str, str]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def resampled(rows: list[dict[str, str]], start: float, seconds: int) -> NDArray[np.float64]:
    """At 200 Hz by a second computation: sample by sample, the straight line between the two neighbours."""
    kept = [row for row in rows if row["canonical_timestamp_ms"]]
    times = [float(row["canonical_timestamp_ms"]) / 1000 for row in kept]
    out = []
    for name in ORDER:
        values = [float(row[name]) if row[name] else 0.0 for row in kept]
        line = []
        for step in range(200 * seconds):
            time = start + step / 200
            right = bisect.bisect_left(times, time)
            share = (time - times[right - 1]) / (times[right] - times[right - 1])
            line.append(values[right - 1] * (1 - share) + values[right] * share)
        out.append(line)
    return np.array(out)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_released_recording_of_ego4d_equals_a_second_resampling(tmp_path: Path, seed: int | None) -> None:
    rows = ego4d()
    columns = EGO4D if seed is None else [EGO4D[i] for i in np.random.default_rng(seed).permutation(len(EGO4D))]
    motion = load_imu(write(tmp_path / "a.csv", table(rows, columns), start_s=1.0, end_s=6.0))
    wanted = resampled(rows, 1.0, 5)
    assert motion.shape == wanted.shape == (6, 1000)
    np.testing.assert_allclose(motion, wanted, rtol=0, atol=1e-6)
    # the accelerometer first: it alone feels the earth
    assert (motion[:3].mean(axis=1) > 5).all()
    assert (np.abs(motion[3:].mean(axis=1)) < 1).all()


@pytest.mark.parametrize(
    "names",
    [
        "ax,ay,az,gx,gy,gz",
        "Accelerometer X,Accelerometer Y,Accelerometer Z,Gyroscope X,Gyroscope Y,Gyroscope Z",
        "acc_x (m/s^2),acc_y (m/s^2),acc_z (m/s^2),gyr_x [rad/s],gyr_y [rad/s],gyr_z [rad/s]",
        "linear_acceleration.x,linear_acceleration.y,linear_acceleration.z,"
        "angular_velocity.x,angular_velocity.y,angular_velocity.z",
        "accX,accY,accZ,gyroX,gyroY,gyroZ",
    ],
)
def test_columns_are_found_by_the_names_of_recorders(tmp_path: Path, names: str) -> None:
    columns = ["temperature", "time_ms", *names.split(",")]
    rows = [{name: repr(5.0 * number + place) for place, name in enumerate(columns)} for number in range(40)]
    for row, number in zip(rows, range(40), strict=True):
        row["time_ms"] = repr(5.0 * number)
    motion = load_imu(write(tmp_path / "a.csv", table(rows, columns[::-1])))
    np.testing.assert_allclose(motion[:, 0], [2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("time,gyro_x,gyro_y,gyro_z,accl_x,accl_y", "it has no accl_z"),
        ("time,a,b,c,d,e,f,g", "it has no accl_x"),
        ("time,accl_x,b,c,d,e,f", "it has no accl_y"),
        ("a,b,c,d,e,f,g", "it has no time"),
        ("accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z,temperature", "it has no time"),
        ("time,accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z,acc_z", "'accl_z' and 'acc_z' are both accl_z"),
        ("time,start_time,accl_x,accl_y,accl_z,gyro_x,gyro_y,gyro_z", "'time' and 'start_time' are both time"),
    ],
)
def test_a_channel_that_is_missing_or_there_twice_is_named(tmp_path: Path, header: str, match: str) -> None:
    rows = "".join(",".join([str(number)] * len(header.split(","))) + "\n" for number in range(3))
    with pytest.raises(MediaError, match=match) as caught:
        load_imu(write(tmp_path / "a.csv", f"{header}\n{rows}"))
    assert "\n" not in str(caught.value)


def test_a_last_line_that_ends_after_a_comma_is_cut(tmp_path: Path) -> None:
    whole = f"time,{NAMES}\n0,1,1,1,1,1,1\n0.005,1,1,1,1,1,"
    with pytest.raises(MediaError, match="ends after a comma"):
        load_imu(write(tmp_path / "a.csv", whole))
    assert load_imu(write(tmp_path / "b.csv", f"{whole}\n")).tolist()[5] == [1, 0]


def components() -> str:
    """Two components of a video: the second starts before the first one's last samples."""
    rows = [{name: "0" for name in EGO4D} for _ in range(2400)]
    for number, row in enumerate(rows):
        component, own = divmod(number, 1200)
        time = component * 5_500 + own * 5
        row |= {"component_idx": str(component), "canonical_timestamp_ms": str(time), "accl_x": str(time)}
    return table(rows, EGO4D)


@pytest.mark.parametrize(("start", "end"), [(0.0, 5.0), (0.2, 5.2), (6.0, 11.0), (6.25, 11.25)])
def test_a_window_within_one_component_is_read(tmp_path: Path, start: float, end: float) -> None:
    motion = load_imu(write(tmp_path / "a.csv", components(), start_s=start, end_s=end))
    np.testing.assert_allclose(motion[0], start * 1000 + 5 * np.arange(1000), atol=1e-3)


@pytest.mark.parametrize("start", [1.0, 3.0, 5.0, 5.5])
def test_a_window_over_two_components_is_refused(tmp_path: Path, start: float) -> None:
    with pytest.raises(MediaError, match="do not rise after sample 1199"):
        load_imu(write(tmp_path / "a.csv", components(), start_s=start, end_s=start + 5))
