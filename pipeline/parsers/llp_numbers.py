"""Numbers of LLP's 25 classes that come with released code.

Noise ratios: estimated by the authors of JoMoLD (Cheng et al., ECCV 2022) with VGGish, ResNet and
R(2+1)D features; shipped as noise_ratios.npz with the code of CMPAE and CoLeaF. Visual thresholds:
searched by the authors of CMPAE (Gao et al., CVPR 2023) on the dense labels of validation.
"""

# Class: noise ratio of audio, noise ratio of visual, video-level visual threshold; in LLP's order.
_RELEASED = {
    "Speech": (0.0646, 0.994, 0.7),
    "Car": (0.0561, 0.0353, 0.4),
    "Cheering": (0.0208, 0.0909, 0.7),
    "Dog": (0.0407, 0.0815, 0.3),
    "Cat": (0.0677, 0.0833, 0.3),
    "Frying_(food)": (0.0496, 0.0787, 0.7),
    "Basketball_bounce": (0.0440, 0.0286, 0.7),
    "Fire_alarm": (0.0229, 0.055, 0.6),
    "Chainsaw": (0.0736, 0.0769, 0.55),
    "Cello": (0.0465, 0.1179, 0.7),
    "Banjo": (0.0161, 0.172, 0.5),
    "Singing": (0.0444, 0.1416, 0.7),
    "Chicken_rooster": (0.0435, 0.0481, 0.7),
    "Violin_fiddle": (0.0398, 0.162, 0.7),
    "Vacuum_cleaner": (0.0343, 0.0687, 0.45),
    "Baby_laughter": (0.0205, 0.0959, 0.45),
    "Accordion": (0.0539, 0.1416, 0.6),
    "Lawn_mower": (0.0446, 0.0759, 0.55),
    "Motorcycle": (0.0389, 0.0754, 0.4),
    "Helicopter": (0.0426, 0.0664, 0.55),
    "Acoustic_guitar": (0.0437, 0.167, 0.65),
    "Telephone_bell_ringing": (0.0303, 0.1717, 0.4),
    "Baby_cry_infant_cry": (0.0372, 0.086, 0.55),
    "Blender": (0.0378, 0.0481, 0.7),
    "Clapping": (0.0488, 0.2561, 0.3),
}
LLP_CLASSES = tuple(_RELEASED)
# [2, C], audio first.
NOISE_RATIOS = (
    tuple(audio for audio, _, _ in _RELEASED.values()),
    tuple(visual for _, visual, _ in _RELEASED.values()),
)
VISUAL_THRESHOLDS = tuple(threshold for _, _, threshold in _RELEASED.values())
