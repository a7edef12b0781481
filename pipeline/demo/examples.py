"""Labelled pictures and sounds of one second, from which the demo's encoders learn.

They come from the corpus's own renderers, but are easier: larger, clearer, mostly of one class.
Encoders that learn from them know the classes and are put to the test by the corpus's crowds,
noise and hidden pictures, as CLIP and CLAP are by LLP.
"""

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from pipeline.demo.scenes import CLASS_INDEX, FRAME_RATE, Conditions, draw_frames, mix_sound
from pipeline.demo.scripts import ScriptedEvent, VideoScript
from pipeline.demo.synthesis import RATE
from pipeline.media import FULL_SCALE, SAMPLE_RATE
from pipeline.media.transforms import clip

TRAINING = Conditions(
    size=(0.45, 0.9),
    shift=0.12,
    hiding=0.1,
    hidden=(0.2, 0.5),
    light=(0.7, 1.25),
    grain=(0, 14),
    gain=(-4, 4),
    fading=0.1,
    faded=(-14, -8),
    hiss=(-28, -10),
    hum=0.1,
)
# Share of the examples that show a second class beside the first.
PAIRED = 0.25
# Share of the examples that show none.
EMPTY = 0.1
# Share of the labels that name the look-alike instead: the captions then tell less than the
# features hold, which is how CLIP's and CLAP's zero-shot labels differ from what can be learnt.
MISNAMED = 0.15
LOOK_ALIKES = (
    ("Speech", "Singing"),
    ("Violin_fiddle", "Cello"),
    ("Banjo", "Acoustic_guitar"),
    ("Dog", "Cat"),
    ("Car", "Motorcycle"),
    ("Lawn_mower", "Chainsaw"),
    ("Vacuum_cleaner", "Blender"),
    ("Baby_laughter", "Baby_cry_infant_cry"),
    ("Cheering", "Clapping"),
    ("Fire_alarm", "Telephone_bell_ringing"),
)


def draw_examples(
    seed: int, count: int, paired: float = PAIRED, empty: float = EMPTY
) -> list[VideoScript]:
    """Return scripts of one second: every class in turn, some with a second class, some empty."""
    random = np.random.default_rng([seed, count])
    names = list(CLASS_INDEX)
    whole = ((0, 1),)
    scripts = []
    for index in range(count):
        main, other = names[index % len(names)], str(random.choice(names))
        chance = random.random()
        labels = {main, other} if chance < paired else {main} if chance < 1 - empty else set()
        events = tuple(ScriptedEvent(label, whole, whole) for label in sorted(labels))
        scripts.append(VideoScript(f"example{index}", "train", (seed, count, index), events, 1))
    return scripts


def draw_pictures(
    scripts: list[VideoScript], conditions: Conditions, size: int
) -> NDArray[np.uint8]:
    """Return one frame of every example, as decoding gives it: RGB ``[n, size, size, 3]``."""
    steps = [script.seed[-1] * 3 % FRAME_RATE for script in scripts]
    frames = [
        clip(next(draw_frames(script, conditions, [step])), size)
        for script, step in zip(scripts, steps, strict=True)
    ]
    return np.stack(frames)


def play_sounds(scripts: list[VideoScript], conditions: Conditions) -> NDArray[np.int16]:
    """Return the sound of every example, as decoding gives it: 48 kHz, int16 ``[n, 48000]``."""
    waves = torch.from_numpy(np.stack([mix_sound(script, conditions) for script in scripts]))
    resampled = torchaudio.functional.resample(waves, RATE, SAMPLE_RATE).clamp(-1, 1)
    sounds: NDArray[np.int16] = (resampled * FULL_SCALE).to(torch.int16).numpy()
    return sounds


def name_examples(scripts: list[VideoScript], seed: int, misnamed: float) -> NDArray[np.float32]:
    """Return how much of each caption belongs to each example, ``[n, C]``.

    The rows sum to 1, those of empty examples to 0; a share of the labels is misnamed.
    """
    random = np.random.default_rng([seed, len(scripts)])
    other = {name: twin for pair in LOOK_ALIKES for name, twin in (pair, pair[::-1])}
    probabilities = np.zeros((len(scripts), len(CLASS_INDEX)), np.float32)
    for row, script in enumerate(scripts):
        for label in script.labels:
            named = other.get(label, label) if random.random() < misnamed else label
            probabilities[row, CLASS_INDEX[named]] += 1 / len(script.labels)
    return probabilities
