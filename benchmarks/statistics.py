"""Do the intervals cover, are equal models called equal, and is the smallest detectable effect detectable?

    python -m benchmarks.statistics [--draws 2000] [--only coverage|alarms|power|speed]

(As a module: run as a script, this file would hide the standard library's ``statistics``.)

Every draw makes a data set with a known truth, calls the functions of ``run`` and ``check``, and counts. The Monte
Carlo error of a share p over D draws is sqrt(p (1 - p) / D): at 2,000 draws 0.5 points at 95 %, 0.9 at 80 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from anymal_eval import metrics
from anymal_eval.records import Answer, Example
from anymal_eval.statistics.intervals import interval
from anymal_eval.statistics.p_values import holm
from anymal_eval.statistics.paired import Comparison, compare
from anymal_eval.statistics.power import smallest_detectable
from anymal_eval.statistics.verdict import judge

Floats = np.ndarray
SHARE_CHANGED = 0.15  # of the examples, between two trainings of one model


@dataclass(frozen=True, kw_only=True)
class Data:
    """One draw: a metric, two runs (equal but for ``fall``), and the first run's true value."""

    metric: metrics.Metric
    before: Floats
    after: Floats
    clusters: list[str]
    truth: float
    groups: dict[str, np.ndarray] = field(default_factory=dict)


Maker = Callable[..., Data]


# --- data of known truth; fall is the true difference, n counts clusters ---


def _clusters(rng: np.random.Generator, n: int, largest: int) -> tuple[np.ndarray, list[str]]:
    codes = np.repeat(np.arange(n), rng.integers(1, largest + 1, n) if largest > 1 else 1)
    return codes, [f"{code:06d}" for code in codes]


def _flipped(rng: np.random.Generator, before: Floats, fall: float, p: Floats | float, lively: Floats) -> Floats:
    """0/1 scores of which a fixed share changes, more often down than up where there is a fall.

    The smallest detectable effect is stated for the share of changes that was seen, so a fall turns changes round and
    adds none. ``lively`` (mean 1) says how readily each example's picture changes.
    """
    up, down = (SHARE_CHANGED - fall) / 2 / (1 - p), (SHARE_CHANGED + fall) / 2 / p
    changed = rng.random(len(before)) < lively * np.where(before == 1, down, up)
    return np.where(changed, 1 - before, before)


def binary(rng: np.random.Generator, n: int, fall: float = 0.0, *, largest: int = 1, p: float = 0.7) -> Data:
    """0/1 scores; in clusters (largest > 1) a picture has its own difficulty and its own readiness to change."""
    codes, clusters = _clusters(rng, n, largest)
    difficulty = rng.beta(2 * p, 2 * (1 - p), n)[codes] if largest > 1 else np.full(n, p)
    before = (rng.random(len(codes)) < difficulty).astype(float)
    lively = rng.uniform(0.0, 2.0, n)[codes] if largest > 1 else np.ones(n)
    after = _flipped(rng, before, fall, p, lively)
    metric = metrics.get("choice_accuracy")
    return Data(metric=metric, before=before[:, None], after=after[:, None], clusters=clusters, truth=p)


LEVELS, CUTS = np.array([0.0, 0.3, 0.6, 0.9, 1.0]), ndtri(np.array([0.35, 0.42, 0.48, 0.55]))


def vqa_mean(shift: float = 0.0) -> float:
    """The mean VQA accuracy where the latent quality is lowered by ``shift``."""
    return float(np.diff(LEVELS) @ ndtr(-CUTS - shift))


def vqa(rng: np.random.Generator, n: int, fall: float = 0.0, *, largest: int = 5) -> Data:
    """VQA accuracies, 1 to 5 questions a picture, correlated 0.4 on the latent scale; 30 % are answered anew."""
    codes, clusters = _clusters(rng, n, largest)
    shared = np.sqrt(0.4) * rng.standard_normal(n)[codes]
    anew = 2 * SHARE_CHANGED
    shift = brentq(lambda lower: vqa_mean(0) - vqa_mean(lower) - fall / anew, 0, 9)
    latent = [shared + np.sqrt(0.6) * rng.standard_normal(len(codes)) for _ in range(2)]
    before, fresh = (LEVELS[np.searchsorted(CUTS, values)] for values in (latent[0], latent[1] - shift))
    after = np.where(rng.random(len(codes)) < anew, fresh, before)
    metric = metrics.get("vqa_accuracy")
    return Data(metric=metric, before=before[:, None], after=after[:, None], clusters=clusters, truth=vqa_mean())


