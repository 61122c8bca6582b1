"""IMU captions in our JSON lines: five seconds of a longer recording, six channels at 200 Hz."""

from pathlib import Path

from anymal_eval.demo.files import write_jsonl, write_motion
from anymal_eval.demo.motions import motion_captions
from anymal_eval.demo.plan import Groups, Plan, long_motion


def write(folder: Path, plan: Plan) -> Groups:
    """Write one window a recording, five references each."""
    rows: list[dict[str, object]] = []
    for index, random, motion, array in plan.motions():
        if len(rows) >= plan.examples:
            break
        name = f"imu-{index:06d}"
        write_motion(folder / "imu" / f"{name}.npy", long_motion(random, array, plan.split))
        window = {"start_s": 1.0, "end_s": 6.0}
        rows.append({"id": name, "imu": f"imu/{name}.npy", **window, "references": list(motion_captions(motion))})
    write_jsonl(folder / f"{plan.official('test')}.jsonl", rows)
    return {str(row["id"]): {"wording": "seen"} for row in rows}
