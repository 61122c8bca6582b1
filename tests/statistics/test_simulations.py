"""The simulations of ``benchmarks/statistics.py`` in small: 200 draws instead of 2,000.

The bounds are those of the benchmark, widened by the Monte Carlo errors of 200 draws. Everything is seeded.
"""

import importlib.util
import sys
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest

DRAWS = 200
FILE = Path(__file__).parents[2] / "benchmarks" / "statistics.py"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    # By path and under another name: as ``statistics`` it would hide the standard library's module.
    name = "anymal_eval_benchmark_statistics"
    spec = importlib.util.spec_from_file_location(name, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def _error(share: float) -> float:
    return sqrt(share * (1 - share) / DRAWS)


@pytest.mark.parametrize(
    "kind",
    [
        "0/1, 1 to 8 a cluster, 200 clusters",
        "0/1, no clusters, n 200, 97 % right",
        "VQA accuracy, 1 to 5 a cluster, 200 clusters",
        "CIDEr, 250 of a pool, its frequencies",
        "AUC 0.75, n 250",
        "mean of types, 1 to 5 a cluster, 200 clusters",
    ],
)
def test_intervals_cover(benchmark: ModuleType, kind: str) -> None:
    found = benchmark.coverage(benchmark.COVERAGE[kind], DRAWS)
    assert 0.93 - 2 * _error(0.93) <= found <= 0.97 + 2 * _error(0.97)


def test_equal_models_are_not_called_worse(benchmark: ModuleType) -> None:
    worse, one_sided = benchmark.false_alarms(DRAWS, resamples=400)
    assert worse <= 0.05 + 2 * _error(0.05)
    assert one_sided <= 0.05 + 2 * _error(0.05)


@pytest.mark.parametrize("kind", ["exact McNemar", "permutation by cluster (VQA accuracy)", "permutation (CIDEr)"])
def test_the_smallest_detectable_effect_is_detected(benchmark: ModuleType, kind: str) -> None:
    found, _ = benchmark.power(benchmark.POWER[kind], DRAWS)
    assert 0.75 - 2 * _error(0.75) <= found <= 0.85 + 2 * _error(0.85)
