"""Render the frames and sound of a script: pictures over a background, sounds over noise.

Randomness is seeded by script, modality, class and second, so errors caused by noise or occlusion
are independent between seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from pipeline.demo.canvas import Canvas
from pipeline.demo.pictures import PICTURES
from pipeline.demo.scripts import ScriptedEvent, VideoScript
from pipeline.demo.sounds import LOUDNESS, sound
from pipeline.demo.synthesis import TIME, Wave, harmonics, noise

SIDE = 128  # side of a frame in pixels
FRAME_RATE = 8  # frames per second; VALOR samples LLP at this rate
CLASS_INDEX = {label: index for index, label in enumerate(PICTURES)}

AUDIO, VISUAL = 0, 1
SETTING = len(CLASS_INDEX)  # random stream of the video itself, not of an event

Range = tuple[float, float]
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Conditions:
    """Difficulty of a scene; values are drawn uniformly from ranges, mostly once per second.

    Attributes
    ----------
    size
        Side of a picture as a share of the frame's side.
    shift
        Maximum offset of a picture as a share of the frame's side.
    hiding
        Probability that a picture is partly hidden.
    hidden
        Hidden share of such a picture.
    light
        Brightness factor.
    grain
        Standard deviation of the pixel noise, on a scale of 255.
    gain
        Loudness of an event in decibels.
    fading
        Probability that an event is nearly inaudible.
    faded
        Loudness of such an event in decibels.
    hiss
        Loudness of the background noise in decibels.
    hum
        Probability of an unrelated tone.
    """

    size: Range
    shift: float
    hiding: float
    hidden: Range
    light: Range
    grain: Range
    gain: Range
    fading: float
    faded: Range
    hiss: Range
    hum: float


CORPUS = Conditions(
    size=(0.4, 0.66),
    shift=0.06,
    hiding=0.25,
    hidden=(0.35, 0.8),
    light=(0.6, 1.3),
    grain=(4, 18),
    gain=(-6, 3),
    fading=0.15,
    faded=(-20, -10),
    hiss=(-26, -8),
    hum=0.2,
)


def stream(script: VideoScript, *path: int) -> np.random.Generator:
    """Return the random generator for ``path`` (modality, class, second) of a video."""
    return np.random.default_rng([*script.seed, *path])


def draw_frames(
    script: VideoScript,
    conditions: Conditions = CORPUS,
    steps: Sequence[int] = range(FRAME_RATE),
) -> Iterator[Frame]:
    """Yield the frames of a video, RGB uint8 ``[SIDE, SIDE, 3]``.

    ``steps`` selects which of the ``FRAME_RATE`` frames of each second are drawn.
    """
    background = _background(stream(script, VISUAL, SETTING))
    for second in range(script.seconds):
        setting = stream(script, VISUAL, SETTING, second)
        light = setting.uniform(*conditions.light)
        grain = setting.normal(0, setting.uniform(*conditions.grain), (SIDE, SIDE, 1))
        visible = [event for event in script.events if event.is_active("visual", second)]
        placed = [_Placed.draw(script, event, second, conditions) for event in visible]
        for step in steps:
            image = background.copy()
            for picture in placed:
                picture.paste(image, step / FRAME_RATE)
            pixels = np.asarray(ImageEnhance.Brightness(image).enhance(light), np.float32)
            yield np.clip(pixels + grain, 0, 255).astype(np.uint8)


def mix_sound(script: VideoScript, conditions: Conditions = CORPUS) -> NDArray[np.float32]:
    """Return the mono sound of a video in [-1, 1], with ``synthesis.RATE`` samples per second."""
    seconds = [_mix_second(script, second, conditions) for second in range(script.seconds)]
    return np.clip(np.concatenate(seconds), -1, 1).astype(np.float32)


def _mix_second(script: VideoScript, second: int, conditions: Conditions) -> Wave:
    setting = stream(script, AUDIO, SETTING, second)
    level = stream(script, AUDIO, SETTING).uniform(*conditions.hiss) + setting.uniform(-3, 3)
    # noise() has a standard deviation of 1/3.
    wave = 3 * LOUDNESS * _amplitude(level) * noise(setting, 60, setting.uniform(800, 10_000))
    if setting.random() < conditions.hum:
        tone = harmonics(setting.uniform(50, 900), [1, 0.5, 0.3])
        wave += LOUDNESS * _amplitude(setting.uniform(-14, -3)) * tone * (0.5 + 0.5 * TIME)
    for event in script.events:
        if event.is_active("audio", second):
            index = CLASS_INDEX[event.label]
            random = stream(script, AUDIO, index, second)
            fades = random.random() < conditions.fading
            gain = random.uniform(*(conditions.faded if fades else conditions.gain))
            voice = stream(script, AUDIO, index).random()
            wave += _amplitude(gain) * sound(event.label, random, voice)
    return wave


def _amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _background(random: np.random.Generator) -> Image.Image:
    """Draw coarse or fine soft blotches of similar colours."""
    cells = int(random.integers(3, 14))
    base = random.uniform(50, 215, 3)
    blotches = base + random.normal(0, random.uniform(8, 32), (cells, cells, 1))
    blotches = blotches + random.normal(0, 10, (cells, cells, 3))
    small = Image.fromarray(np.clip(blotches, 0, 255).astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@lru_cache(maxsize=len(PICTURES) * FRAME_RATE)
def _drawing(label: str, step: int) -> Image.Image:
    canvas = Canvas()
    PICTURES[label](canvas, step / FRAME_RATE)
    return canvas.image


@dataclass(frozen=True)
class _Placed:
    """A picture in one second: its size, position, tint and hidden part."""

    label: str
    side: int
    left: int
    top: int
    mirrored: bool
    tint: list[int]  # lookup table of the levels of red, green, blue and opacity
    hidden: float
    hidden_from: int  # 0 left, 1 top, 2 right, 3 bottom

    @classmethod
    def draw(
        cls, script: VideoScript, event: ScriptedEvent, second: int, conditions: Conditions
    ) -> "_Placed":
        index = CLASS_INDEX[event.label]
        lasting = stream(script, VISUAL, index)
        passing = stream(script, VISUAL, index, second)
        side = lasting.uniform(*conditions.size) * passing.uniform(0.85, 1.15)
        centre = _centre(script, event) + np.array([0.0, lasting.uniform(-0.15, 0.15)])
        x, y = centre + passing.uniform(-conditions.shift, conditions.shift, 2)
        factors = np.append(lasting.uniform(0.75, 1.2, 3), 1.0)
        tint = np.minimum(np.outer(factors, np.arange(256)), 255).astype(int).ravel()
        hides = passing.random() < conditions.hiding
        hidden = passing.uniform(*conditions.hidden) if hides else 0.0
        return cls(
            label=event.label,
            side=round(side * SIDE),
            left=round((x - side / 2) * SIDE),
            top=round((y - side / 2) * SIDE),
            mirrored=bool(lasting.random() < 0.5),
            tint=tint.tolist(),
            hidden=hidden,
            hidden_from=int(passing.integers(4)),
        )

    def paste(self, image: Image.Image, phase: float) -> None:
        """Paste the picture at a phase of its motion."""
        picture = _drawing(self.label, round(phase * FRAME_RATE))
        if self.mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = picture.resize((self.side, self.side), Image.Resampling.BILINEAR)
        opacity = picture.getchannel("A")
        opacity.paste(0, self._hidden_box())
        image.paste(picture.point(self.tint).convert("RGB"), (self.left, self.top), opacity)

    def _hidden_box(self) -> tuple[int, int, int, int]:
        cut = round(self.hidden * self.side)
        boxes = (
            (0, 0, cut, self.side),
            (0, 0, self.side, cut),
            (self.side - cut, 0, self.side, self.side),
            (0, self.side - cut, self.side, self.side),
        )
        return boxes[self.hidden_from]


def _centre(script: VideoScript, event: ScriptedEvent) -> NDArray[np.float64]:
    """Return the centre (x, y) of a picture; pictures are side by side, in random order."""
    shown = [shown.label for shown in script.events if shown.visible]
    order = stream(script, VISUAL, SETTING, script.seconds).permutation(len(shown))
    column = int(order[shown.index(event.label)])
    across = 0.5 if len(shown) == 1 else 0.28 + 0.44 * column / (len(shown) - 1)
    return np.array([across, 0.5])
