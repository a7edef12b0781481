"""Draw the scripts of the demo corpus: the events of every video, before rendering.

A script is everything the renderer needs: a name, a seed, and the events with their times. The
same corpus seed and sizes give the same scripts.
"""

from dataclasses import dataclass
from itertools import cycle

import numpy as np

from pipeline.demo import statistics

SEGMENTS = 10  # length of a video in seconds, as in LLP
ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
DEMO_ID_LENGTH = 11
DEMO_SPLITS = ("train", "val", "test")

# Every second video takes its class in rotation, the others are drawn with LLP's frequencies.
# Otherwise a small corpus would lack rare classes (Telephone is 1% of LLP).
DEALT_EVERY = 2

ScriptRun = tuple[int, int]


@dataclass(frozen=True)
class ScriptedEvent:
    """An event of one class in a video.

    Attributes
    ----------
    label
        Class name.
    audible, visible
        Runs of seconds ``(onset, offset)``, offset exclusive; empty if not audible or visible.
    """

    label: str
    audible: tuple[ScriptRun, ...]
    visible: tuple[ScriptRun, ...]

    def runs(self, modality: str) -> tuple[ScriptRun, ...]:
        """Return the runs of ``audio`` or ``visual``."""
        return self.audible if modality == "audio" else self.visible

    def is_active(self, modality: str, second: int) -> bool:
        """Return whether the event is audible (``audio``) or visible (``visual``) in a second."""
        return any(onset <= second < offset for onset, offset in self.runs(modality))


@dataclass(frozen=True)
class VideoScript:
    """Everything that determines one video.

    Attributes
    ----------
    filename
        Full name, ``{id}_{start}_{end}``.
    split
        ``train``, ``val`` or ``test``.
    seed
        Seed of all randomness in the rendering.
    events
        One event per weak label, in the same order.
    seconds
        Length of the video.
    """

    filename: str
    split: str
    seed: tuple[int, ...]
    events: tuple[ScriptedEvent, ...]
    seconds: int = SEGMENTS

    @property
    def labels(self) -> tuple[str, ...]:
        """Weak labels of the video."""
        return tuple(event.label for event in self.events)


def write_scripts(seed: int, counts: dict[str, int]) -> list[VideoScript]:
    """Return the scripts of a corpus.

    Parameters
    ----------
    seed
        Seed of the corpus.
    counts
        Split to number of videos.
    """
    scripts: list[VideoScript] = []
    taken: set[str] = set()
    for split_index, split in enumerate(DEMO_SPLITS):
        random = np.random.default_rng([seed, split_index])
        dealt = cycle(random.permutation([name for name in statistics.SINGLES if name != "Speech"]))
        for index in range(counts[split]):
            main = str(next(dealt)) if index % DEALT_EVERY == 0 else draw_main(random)
            labels = draw_labels(random, main, split)
            filename = draw_name(random, taken, index)
            events = tuple(draw_event(random, label) for label in labels)
            scripts.append(VideoScript(filename, split, (seed, split_index, index), events))
    return scripts


def draw_main(random: np.random.Generator) -> str:
    """Draw a label other than Speech, by its frequency in LLP's train split."""
    names = [name for name in statistics.SINGLES if name != "Speech"]
    weights = [statistics.SINGLES[name] + sum(_companions(name).values()) for name in names]
    return _choose(random, dict(zip(names, weights, strict=True)))


def draw_labels(random: np.random.Generator, main: str, split: str) -> tuple[str, ...]:
    """Draw the weak labels of a video: ``main`` alone, or with classes it co-occurs with."""
    companion = _choose(random, _companions(main) | {"": statistics.SINGLES[main]})
    labels = [main, companion] if companion else [main]
    if random.random() < statistics.THIRD_LABEL[split]:
        others = {name: 1 for name in statistics.SINGLES if name not in labels}
        near = {name: count for name, count in _companions(main).items() if name in others}
        while len(labels) < 3:
            labels.append(_choose(random, near or others))
            near = {}
            others.pop(labels[-1])
    return tuple(labels[index] for index in random.permutation(len(labels)))


def draw_event(random: np.random.Generator, label: str) -> ScriptedEvent:
    """Draw whether an event is audible, visible or both, and when."""
    counts = statistics.AUDIBLE_VISIBLE_BOTH[label]
    kind = _choose(random, dict(zip(("audible", "visible", "both"), counts, strict=True)))
    audible = draw_runs(random, label, "audio") if kind != "visible" else ()
    visible = draw_runs(random, label, "visual") if kind != "audible" else ()
    if kind == "both" and random.random() < statistics.SAME_TIMES:
        # Use the runs of either modality, so that each keeps its distribution of lengths.
        audible = visible = audible if random.random() < 0.5 else visible
    return ScriptedEvent(label, audible, visible)


def draw_runs(random: np.random.Generator, label: str, modality: str) -> tuple[ScriptRun, ...]:
    """Draw the runs of an event in one modality: the whole clip, one run, or two."""
    kind = "Speech" if label == "Speech" else "other"
    if random.random() < statistics.WHOLE_CLIP[modality][kind]:
        return ((0, SEGMENTS),)
    active = int(random.integers(1, SEGMENTS))
    if active == 1 or random.random() >= statistics.SPLIT_RUNS[modality][kind]:
        onset = int(random.integers(0, SEGMENTS - active + 1))
        return ((onset, onset + active),)
    first = int(random.integers(1, active))
    gap = int(random.integers(1, SEGMENTS - active + 1))
    onset = int(random.integers(0, SEGMENTS - active - gap + 1))
    second = onset + first + gap
    return ((onset, onset + first), (second, second + active - first))


def draw_name(random: np.random.Generator, taken: set[str], index: int) -> str:
    """Draw a name in LLP's format whose id is not in ``taken``, and add the id.

    As in LLP, some ids start with '-' and some times have decimals: the first id and the second
    time of every split do, so that both cases are exercised. No id starts with '_'.
    """
    while True:
        letters = random.integers(0, len(ID_LETTERS), DEMO_ID_LENGTH)
        youtube_id = "".join(ID_LETTERS[letter] for letter in letters)
        if index == 0:
            youtube_id = "-" + youtube_id[1:]
        if youtube_id[0] != "_" and youtube_id not in taken:
            break
    taken.add(youtube_id)
    start = 10 * int(random.integers(0, 40))
    if index == 1:
        return f"{youtube_id}_{start}.5_{start + SEGMENTS}.5"
    return f"{youtube_id}_{start}_{start + SEGMENTS}"


def _companions(name: str) -> dict[str, int]:
    pairs = statistics.PAIRS.items()
    return {
        (second if first == name else first): count
        for (first, second), count in pairs
        if name in (first, second)
    }


def _choose(random: np.random.Generator, weights: dict[str, int]) -> str:
    values = np.array(list(weights.values()), dtype=np.float64)
    return list(weights)[int(random.choice(len(values), p=values / values.sum()))]
