"""Draw each class as a small animation whose phase runs from 0 to 1.

Some classes look alike on purpose: speech, singing and cheering share faces, the cello is a large
violin, laughing and crying babies share a head, and so on.
"""

from collections.abc import Callable
from math import cos, pi, sin

from pipeline.demo.canvas import BLACK, GREY, SKIN, WHITE, Canvas, Colour, Point

RED: Colour = (205, 45, 40)
ORANGE: Colour = (235, 125, 35)
YELLOW: Colour = (240, 205, 60)
GREEN: Colour = (60, 140, 65)
BLUE: Colour = (55, 95, 185)
BROWN: Colour = (125, 72, 35)
WOOD: Colour = (190, 125, 60)
DARK_WOOD: Colour = (110, 50, 25)
PINK: Colour = (245, 160, 170)


def speech(pen: Canvas, phase: float) -> None:
    """Draw two people, one mouth open at a time."""
    _person(pen, (0.28, 0.38), 0.17, BLUE, mouth=0.05 if phase < 0.5 else 0.015)
    _person(pen, (0.72, 0.38), 0.17, GREEN, mouth=0.05 if phase >= 0.5 else 0.015)


def singing(pen: Canvas, phase: float) -> None:
    """Draw one person singing into a microphone, with a musical note."""
    _person(pen, (0.42, 0.38), 0.2, RED, mouth=0.07 + 0.02 * sin(2 * pi * phase))
    pen.line([(0.56, 0.75), (0.5, 0.58)], 0.04, GREY)
    pen.disc((0.49, 0.57), 0.05, BLACK)
    rise = 0.08 * phase
    pen.disc((0.78, 0.36 - rise), 0.055, BLACK)
    pen.line([(0.825, 0.36 - rise), (0.825, 0.14 - rise), (0.93, 0.2 - rise)], 0.03, BLACK)


def cheering(pen: Canvas, phase: float) -> None:
    """Draw three people with their arms up."""
    for index, (x, shirt) in enumerate(((0.2, RED), (0.5, YELLOW), (0.8, BLUE))):
        y = 0.5 + 0.05 * sin(2 * pi * (phase + index / 3))
        for side in (-1, 1):
            pen.line([(x + side * 0.08, y + 0.2), (x + side * 0.13, y - 0.3)], 0.05, SKIN)
        _person(pen, (x, y), 0.11, shirt, mouth=0.035)


def clapping(pen: Canvas, phase: float) -> None:
    """Draw two clapping hands."""
    gap = 0.16 * abs(cos(pi * phase))
    for side in (-1, 1):
        palm = 0.5 + side * (0.09 + gap)
        pen.line([(palm + side * 0.22, 0.95), (palm, 0.62)], 0.13, BLUE)
        pen.oval((palm, 0.52), 0.09, 0.15, SKIN)
        for finger in range(4):
            tip = palm + side * (finger - 1.5) * 0.05
            pen.line([(tip, 0.42), (tip - side * 0.02, 0.2)], 0.045, SKIN)
    if gap < 0.05:
        for angle in (-0.6, 0.0, 0.6):
            pen.line(
                [(0.5 + 0.3 * sin(angle), 0.16), (0.5 + 0.42 * sin(angle), 0.04)], 0.03, YELLOW
            )


def car(pen: Canvas, phase: float) -> None:
    """Draw a car from the side, wheels turning."""
    pen.shape([(0.25, 0.48), (0.36, 0.28), (0.66, 0.28), (0.8, 0.48)], RED)
    pen.box(0.04, 0.46, 0.96, 0.68, RED)
    pen.shape([(0.31, 0.46), (0.39, 0.33), (0.5, 0.33), (0.5, 0.46)], (185, 220, 235))
    pen.shape([(0.54, 0.46), (0.54, 0.33), (0.64, 0.33), (0.72, 0.46)], (185, 220, 235))
    pen.box(0.9, 0.5, 0.96, 0.56, YELLOW)
    for x in (0.25, 0.75):
        _wheel(pen, (x, 0.69), 0.12, phase)


def motorcycle(pen: Canvas, phase: float) -> None:
    """Draw two large wheels, a frame and a rider."""
    for x in (0.22, 0.78):
        _wheel(pen, (x, 0.7), 0.18, phase)
    pen.line([(0.22, 0.7), (0.45, 0.52), (0.68, 0.52), (0.78, 0.7)], 0.05, RED)
    pen.line([(0.68, 0.52), (0.66, 0.36), (0.58, 0.34)], 0.04, GREY)
    pen.oval((0.54, 0.5), 0.13, 0.06, RED)
    pen.line([(0.4, 0.48), (0.44, 0.26), (0.62, 0.36)], 0.08, BLACK)
    pen.disc((0.47, 0.16), 0.09, YELLOW)


