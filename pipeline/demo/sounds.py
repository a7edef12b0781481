"""Synthesise one second of each class from a random generator and a voice.

``voice`` in [0, 1] is constant throughout an event (which violin, which dog); the generator changes
every second. Some classes sound alike on purpose: speech and singing share a voice, motors differ
in pitch and roughness, bowed and plucked strings in register and decay.
"""

# Products of arrays are Any to mypy.
# mypy: disable-error-code="no-any-return"

from collections.abc import Callable

import numpy as np

from pipeline.demo.synthesis import (
    TIME,
    Wave,
    beats,
    bright,
    decays,
    glide,
    harmonics,
    noise,
    notes,
    swell,
    vibrato,
)

SCALE = (1.0, 9 / 8, 5 / 4, 3 / 2, 5 / 3, 2.0)  # notes of melodies, in just intonation
# Two vowels as overtone levels.
VOWELS = ((1.0, 0.7, 0.9, 0.4, 0.2, 0.1), (0.8, 1.0, 0.3, 0.2, 0.4, 0.3))


def speech(random: np.random.Generator, voice: float) -> Wave:
    """Play syllables of falling pitch, with hissed consonants."""
    pitch = (110 + 110 * voice) * random.uniform(0.92, 1.1)
    times = beats(random, 4.5, 0.3)
    syllables = decays(times, 0.09)
    vowel = VOWELS[int(random.integers(2))]
    hiss = noise(random, 3000, 8000) * decays([time - 0.03 for time in times], 0.015)
    return harmonics(glide(pitch * 1.1, pitch * 0.9), vowel) * syllables * 2 + 0.3 * hiss


def singing(random: np.random.Generator, voice: float) -> Wave:
    """Play sustained notes of the same voice, with vibrato."""
    base = 180 + 160 * voice
    pitch, _ = notes(random, beats(random, 2), [base * step for step in SCALE])
    return 1.4 * harmonics(pitch * vibrato(1, 0.025), VOWELS[0]) * swell(2, depth=0.3)


def cheering(random: np.random.Generator, voice: float) -> Wave:
    """Play the roar of a crowd, with whistles."""
    roar = noise(random, 500, 2500 + 800 * voice) * swell(random.uniform(0.5, 1.5), depth=0.4)
    whistle = harmonics(glide(1800, 2600), [1]) * decays(beats(random, 1), 0.08)
    return roar * 1.3 + 0.25 * whistle


def clapping(random: np.random.Generator, voice: float) -> Wave:
    """Play short bursts of noise."""
    return 2.5 * noise(random, 900, 4500 + 1500 * voice) * decays(beats(random, 5, 0.3), 0.018)


def car(random: np.random.Generator, voice: float) -> Wave:
    """Play a low motor with tyre noise."""
    motor = harmonics(vibrato(38 + 20 * voice, 0.03, 1), bright(8, 0.7))
    return motor + 0.9 * noise(random, 150, 1100) * swell(0.5, random.random(), 0.5)


def motorcycle(random: np.random.Generator, voice: float) -> Wave:
    """Play rough explosions that speed up or slow down."""
    low, high = sorted(random.uniform(48, 95, 2) * (0.85 + 0.3 * voice))
    pitch = glide(low, high) if random.random() < 0.5 else glide(high, low)
    bang = np.maximum(harmonics(pitch / 3, [1]), 0) ** 2
    return (
        1.3 * harmonics(pitch, bright(12, 0.4)) * (0.3 + bang)
        + 0.5 * noise(random, 200, 1500) * bang
    )


def chainsaw(random: np.random.Generator, voice: float) -> Wave:
    """Play a high, rough motor with a cutting noise."""
    pitch = (105 + 35 * voice) * random.uniform(0.9, 1.15)
    rough = 0.6 + 0.4 * np.sign(harmonics(pitch / 4, [1]))
    return 1.2 * harmonics(pitch, bright(16, 0.2)) * rough + 0.5 * noise(random, 2000, 9000) * rough


def lawn_mower(random: np.random.Generator, voice: float) -> Wave:
    """Play a steady motor with a whirring blade."""
    pitch = (62 + 22 * voice) * random.uniform(0.97, 1.03)
    whir = noise(random, 900, 4000) * swell(pitch / 4, depth=0.5)
    return 1.1 * harmonics(pitch, bright(14, 0.4)) + 0.6 * whir


def helicopter(random: np.random.Generator, voice: float) -> Wave:
    """Play low noise chopped by rotor blades."""
    chop = swell(10 + 4 * voice, random.random()) ** 3
    return 1.6 * noise(random, 60, 900) * chop + 0.3 * harmonics(300 + 60 * voice, bright(4, 1))


def vacuum_cleaner(random: np.random.Generator, voice: float) -> Wave:
    """Play a steady rush of air over a whistling motor."""
    whine = harmonics(vibrato(260 + 120 * voice, 0.01, 0.7), bright(5, 0.5))
    return 1.2 * noise(random, 300, 7000) + 0.4 * whine


def blender(random: np.random.Generator, voice: float) -> Wave:
    """Play a motor that howls and rattles."""
    pitch = (420 + 160 * voice) * random.uniform(0.9, 1.1)
    howl = harmonics(vibrato(pitch, 0.04, 3), bright(10, 0.3))
    return 1.1 * howl + 0.7 * noise(random, 700, 7000) * swell(17, depth=0.7)


def frying(random: np.random.Generator, voice: float) -> Wave:
    """Play a bright hiss full of crackles."""
    crackles = noise(random, 1500, 12000) * decays(sorted(random.uniform(0, 1, 25)), 0.004)
    return 0.8 * noise(random, 3500, 11000 + 1500 * voice) + 2.2 * crackles


