"""LLP's metrics once more, slow and obvious: one video, one class, one run at a time."""

from statistics import mean

import numpy as np

Run = tuple[int, int]
ClassCounts = tuple[int, int, int]


def maximal_runs(line: list[bool]) -> list[Run]:
    found: list[Run] = []
    for place, positive in enumerate(line):
        if positive and place > 0 and line[place - 1]:
            found[-1] = (found[-1][0], place + 1)
        elif positive:
            found.append((place, place + 1))
    return found


def matches(one: Run, other: Run) -> bool:
    first, second = set(range(*one)), set(range(*other))
    return len(first & second) >= 0.5 * len(first | second)


def count_segments(truth: list[bool], predicted: list[bool]) -> ClassCounts:
    pairs = list(zip(truth, predicted, strict=True))
    return pairs.count((True, True)), pairs.count((False, True)), pairs.count((True, False))


def count_events(truth: list[bool], predicted: list[bool]) -> ClassCounts:
    annotated, found = maximal_runs(truth), maximal_runs(predicted)
    hits = sum(any(matches(run, other) for other in annotated) for run in found)
    missed = sum(not any(matches(run, other) for other in found) for run in annotated)
    return hits, len(found) - hits, missed


def macro_f1(classes: list[ClassCounts]) -> float:
    active = [
        2 * hits / (2 * hits + wrong + missed)
        for hits, wrong, missed in classes
        if hits + wrong + missed
    ]
    return mean(active) if active else 1.0


def reference_metrics(
    truth_audio: np.ndarray,
    truth_visual: np.ndarray,
    predicted_audio: np.ndarray,
    predicted_visual: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Score labels ``[N, T, C]`` in percent."""
    return scored(
        {
            "audio": (truth_audio, predicted_audio),
            "visual": (truth_visual, predicted_visual),
            "audio_visual": (truth_audio & truth_visual, predicted_audio & predicted_visual),
        }
    )


def reference_only_metrics(
    truth_audio: np.ndarray,
    truth_visual: np.ndarray,
    predicted_audio: np.ndarray,
    predicted_visual: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Score audible-only and visible-only events; audio-visual ones as always."""
    return scored(
        {
            "audio": (
                one_only(truth_audio, truth_visual),
                one_only(predicted_audio, predicted_visual),
            ),
            "visual": (
                one_only(truth_visual, truth_audio),
                one_only(predicted_visual, predicted_audio),
            ),
            "audio_visual": (truth_audio & truth_visual, predicted_audio & predicted_visual),
        }
    )


def one_only(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    found = np.zeros_like(one)
    for index in np.ndindex(one.shape):
        found[index] = one[index] == 1 and other[index] == 0
    return found


def scored(sides: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, dict[str, float]]:
    result = {}
    videos, _, classes = sides["audio"][0].shape
    for level, count in (("segment", count_segments), ("event", count_events)):
        scores: dict[str, list[float]] = {key: [] for key in (*sides, "event")}
        for video in range(videos):
            counted = {
                side: [
                    count(truth[video, :, c].tolist(), predicted[video, :, c].tolist())
                    for c in range(classes)
                ]
                for side, (truth, predicted) in sides.items()
            }
            for side, each in counted.items():
                scores[side].append(macro_f1(each))
            summed = [
                tuple(a + v for a, v in zip(audio, visual, strict=True))
                for audio, visual in zip(counted["audio"], counted["visual"], strict=True)
            ]
            scores["event"].append(macro_f1(summed))
        percent = {key: 100 * mean(values) for key, values in scores.items()}
        percent["type"] = mean(percent[side] for side in sides)
        result[level] = percent
    return result