def dog(pen: Canvas, phase: float) -> None:
    """Draw a barking head with floppy ears."""
    for side in (-1, 1):
        pen.oval((0.5 + side * 0.3, 0.46), 0.1, 0.24, BROWN)
    pen.oval((0.5, 0.48), 0.28, 0.32, WOOD)
    _eyes(pen, (0.5, 0.38), 0.12, 0.04)
    pen.oval((0.5, 0.62), 0.15, 0.13, (225, 190, 150))
    pen.oval((0.5, 0.55), 0.07, 0.045, BLACK)
    jaw = 0.02 + 0.06 * abs(sin(pi * phase))
    pen.oval((0.5, 0.68), 0.07, jaw, RED)


def cat(pen: Canvas, phase: float) -> None:
    """Draw a mewing head with pointed ears and whiskers."""
    for side in (-1, 1):
        pen.shape(
            [(0.5 + side * 0.3, 0.08), (0.5 + side * 0.3, 0.42), (0.5 + side * 0.06, 0.26)], WOOD
        )
    pen.oval((0.5, 0.52), 0.31, 0.29, WOOD)
    _eyes(pen, (0.5, 0.45), 0.13, 0.05)
    pen.shape([(0.46, 0.56), (0.54, 0.56), (0.5, 0.62)], PINK)
    for side in (-1, 1):
        for rise in (-0.05, 0.0, 0.05):
            pen.line([(0.5 + side * 0.1, 0.6), (0.5 + side * 0.44, 0.6 + 1.4 * rise)], 0.013, BLACK)
    pen.oval((0.5, 0.69), 0.06, 0.015 + 0.04 * abs(sin(pi * phase)), RED)


def frying(pen: Canvas, phase: float) -> None:
    """Draw a pan from above, with food and moving bubbles."""
    pen.line([(0.6, 0.55), (0.98, 0.86)], 0.09, BROWN)
    pen.disc((0.42, 0.45), 0.38, BLACK)
    pen.disc((0.42, 0.45), 0.32, (75, 70, 70))
    pen.oval((0.36, 0.4), 0.17, 0.14, WHITE)
    pen.disc((0.36, 0.4), 0.075, YELLOW)
    pen.oval((0.52, 0.6), 0.12, 0.07, (170, 70, 50))
    for bubble in range(7):
        angle = 2 * pi * (bubble / 7 + 0.3 * phase)
        pen.disc((0.42 + 0.26 * cos(angle), 0.45 + 0.26 * sin(angle)), 0.022, YELLOW)


def basketball(pen: Canvas, phase: float) -> None:
    """Draw a bouncing ball below a hoop."""
    pen.box(0.56, 0.04, 0.96, 0.34, WHITE)
    pen.box(0.68, 0.14, 0.84, 0.28, RED)
    pen.line([(0.62, 0.38), (0.9, 0.38)], 0.035, ORANGE)
    for x in (0.65, 0.72, 0.8, 0.87):
        pen.line([(x, 0.4), (0.76 + 0.6 * (x - 0.76), 0.56)], 0.012, WHITE)
    y = 0.8 - 0.35 * abs(sin(pi * phase))
    pen.disc((0.3, y), 0.17, ORANGE)
    pen.line([(0.13, y), (0.47, y)], 0.015, BLACK)
    pen.line([(0.3, y - 0.17), (0.3, y + 0.17)], 0.015, BLACK)


def fire_alarm(pen: Canvas, phase: float) -> None:
    """Draw a red alarm box with a flashing light."""
    pen.box(0.22, 0.3, 0.78, 0.94, RED)
    pen.ring((0.5, 0.66), 0.19, 0.04, WHITE)
    pen.disc((0.5, 0.66), 0.08, WHITE)
    lit = phase < 0.5
    pen.box(0.34, 0.14, 0.66, 0.32, WHITE if lit else GREY)
    if lit:
        for angle in (-60, -30, 0, 30, 60):
            x, y = sin(angle * pi / 180), -cos(angle * pi / 180)
            pen.line(
                [(0.5 + 0.24 * x, 0.24 + 0.15 * y), (0.5 + 0.42 * x, 0.2 + 0.2 * y)], 0.03, YELLOW
            )