def auc(rng: np.random.Generator, n: int, fall: float = 0.0, *, largest: int = 1, truth: float = 0.75) -> Data:
    """P(yes) of two normal classes; two trainings correlate 0.8, examples of one picture 0.3."""
    codes, clusters = _clusters(rng, n, largest)
    label = (rng.random(len(codes)) < 0.4).astype(float)
    picture = np.sqrt(0.3 if largest > 1 else 0.0) * rng.standard_normal(n)[codes]
    item = np.sqrt(0.5 if largest > 1 else 0.8) * rng.standard_normal(len(codes))
    runs = []
    for area in (truth, truth - fall):
        noise = np.sqrt(0.2) * rng.standard_normal(len(codes))
        latent = label * np.sqrt(2) * ndtri(area) + picture + item + noise
        runs.append(np.column_stack([ndtr(latent), label]))
    return Data(metric=metrics.get("roc_auc"), before=runs[0], after=runs[1], clusters=clusters, truth=truth)


TYPES = np.array(["Feasibility", "Interaction", "Prediction", "Sequence"])


def types(rng: np.random.Generator, n: int, fall: float = 0.0, *, largest: int = 5) -> Data:
    """STAR's mean over four unequal types of question, 1 to 5 questions a clip."""
    codes, clusters = _clusters(rng, n, largest)
    kind = rng.choice(4, len(codes), p=[0.1, 0.35, 0.15, 0.4])
    p = np.array([0.45, 0.6, 0.5, 0.7])[kind]
    difficulty = ndtr(ndtri(p) * np.sqrt(1.5) + np.sqrt(0.5) * rng.standard_normal(n)[codes])
    before = (rng.random(len(codes)) < difficulty).astype(float)
    after = _flipped(rng, before, fall, p, rng.uniform(0.0, 2.0, n)[codes])
    return Data(
        metric=metrics.get("mean_type_accuracy"),
        before=before[:, None],
        after=after[:, None],
        clusters=clusters,
        truth=float(np.mean([0.45, 0.6, 0.5, 0.7])),
        groups={"type": TYPES[kind]},
    )


# --- captions: a finite pool of pictures, scored by the real CIDEr ---

# fmt: off
NOUNS = [
    "man", "woman", "dog", "cat", "horse", "bus", "train", "boat", "child", "bird",
    "plate", "pizza", "laptop", "kite", "surfboard", "bench", "zebra", "truck",
]
VERBS = ["sitting", "standing", "riding", "holding", "watching", "eating", "crossing", "jumping", "sleeping", "running"]
PLACES = ["street", "beach", "field", "kitchen", "table", "water", "grass", "room", "snow", "bridge", "garden"]
KINDS = ["red", "large", "small", "white", "young", "old", "wooden", "blue", "brown", "empty"]
# fmt: on


def _caption(rng: np.random.Generator, scene: tuple[int, ...], slip: float) -> str:
    """One annotator's caption of a scene; every word may change to another one."""
    lists = (KINDS, NOUNS, VERBS, PLACES, KINDS)
    chosen = [
        words[part if rng.random() > slip else rng.integers(len(words))]
        for words, part in zip(lists, scene, strict=True)
    ]
    kind, noun, verb, place, other = chosen
    forms = (
        f"a {kind} {noun} is {verb} near the {place}",
        f"a {noun} {verb} on a {other} {place}",
        f"there is a {kind} {noun} {verb} by the {place}",
        f"{kind} {noun} {verb} in front of a {other} {place}",
    )
    return forms[int(rng.integers(len(forms)))]


@cache
def pool(size: int = 2_000) -> tuple[tuple[Example, ...], tuple[Answer, ...], Floats, Floats]:
    """Pictures with five references, one model's captions, and the scores of two of its trainings (size,)."""
    rng = np.random.default_rng(5)
    examples, answers, fresh = [], [], []
    for row in range(size):
        scene = tuple(int(rng.integers(len(words))) for words in (KINDS, NOUNS, VERBS, PLACES, KINDS))
        slip = rng.beta(1, 2)  # some pictures are easy
        references = tuple(_caption(rng, scene, 0.2) for _ in range(5))
        examples.append(Example(id=str(row), cluster=str(row), kind="caption", references=references))
        answers.append(Answer(state="ok", text=_caption(rng, scene, slip)))
        fresh.append(Answer(state="ok", text=_caption(rng, scene, slip)))
    metric = metrics.get("cider")
    scores = [metric.statistics(examples, given)[:, 0] for given in (answers, fresh)]
    return tuple(examples), tuple(answers), scores[0], scores[1]


