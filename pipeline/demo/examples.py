"""Training examples of the demo encoders: labelled pictures and one-second sounds.

They use the renderers of the corpus but are easier: larger, clearer and mostly of one class. As
with CLIP and CLAP on LLP, the encoders know the classes, but the overlapping events, noise and
occlusions of the corpus are hard for them.
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
# Share of examples with two classes.
PAIRED = 0.25
# Share of examples without a class.
EMPTY = 0.1
# Share of labels replaced by the look-alike class. Captions then carry less information than the
# features, as with CLIP and CLAP, so that training can improve on zero-shot labels.
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
    """Return one-second scripts: all classes in rotation, some with a second class, some empty."""
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
    """Return one frame per example in the format of decoded frames: RGB ``[n, size, size, 3]``."""
    steps = [script.seed[-1] * 3 % FRAME_RATE for script in scripts]
    frames = [
        clip(next(draw_frames(script, conditions, [step])), size)
        for script, step in zip(scripts, steps, strict=True)
    ]
    return np.stack(frames)


def play_sounds(scripts: list[VideoScript], conditions: Conditions) -> NDArray[np.int16]:
    """Return the sounds in the format of decoded audio: 48 kHz, int16 ``[n, 48000]``."""
    waves = torch.from_numpy(np.stack([mix_sound(script, conditions) for script in scripts]))
    resampled = torchaudio.functional.resample(waves, RATE, SAMPLE_RATE).clamp(-1, 1)
    sounds: NDArray[np.int16] = (resampled * FULL_SCALE).to(torch.int16).numpy()
    return sounds


def name_examples(scripts: list[VideoScript], seed: int, misnamed: float) -> NDArray[np.float32]:
    """Return the caption probabilities ``[n, C]`` of the examples.

    Rows sum to 1, or to 0 for empty examples. A share ``misnamed`` of the labels is replaced by
    the look-alike class.
    """
    random = np.random.default_rng([seed, len(scripts)])
    other = {name: twin for pair in LOOK_ALIKES for name, twin in (pair, pair[::-1])}
    probabilities = np.zeros((len(scripts), len(CLASS_INDEX)), np.float32)
    for row, script in enumerate(scripts):
        for label in script.labels:
            named = other.get(label, label) if random.random() < misnamed else label
            probabilities[row, CLASS_INDEX[named]] += 1 / len(script.labels)
    return probabilities
