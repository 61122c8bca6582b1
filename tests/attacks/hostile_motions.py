"""Motion recordings that are cut, or whose numbers promise years: each named after its attack."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.attacks.hostile import Attack

HEADER = "time,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z\n"


def npy(array: NDArray[np.generic]) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def stated(shape: str, data: bytes, dtype: str = "<f8") -> bytes:
    """An npy file whose header states any shape."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (118 - len(head)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def table(times: NDArray[np.float64]) -> bytes:
    """A csv file with these times."""
    rows = "".join(f"{time!r},1,2,3,4,5,{number}\n" for number, time in enumerate(times.tolist()))
    return (HEADER + rows).encode()


def attacks(_: Path) -> Iterator[Attack]:
    """All of them."""
    steady = np.arange(1000) / 200
    whole, array = table(steady), npy(np.ones((6, 1000)))
    for part in (0.3, 0.6, 0.9):
        yield Attack("imu", f"cut_to_{part:.0%}.npy", array[: int(len(array) * part)])
        yield Attack("imu", f"cut_to_{part:.0%}_in_a_row.csv", whole[: whole.rindex(b",", 0, int(len(whole) * part))])
        yield Attack(
            "imu", f"cut_to_{part:.0%}_in_a_cell.csv", whole[: whole.rindex(b",1,", 0, int(len(whole) * part)) + 1]
        )
    yield Attack("imu", "half_as_long_as_requested.csv", table(steady[:500]), start_s=0.0, end_s=5.0)
    yield Attack("imu", "half_as_long_as_requested.npy", npy(np.ones((6, 500))), start_s=0.0, end_s=5.0)
    yield Attack("imu", "after_its_end.csv", whole, start_s=100.0, end_s=105.0)
    yield Attack("imu", "time_of_1e308.csv", table(np.array([0.0, 1e308])))
    yield Attack("imu", "times_up_to_1e308.csv", table(np.array([-1e308, 0.0, 1e308])))
    yield Attack("imu", "time_of_1e18.csv", table(np.array([0.0, 1e18])))
    dense = np.concatenate([np.arange(2000) * 1e-12, np.arange(1, 400) * 0.4])
    yield Attack("imu", "mostly_every_picosecond.csv", table(np.unique(dense)))
    yield Attack("imu", "values_of_1e308.npy", npy(np.full((6, 100), 1e308)))
    yield Attack("imu", "states_1e12_samples.npy", stated("(6, 1000000000000)", bytes(480)))
    yield Attack("imu", "states_2_gb.npy", stated("(6, 40000000)", bytes(480)))
    yield Attack("imu", "states_less_than_none.npy", stated("(-6, -10)", bytes(480)))
    yield Attack("imu", "states_64_bits.npy", stated("(6, 9223372036854775807)", bytes(480)))
    yield Attack("imu", "nested_header.npy", stated("(" * 40 + ")" * 40, b""))
    yield Attack("imu", "deep_header.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"[" * 8999 + b"\n")
    yield Attack("imu", "code_in_header.npy", stated("__import__('os').getpid()", bytes(480)))
    yield Attack("imu", "pickle.npy", npy(np.array([{"a": 1}, {}], dtype=object)))
    yield Attack("imu", "sparse_int8.npy", stated("(6, 100000000)", b"", "|i1"), sparse=600_000_128)
    yield Attack("imu", "sparse_tb.csv", HEADER.encode(), sparse=1 << 40)
    yield Attack("imu", "many_rows.csv", HEADER.encode() + b"1,1,1,1,1,1,1\n" * 2 + b"0,1,1,1,1,1,1\n")
    yield Attack("imu", "one_long_line.csv", HEADER.encode() + b"1," * 200_000)
    yield Attack("imu", "one_long_cell.csv", HEADER.encode() + b"1" * 400_000)
    yield Attack("imu", "numbers_of_5000_digits.csv", HEADER.encode() + b",".join([b"9" * 5000] * 7) + b"\n")
    yield Attack("imu", "not_a_number.csv", (HEADER + "0,1,2,3,4,5,nan\n").encode())
    yield Attack("imu", "infinity.csv", (HEADER + "0,1,2,3,4,5,inf\n").encode())
    yield Attack("imu", "backwards.csv", table(steady[::-1]))
    yield Attack("imu", "hole_of_a_second.csv", table(np.concatenate([steady[:100], steady[:100] + 1.5])))
    yield Attack("imu", "no_rows.csv", HEADER.encode())
    yield Attack("imu", "no_text.csv", HEADER.encode() + b"\xff\xfe\x00\x80\n")
    yield Attack("imu", "empty.csv", b"")
    yield Attack("imu", "other_columns.csv", b"a,b,c\n1,2,3\n")
    yield Attack("imu", "quote_without_end.csv", HEADER.encode() + b'"' + b"1,2,3,4,5,6,7\n" * 20_000)