def cider(rng: np.random.Generator, n: int, fall: float = 0.0) -> Data:
    """Pictures drawn from the pool; the document frequencies are the pool's, the truth is the pool's CIDEr."""
    _, _, scores, fresh = pool()
    rows = rng.integers(0, len(scores), n)
    anew = 2 * SHARE_CHANGED
    # Of the new captions some lose half their score, which leaves the spread of the changes about as it is.
    halved = rng.random(n) < 2 * fall / (anew * fresh.mean())
    worse = np.where(halved, fresh[rows] / 2, fresh[rows])
    after = np.where(rng.random(n) < anew, worse, scores[rows])
    clusters = [f"{row:06d}" for row in range(n)]
    metric = metrics.get("cider")
    truth = float(scores.mean())
    return Data(metric=metric, before=scores[rows][:, None], after=after[:, None], clusters=clusters, truth=truth)


def cider_of_sample(rng: np.random.Generator, n: int) -> Data:
    """The same with the document frequencies of the pictures drawn, as a run on a subset has; truth unknown (NaN)."""
    examples, answers, scores, _ = pool()
    rows = rng.permutation(len(scores))[:n]
    metric = metrics.get("cider")
    stats = metric.statistics([examples[row] for row in rows], [answers[row] for row in rows])
    clusters = [f"{row:06d}" for row in range(n)]
    return Data(metric=metric, before=stats, after=stats, clusters=clusters, truth=float("nan"))


# --- what is counted ---

COVERAGE: dict[str, Maker] = {
    "0/1, 1 to 8 a cluster, 200 clusters": lambda rng: binary(rng, 200, largest=8),
    "0/1, 1 to 8 a cluster, 95 % right": lambda rng: binary(rng, 200, largest=8, p=0.95),
    "0/1, no clusters, n 200, 97 % right": lambda rng: binary(rng, 200, p=0.97),
    "VQA accuracy, 1 to 5 a cluster, 200 clusters": lambda rng: vqa(rng, 200),
    "CIDEr, 250 of a pool, its frequencies": lambda rng: cider(rng, 250),
    "AUC 0.75, n 250": lambda rng: auc(rng, 250),
    "AUC 0.75, 1 to 4 a cluster, 200 clusters": lambda rng: auc(rng, 200, largest=4),
    "AUC 0.95, n 250": lambda rng: auc(rng, 250, truth=0.95),
    "mean of types, 1 to 5 a cluster, 200 clusters": lambda rng: types(rng, 200),
}

# Thirteen tasks as the catalog has them: VQA, choices, AUC, types, captions.
FAMILY: tuple[Maker, ...] = (
    lambda rng: vqa(rng, 250),
    lambda rng: vqa(rng, 200),
    lambda rng: vqa(rng, 300, largest=1),
    lambda rng: vqa(rng, 300, largest=3),
    lambda rng: binary(rng, 400),
    lambda rng: binary(rng, 250),
    lambda rng: binary(rng, 200, largest=4),
    lambda rng: binary(rng, 250, largest=3),
    lambda rng: auc(rng, 300),
    lambda rng: types(rng, 200),
    lambda rng: cider(rng, 250),
    lambda rng: cider(rng, 300),
    lambda rng: cider(rng, 200),
)

POWER: dict[str, Maker] = {
    "exact McNemar": lambda rng, fall: binary(rng, 1_000, fall),
    "permutation by cluster (VQA accuracy)": lambda rng, fall: vqa(rng, 333, fall),
    "permutation by cluster (0/1)": lambda rng, fall: binary(rng, 400, fall, largest=4),
    "permutation (CIDEr)": lambda rng, fall: cider(rng, 1_000, fall),
    "paired bootstrap (AUC)": lambda rng, fall: auc(rng, 1_000, fall),
    "paired bootstrap (mean of types)": lambda rng, fall: types(rng, 333, fall),
}


def coverage(make: Maker, draws: int, seed: int = 1) -> float:
    """How often the 95 % interval holds the truth."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(draws):
        data = make(rng)
        found = interval(data.metric, data.before, data.clusters, data.groups)[0]
        hits += found.low <= data.truth <= found.high
    return hits / draws


def coverage_of_own_frequencies(draws: int, seed: int = 1) -> float:
    """CIDEr with the sample's own document frequencies: how often the interval holds the mean of all the draws."""
    rng = np.random.default_rng(seed)
    made = (cider_of_sample(rng, 250) for _ in range(draws))
    found = [interval(data.metric, data.before, data.clusters, data.groups)[0] for data in made]
    truth = np.mean([one.value for one in found])
    return float(np.mean([one.low <= truth <= one.high for one in found]))


def compared(data: Data, resamples: int) -> Comparison:
    return compare(data.metric, (data.before, data.after), data.clusters, data.groups, draws=resamples)[0]