def chainsaw(pen: Canvas, phase: float) -> None:
    """Draw an orange motor with a toothed guide bar."""
    shake = 0.015 * sin(2 * pi * phase)
    pen.box(0.42, 0.46 + shake, 0.96, 0.6 + shake, GREY)
    for tooth in range(7):
        x = 0.46 + 0.075 * (tooth + phase)
        pen.shape([(x, 0.46), (x + 0.025, 0.4), (x + 0.05, 0.46)], BLACK)
        pen.shape([(x, 0.6), (x + 0.025, 0.66), (x + 0.05, 0.6)], BLACK)
    pen.box(0.06, 0.4 + shake, 0.46, 0.72 + shake, ORANGE)
    pen.arc((0.26, 0.42 + shake), 0.17, 180, 360, 0.05, BLACK)
    pen.disc((0.26, 0.57 + shake), 0.08, BLACK)


def lawn_mower(pen: Canvas, phase: float) -> None:
    """Draw an orange motor on wheels with a long handle, on a lawn."""
    shake = 0.01 * sin(2 * pi * phase)
    pen.line([(0.6, 0.6), (0.92, 0.14), (0.98, 0.14)], 0.045, BLACK)
    pen.box(0.1, 0.56 + shake, 0.7, 0.74 + shake, ORANGE)
    pen.box(0.26, 0.42 + shake, 0.52, 0.58 + shake, GREY)
    for x in (0.2, 0.62):
        _wheel(pen, (x, 0.78), 0.1, phase)
    for blade in range(12):
        x = blade / 11
        pen.line([(x, 0.98), (x + 0.02, 0.86)], 0.025, GREEN)


def violin(pen: Canvas, phase: float) -> None:
    """Draw a slim brown body with a bow across it."""
    _fiddle(pen, WOOD, top=0.06, bottom=0.92, half_width=0.15, bow=0.55 + 0.1 * sin(2 * pi * phase))


def cello(pen: Canvas, phase: float) -> None:
    """Draw a broad dark body on an endpin, with a bow across it."""
    pen.line([(0.5, 0.85), (0.5, 1.0)], 0.025, BLACK)
    _fiddle(
        pen, DARK_WOOD, top=0.02, bottom=0.9, half_width=0.24, bow=0.6 + 0.06 * sin(2 * pi * phase)
    )


def banjo(pen: Canvas, phase: float) -> None:
    """Draw a round white head on a neck."""
    _neck(pen, phase)
    pen.disc((0.36, 0.64), 0.28, BROWN)
    pen.disc((0.36, 0.64), 0.235, WHITE)
    _strings(pen, phase)


def acoustic_guitar(pen: Canvas, phase: float) -> None:
    """Draw a waisted wooden body with a sound hole, on a neck."""
    _neck(pen, phase)
    pen.disc((0.3, 0.7), 0.26, WOOD)
    pen.disc((0.47, 0.53), 0.18, WOOD)
    pen.disc((0.42, 0.58), 0.085, BLACK)
    _strings(pen, phase)


def accordion(pen: Canvas, phase: float) -> None:
    """Draw bellows between keys and buttons, opening and closing."""
    half = 0.16 + 0.1 * (0.5 + 0.5 * cos(2 * pi * phase))
    for fold in range(8):
        left = 0.5 - half + fold * half / 4
        pen.box(left, 0.26, left + half / 4, 0.78, RED if fold % 2 else DARK_WOOD)
    pen.box(0.32 - half, 0.22, 0.5 - half, 0.82, BLACK)
    pen.box(0.5 + half, 0.22, 0.68 + half, 0.82, BLACK)
    for key in range(6):
        y = 0.27 + 0.09 * key
        pen.box(0.34 - half, y, 0.43 - half, y + 0.065, WHITE)
        pen.disc((0.59 + half, y + 0.03), 0.025, WHITE)


def chicken(pen: Canvas, phase: float) -> None:
    """Draw a pecking hen."""
    dip = 0.08 * abs(sin(pi * phase))
    pen.shape([(0.2, 0.6), (0.04, 0.28), (0.36, 0.45)], WHITE)
    pen.oval((0.44, 0.6), 0.28, 0.2, WHITE)
    pen.line([(0.6, 0.55), (0.72, 0.3 + dip)], 0.16, WHITE)
    pen.disc((0.73, 0.28 + dip), 0.11, WHITE)
    for comb in (0.66, 0.73, 0.8):
        pen.disc((comb, 0.16 + dip), 0.045, RED)
    pen.shape([(0.82, 0.25 + dip), (0.97, 0.31 + dip), (0.82, 0.35 + dip)], ORANGE)
    pen.disc((0.76, 0.26 + dip), 0.022, BLACK)
    for x in (0.4, 0.52):
        pen.line([(x, 0.78), (x, 0.97), (x + 0.07, 0.97)], 0.025, ORANGE)