def basketball(random: np.random.Generator, voice: float) -> Wave:
    """Play dull bounces and a squeaking shoe."""
    times = beats(random, 2)
    thump = harmonics(85 + 50 * voice, [1, 0.6, 0.3]) * decays(times, 0.045)
    slap = noise(random, 400, 1800) * decays(times, 0.015)
    squeak = harmonics(glide(1500, 2100), [1]) * decays(beats(random, 1), 0.04)
    return 1.8 * thump + 1.2 * slap + 0.15 * squeak


def fire_alarm(random: np.random.Generator, voice: float) -> Wave:
    """Play a piercing intermittent tone."""
    gate = (np.modf(3.0 * TIME + random.random())[0] < 0.55).astype(np.float64)
    return 0.9 * harmonics(2500 + 700 * voice, [1, 0, 0.35]) * gate


def telephone(random: np.random.Generator, voice: float) -> Wave:
    """Play two bells struck twenty times a second, with a pause."""
    ring = swell(20, depth=0.9) * (np.modf(TIME + random.random())[0] < 0.75)
    low = 950 + 250 * voice
    bells = harmonics(low, [1, 0, 0.4]) + harmonics(low * 1.26, [1, 0, 0.4])
    return 0.8 * bells * ring


def dog(random: np.random.Generator, voice: float) -> Wave:
    """Play short rough barks that fall."""
    barks = decays(beats(random, 2.5, 0.25), 0.055)
    pitch = (260 + 260 * voice) * (0.6 + 0.5 * barks)
    return 1.8 * (harmonics(pitch, bright(7, 0.5)) + 0.35 * noise(random, 500, 2500)) * barks


def cat(random: np.random.Generator, voice: float) -> Wave:
    """Play a mew that rises and falls."""
    pitch = (480 + 180 * voice) * (0.85 + 0.45 * swell(1, random.uniform(0, 0.3)))
    return 1.4 * harmonics(pitch, (0.6, 1.0, 0.6, 0.3, 0.15)) * swell(1, random.uniform(0, 0.2))


def chicken(random: np.random.Generator, voice: float) -> Wave:
    """Play clucks: short throaty chirps."""
    clucks = decays(beats(random, 4, 0.35), 0.035)
    pitch = (620 + 280 * voice) * (0.8 + 0.4 * clucks)
    return 1.8 * (harmonics(pitch, bright(5, 0.8)) + 0.2 * noise(random, 1000, 4000)) * clucks


def baby_laughter(random: np.random.Generator, voice: float) -> Wave:
    """Play a series of short, high gasps."""
    gasps = decays(beats(random, 5.5, 0.1), 0.05)
    pitch = (380 + 120 * voice) * glide(1.15, 0.9) * (0.85 + 0.2 * gasps)
    return 1.7 * (harmonics(pitch, VOWELS[0]) + 0.2 * noise(random, 1500, 5000)) * gasps


def baby_cry(random: np.random.Generator, voice: float) -> Wave:
    """Play a long wail of the same voice."""
    arch = swell(1, random.uniform(-0.15, 0.15))
    pitch = (400 + 120 * voice) * (0.85 + 0.3 * arch) * vibrato(1, 0.02, 8)
    return 1.5 * harmonics(pitch, VOWELS[1]) * arch**0.5


def violin(random: np.random.Generator, voice: float) -> Wave:
    """Play a bowed melody in a high register."""
    return _bowed(random, 300 + 260 * voice, 3)


def cello(random: np.random.Generator, voice: float) -> Wave:
    """Play the same bowing, slower and about an octave and a half lower."""
    return _bowed(random, 95 + 110 * voice, 2)


def banjo(random: np.random.Generator, voice: float) -> Wave:
    """Play quick, bright plucks with a short decay."""
    return _plucked(random, 260 + 140 * voice, 6, 0.05, 0.4)


def acoustic_guitar(random: np.random.Generator, voice: float) -> Wave:
    """Play slower, rounder plucks with a long decay."""
    return _plucked(random, 130 + 110 * voice, 3, 0.22, 1.0)


def accordion(random: np.random.Generator, voice: float) -> Wave:
    """Play chords of paired reeds that beat against each other."""
    base, _ = notes(random, beats(random, 2), [(200 + 140 * voice) * step for step in SCALE])
    reeds = bright(8, 0.5)
    chord = [harmonics(base * step * tune, reeds) for step in (1, 1.25, 1.5) for tune in (1, 1.012)]
    return np.asarray(sum(chord)) / 3


SOUNDS: dict[str, Callable[[np.random.Generator, float], Wave]] = {
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

LOUDNESS = 0.12  # root mean square of a sound before mixing


def sound(label: str, random: np.random.Generator, voice: float) -> Wave:
    """Return one second of a class at a common loudness, faded at both ends to avoid clicks."""
    wave = SOUNDS[label](random, voice)
    fade = np.clip(np.minimum(TIME, TIME[::-1]) * 100, 0, 1)
    faded: Wave = wave * fade * (LOUDNESS / max(float(np.sqrt(np.mean(wave**2))), 1e-9))
    return faded


def _bowed(random: np.random.Generator, base: float, speed: float) -> Wave:
    pitch, times = notes(random, beats(random, speed), [base * step for step in SCALE])
    bow = 0.6 + 0.4 * decays(times, 0.2)
    scratch = noise(random, 2000, 6000)
    return 1.2 * harmonics(pitch * vibrato(1, 0.015), bright(9, 0.7)) * bow + 0.08 * scratch


def _plucked(
    random: np.random.Generator, base: float, speed: float, half_life: float, slope: float
) -> Wave:
    pitch, times = notes(random, beats(random, speed, 0.1), [base * step for step in SCALE])
    return 1.5 * harmonics(pitch, bright(9, slope)) * decays(times, half_life)