def false_alarms(draws: int, seed: int = 2, resamples: int = 2_000) -> tuple[float, float]:
    """How often any of 13 equal tasks is called worse; the same with one-sided p-values."""
    rng = np.random.default_rng(seed)
    worse = one_sided = 0
    for _ in range(draws):
        family = [compared(make(rng), resamples) for make in FAMILY]
        adjusted = holm([one.p for one in family])
        worse += any(
            judge(one, p, detectable=smallest_detectable(one, tests=13)).word == "worse"
            for one, p in zip(family, adjusted, strict=True)
        )
        one_sided += min(holm([one.p_worse for one in family])) < 0.05
    return worse / draws, one_sided / draws


def power(make: Maker, draws: int, tests: int = 1, seed: int = 3, resamples: int = 1_000) -> tuple[float, float]:
    """How often a fall of the smallest detectable effect, as printed by an earlier check, is found; and its mean."""
    rng = np.random.default_rng(seed)
    found, effects = 0, []
    for _ in range(draws):
        effects.append(smallest_detectable(compared(make(rng, 0.0), resamples // 2), tests=tests))
        result = compared(make(rng, effects[-1]), resamples)
        found += result.p < 0.05 / tests and result.difference < 0
    return found / draws, float(np.mean(effects))


def timings() -> Iterator[tuple[str, float]]:
    """Seconds of the speed figures: COCO's bootstrap, and a check of 13 tasks of their official sizes."""
    from anymal_eval.statistics.resample import cluster_codes, reduced, weightings

    rng = np.random.default_rng(4)
    coco = cider(rng, 5_000)
    start = time.perf_counter()
    codes, count = cluster_codes(coco.clusters)
    for weights in weightings(codes, count, 10_000):
        reduced(coco.metric, coco.after, weights, {}) - reduced(coco.metric, coco.before, weights, {})
    yield "10,000 paired bootstrap draws of CIDEr over 5,000 images", time.perf_counter() - start
    total = 0.0
    for name, data in _official_sizes(rng):
        start = time.perf_counter()
        smallest_detectable(compared(data, 10_000), tests=13)
        spent = time.perf_counter() - start
        total += spent
        yield f"  {name} (n {len(data.before):,})", spent
    yield "13 tasks", total


def _official_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Data]]:
    yield "vqav2", vqa(rng, 71_451)  # about three a picture: 214,354
    yield "okvqa", vqa(rng, 5_033, largest=1)
    yield "textvqa", vqa(rng, 2_500, largest=3)
    yield "vizwiz", vqa(rng, 4_319, largest=1)
    yield "scienceqa", binary(rng, 2_017)
    yield "hateful_memes", auc(rng, 1_000)
    yield "coco", cider(rng, 5_000)
    yield "audiocaps", cider(rng, 975)
    yield "how2qa", binary(rng, 1_240, largest=4)
    yield "star", types(rng, 2_366)
    yield "nextqa", binary(rng, 2_854, largest=5)
    yield "mmit_cap", cider(rng, 1_000)
    yield "imu_caption", cider(rng, 1_000)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--draws", type=int, default=2_000)
    options.add_argument("--only", choices=("coverage", "alarms", "power", "speed"))
    chosen = options.parse_args()
    wanted = {chosen.only} if chosen.only else {"coverage", "alarms", "power", "speed"}
    if "coverage" in wanted:
        print(f"95 % intervals that hold the truth, % of {chosen.draws:,} draws (93 to 97 wanted)")
        for name, make in COVERAGE.items():
            print(f"  {name:<52} {100 * coverage(make, chosen.draws):5.1f}", flush=True)
        print(f"  {'CIDEr, 250 of the pool, their own frequencies':<52} "
              f"{100 * coverage_of_own_frequencies(chosen.draws):5.1f}", flush=True)  # fmt: skip
    if "alarms" in wanted:
        worse, one_sided = false_alarms(chosen.draws)
        allowed = 5 + 200 * np.sqrt(0.05 * 0.95 / chosen.draws)
        print(f"equal models called worse, 13 tasks after Holm, % of {chosen.draws:,} checks (at most {allowed:.1f})")
        print(f"  {'the verdict':<52} {100 * worse:5.1f}")
        print(f"  {'one-sided p':<52} {100 * one_sided:5.1f}", flush=True)
    if "power" in wanted:
        print(f"falls of the smallest detectable effect found, % of {chosen.draws:,} (75 to 85 wanted), n about 1,000")
        for name, make in POWER.items():
            for tests in (1, 13):
                share, effect = power(make, chosen.draws, tests, resamples=1_000 if tests == 1 else 2_000)
                print(f"  {name:<40} tests {tests:>2} {100 * share:5.1f}   effect {effect:.4f}", flush=True)
    if "speed" in wanted:
        print("seconds")
        for name, seconds in timings():
            print(f"  {name:<60} {seconds:6.2f}", flush=True)


if __name__ == "__main__":
    main()
