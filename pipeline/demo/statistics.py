"""Label and event statistics of LLP, from which the demo corpus is drawn.

Counted from LLP's published tables (Tian, Li, Xu: Unified Multisensory Perception, ECCV 2020;
eval_audio as corrected in 2024): labels from AVVP_train.csv, events from AVVP_eval_audio.csv and
AVVP_eval_visual.csv over the 1849 videos of validation and test.
"""

# Number of train videos with only this label.
SINGLES: dict[str, int] = {
    "Speech": 0,
    "Car": 253,
    "Cheering": 215,
    "Dog": 51,
    "Cat": 16,
    "Frying_(food)": 208,
    "Basketball_bounce": 132,
    "Fire_alarm": 116,
    "Chainsaw": 218,
    "Cello": 41,
    "Banjo": 17,
    "Singing": 350,
    "Chicken_rooster": 228,
    "Violin_fiddle": 218,
    "Vacuum_cleaner": 388,
    "Baby_laughter": 55,
    "Accordion": 361,
    "Lawn_mower": 130,
    "Motorcycle": 76,
    "Helicopter": 439,
    "Acoustic_guitar": 58,
    "Telephone_bell_ringing": 36,
    "Baby_cry_infant_cry": 174,
    "Blender": 213,
    "Clapping": 39,
}

# Number of train videos with exactly these two labels; 29 rarer pairs (86 videos) are left out.
PAIRS: dict[tuple[str, str], int] = {
    ("Speech", "Dog"): 668,
    ("Speech", "Violin_fiddle"): 571,
    ("Cello", "Violin_fiddle"): 497,
    ("Speech", "Singing"): 497,
    ("Speech", "Car"): 366,
    ("Speech", "Basketball_bounce"): 320,
    ("Speech", "Motorcycle"): 312,
    ("Speech", "Baby_cry_infant_cry"): 251,
    ("Speech", "Cheering"): 247,
    ("Speech", "Acoustic_guitar"): 227,
    ("Speech", "Chicken_rooster"): 204,
    ("Speech", "Cat"): 164,
    ("Speech", "Helicopter"): 146,
    ("Speech", "Frying_(food)"): 135,
    ("Singing", "Acoustic_guitar"): 129,
    ("Speech", "Vacuum_cleaner"): 104,
    ("Speech", "Fire_alarm"): 102,
    ("Speech", "Clapping"): 96,
    ("Speech", "Baby_laughter"): 89,
    ("Speech", "Lawn_mower"): 85,
    ("Speech", "Blender"): 78,
    ("Speech", "Chainsaw"): 66,
    ("Speech", "Telephone_bell_ringing"): 62,
    ("Speech", "Banjo"): 61,
    ("Violin_fiddle", "Acoustic_guitar"): 61,
    ("Banjo", "Singing"): 45,
    ("Speech", "Accordion"): 43,
    ("Cheering", "Singing"): 38,
    ("Banjo", "Violin_fiddle"): 36,
    ("Singing", "Violin_fiddle"): 28,
    ("Speech", "Cello"): 26,
    ("Singing", "Accordion"): 21,
    ("Singing", "Clapping"): 9,
    ("Chainsaw", "Motorcycle"): 9,
}

# Share of videos with three or more labels: 89 of 10,000 in train, 217 of 1849 elsewhere.
THIRD_LABEL: dict[str, float] = {"train": 0.009, "val": 0.117, "test": 0.117}

# Validation and test videos in which the class is (only audible, only visible, both).
AUDIBLE_VISIBLE_BOTH: dict[str, tuple[int, int, int]] = {
    "Speech": (752, 2, 217),
    "Car": (2, 27, 104),
    "Cheering": (74, 5, 49),
    "Dog": (13, 21, 134),
    "Cat": (2, 15, 39),
    "Frying_(food)": (4, 1, 59),
    "Basketball_bounce": (4, 14, 61),
    "Fire_alarm": (6, 0, 30),
    "Chainsaw": (1, 0, 44),
    "Cello": (23, 5, 93),
    "Banjo": (8, 2, 34),
    "Singing": (81, 1, 180),
    "Chicken_rooster": (7, 5, 86),
    "Violin_fiddle": (39, 6, 186),
    "Vacuum_cleaner": (6, 1, 92),
    "Baby_laughter": (7, 0, 25),
    "Accordion": (21, 1, 59),
    "Lawn_mower": (3, 1, 40),
    "Motorcycle": (4, 7, 71),
    "Helicopter": (9, 2, 92),
    "Acoustic_guitar": (13, 16, 126),
    "Telephone_bell_ringing": (8, 0, 11),
    "Baby_cry_infant_cry": (13, 1, 62),
    "Blender": (0, 1, 55),
    "Clapping": (52, 6, 69),
}

# Share of (video, class) pairs that last all ten seconds, by modality.
WHOLE_CLIP: dict[str, dict[str, float]] = {
    "audio": {"Speech": 0.143, "other": 0.528},
    "visual": {"Speech": 0.120, "other": 0.678},
}

# Share of the remaining pairs with two or more runs; their durations are nearly uniform over 1 to
# 9 seconds.
SPLIT_RUNS: dict[str, dict[str, float]] = {
    "audio": {"Speech": 0.437, "other": 0.308},
    "visual": {"Speech": 0.318, "other": 0.279},
}

# Share of audible and visible events with the same times in both modalities.
SAME_TIMES = 0.604
