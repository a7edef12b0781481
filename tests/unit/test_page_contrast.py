"""The pages' colours in light and dark: WCAG 2.2's contrast at level AA, from the style sheets."""

import re
from pathlib import Path

import pytest

from pipeline.report.drawing import COLOURS

PIPELINE = Path(__file__).resolve().parents[2] / "pipeline"
TEXT, MARK = 4.5, 3.0
# What lies on what, and how much lighter or darker it must be.
PAIRS = [
    ("ink", "paper", TEXT),
    ("ink", "tint", TEXT),
    ("quiet", "paper", TEXT),
    ("quiet", "tint", TEXT),
    ("link", "paper", TEXT),
    ("link", "tint", MARK),  # the line at a notice
    ("on-heard", "heard", TEXT),
    ("on-seen", "seen", TEXT),
    ("heard", "paper", MARK),
    ("seen", "paper", MARK),
    ("audio_visual", "paper", MARK),
]


def variables(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", style))


def palettes() -> dict[str, dict[str, str]]:
    """Return every colour by name, in light and in dark."""
    base = (PIPELINE / "core/page.css").read_text()
    light, _, dark = base.partition("@media screen and (prefers-color-scheme: dark)")
    of_both = variables((PIPELINE / "inference/page.css").read_text()) | COLOURS
    of_light = of_both | variables(light)
    return {"light": of_light, "dark": of_light | variables(dark)}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_it_can_be_told_from_what_is_behind_it(
    scheme: str, front: str, back: str, least: float
) -> None:
    palette = palettes()[scheme]
    assert contrast(palette[front], palette[back]) >= least


def test_the_pages_and_the_figures_have_the_same_colours() -> None:
    for palette in palettes().values():
        assert (palette["heard"], palette["seen"]) == (COLOURS["audio"], COLOURS["visual"])