def vacuum_cleaner(pen: Canvas, phase: float) -> None:
    """Draw a canister with a hose and a sliding nozzle."""
    slide = 0.05 * sin(2 * pi * phase)
    pen.line([(0.3, 0.6), (0.42, 0.3), (0.62, 0.22), (0.72, 0.4)], 0.05, GREY)
    pen.line([(0.7, 0.36), (0.84 + slide, 0.86)], 0.045, BLACK)
    pen.shape([(0.72 + slide, 0.94), (0.98 + slide, 0.94), (0.9 + slide, 0.84)], BLACK)
    pen.oval((0.27, 0.7), 0.25, 0.19, BLUE)
    pen.oval((0.24, 0.64), 0.12, 0.08, (150, 190, 230))
    _wheel(pen, (0.3, 0.86), 0.09, 0)


def baby_laughter(pen: Canvas, phase: float) -> None:
    """Draw a baby's head with a wide smile."""
    tilt = 0.02 * sin(4 * pi * phase)
    _baby(pen, tilt)
    pen.arc((0.5, 0.58 + tilt), 0.17, 15, 165, 0.05, RED)
    pen.arc((0.5, 0.58 + tilt), 0.12, 15, 165, 0.06, WHITE)


def baby_cry(pen: Canvas, phase: float) -> None:
    """Draw a baby's head with an open mouth and tears."""
    _baby(pen, 0.0)
    pen.oval((0.5, 0.72), 0.1, 0.07 + 0.02 * sin(2 * pi * phase), RED)
    for side in (-1, 1):
        pen.oval((0.5 + side * 0.15, 0.56 + 0.2 * phase), 0.025, 0.045, (90, 160, 235))


def helicopter(pen: Canvas, phase: float) -> None:
    """Draw a helicopter with a turning rotor."""
    pen.shape([(0.4, 0.44), (0.94, 0.4), (0.94, 0.47), (0.45, 0.6)], GREEN)
    pen.oval((0.34, 0.54), 0.26, 0.19, GREEN)
    pen.oval((0.24, 0.5), 0.12, 0.1, (185, 220, 235))
    pen.line([(0.12, 0.82), (0.58, 0.82)], 0.03, BLACK)
    for x in (0.24, 0.44):
        pen.line([(x, 0.7), (x, 0.82)], 0.02, BLACK)
    span = 0.12 + 0.34 * abs(cos(2 * pi * phase))
    pen.line([(0.36, 0.36), (0.36, 0.24)], 0.03, GREY)
    pen.line([(0.36 - span, 0.23), (0.36 + span, 0.23)], 0.035, BLACK)
    pen.ring((0.94, 0.36), 0.07, 0.02, BLACK)


def telephone(pen: Canvas, phase: float) -> None:
    """Draw a rotary telephone with a shaking handset."""
    pen.shape([(0.26, 0.48), (0.74, 0.48), (0.9, 0.9), (0.1, 0.9)], BLACK)
    pen.disc((0.5, 0.68), 0.16, WHITE)
    for hole in range(8):
        angle = 2 * pi * hole / 8
        pen.disc((0.5 + 0.11 * cos(angle), 0.68 + 0.11 * sin(angle)), 0.025, BLACK)
    lift = 0.05 * abs(sin(2 * pi * phase))
    pen.line([(0.14, 0.4 - lift), (0.5, 0.28 - lift), (0.86, 0.4 - lift)], 0.11, BLACK)
    for x in (0.16, 0.84):
        pen.disc((x, 0.42 - lift), 0.1, BLACK)


def blender(pen: Canvas, phase: float) -> None:
    """Draw a jug on a base with swirling contents."""
    pen.shape([(0.26, 0.1), (0.74, 0.1), (0.66, 0.62), (0.34, 0.62)], (200, 225, 235))
    swirl = 0.05 * sin(2 * pi * phase)
    pen.shape([(0.29, 0.32 + swirl), (0.71, 0.32 - swirl), (0.66, 0.61), (0.34, 0.61)], GREEN)
    pen.box(0.24, 0.05, 0.76, 0.12, BLACK)
    pen.shape([(0.34, 0.63), (0.66, 0.63), (0.76, 0.95), (0.24, 0.95)], GREY)
    pen.disc((0.5, 0.8), 0.07, BLACK)


PICTURES: dict[str, Callable[[Canvas, float], None]] = {
    "Speech": speech,
    "Car": car,
    "Cheering": cheering,
    "Dog": dog,
    "Cat": cat,
    "Frying_(food)": frying,
    "Basketball_bounce": basketball,
    "Fire_alarm": fire_alarm,
    "Chainsaw": chainsaw,
    "Cello": cello,
    "Banjo": banjo,
    "Singing": singing,
    "Chicken_rooster": chicken,
    "Violin_fiddle": violin,
    "Vacuum_cleaner": vacuum_cleaner,
    "Baby_laughter": baby_laughter,
    "Accordion": accordion,
    "Lawn_mower": lawn_mower,
    "Motorcycle": motorcycle,
    "Helicopter": helicopter,
    "Acoustic_guitar": acoustic_guitar,
    "Telephone_bell_ringing": telephone,
    "Baby_cry_infant_cry": baby_cry,
    "Blender": blender,
    "Clapping": clapping,
}


def _person(pen: Canvas, head: Point, radius: float, shirt: Colour, mouth: float) -> None:
    x, y = head
    pen.oval((x, y + 2.6 * radius), 1.25 * radius, 1.5 * radius, shirt)
    pen.disc((x, y - 0.2 * radius), 1.08 * radius, BROWN)
    pen.disc((x, y + 0.05 * radius), radius, SKIN)
    _eyes(pen, (x, y - 0.1 * radius), 0.4 * radius, 0.14 * radius)
    pen.oval((x, y + 0.55 * radius), 0.35 * radius, mouth, RED)


def _eyes(pen: Canvas, centre: Point, spread: float, radius: float) -> None:
    for side in (-1, 1):
        pen.disc((centre[0] + side * spread, centre[1]), radius, BLACK)


def _wheel(pen: Canvas, centre: Point, radius: float, phase: float) -> None:
    x, y = centre
    pen.disc(centre, radius, BLACK)
    pen.disc(centre, 0.6 * radius, GREY)
    for spoke in (0.0, 0.5):
        dx, dy = cos(pi * (phase + spoke)) * radius / 2, sin(pi * (phase + spoke)) * radius / 2
        pen.line([(x - dx, y - dy), (x + dx, y + dy)], 0.2 * radius, BLACK)


def _fiddle(
    pen: Canvas, wood: Colour, top: float, bottom: float, half_width: float, bow: float
) -> None:
    height = bottom - top
    pen.line([(0.5, top), (0.5, bottom - 0.3 * height)], 0.05, BLACK)
    pen.disc((0.5, top + 0.03), 0.05, wood)
    pen.oval((0.5, top + 0.52 * height), 0.8 * half_width, 0.16 * height, wood)
    pen.oval((0.5, top + 0.8 * height), half_width, 0.2 * height, wood)
    pen.box(0.46, top + 0.3 * height, 0.54, top + 0.62 * height, BLACK)
    pen.box(0.47, top + 0.78 * height, 0.53, top + 0.95 * height, BLACK)
    pen.line([(0.06, bow + 0.1), (0.94, bow - 0.06)], 0.022, WHITE)


def _neck(pen: Canvas, phase: float) -> None:
    pen.line([(0.4, 0.6), (0.88, 0.12)], 0.07, DARK_WOOD)
    pen.line([(0.85, 0.15), (0.95, 0.05)], 0.11, BLACK)
    pen.disc((0.66 + 0.06 * sin(2 * pi * phase), 0.34 - 0.06 * sin(2 * pi * phase)), 0.06, SKIN)


def _strings(pen: Canvas, phase: float) -> None:
    for offset in (-0.015, 0.015):
        pen.line([(0.26 + offset, 0.74 + offset), (0.88 + offset, 0.12 + offset)], 0.01, YELLOW)
    pen.disc((0.34, 0.7 + 0.06 * sin(2 * pi * phase)), 0.075, SKIN)


def _baby(pen: Canvas, tilt: float) -> None:
    pen.disc((0.5, 0.54 + tilt), 0.37, SKIN)
    pen.arc((0.5, 0.24 + tilt), 0.09, 90, 330, 0.035, BROWN)
    _eyes(pen, (0.5, 0.46 + tilt), 0.15, 0.045)
    for side in (-1, 1):
        pen.disc((0.5 + side * 0.24, 0.62 + tilt), 0.06, PINK)
