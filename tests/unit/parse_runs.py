"""A run's folder with small encoders and a small trained parser, for parsing videos."""

import json
from pathlib import Path

import numpy as np
import torch
from small_encoders import DIMENSION, IMAGE_SIZE, MAP_DIMENSION, write_clap
from small_encoders import write_clip as write_clip_encoder

from pipeline.config.load import effective_config
from pipeline.config.settings import inference_settings
from pipeline.core.files import sha256_of
from pipeline.core.vocabulary import EventClass, Vocabulary
from pipeline.inference.settings import (
    SETTINGS_FILE,
    read_settings,
    write_settings,
)
from pipeline.labels.thresholds import LabelThresholds, write_thresholds
from pipeline.parsers.checkpoint import Checkpoint, write_checkpoint
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.registry import build_network, recipe_for

T = 4
NAMES = ("Dog", "Speech")
VOCABULARY = Vocabulary(
    tuple(
        EventClass(
            name=name,
            visual_caption=f"A photo of a {name}.",
            audio_caption=f"This is a sound of {name}",
            visual_threshold=0,
            audio_threshold=0,
        )
        for name in NAMES
    )
)
TINY = {"width": 8, "layers": 1, "heads": 2, "feedforward": 8}


def write_run(folder: Path, method: str = "link", **options: object) -> Path:
    """Write a folder as a run leaves it: results/models/{method}/seed0, results/parsing.json."""
    config_values: dict = {"dataset": {"source": "local", "videos": "v", "annotations": "a"}}
    config_values["dataset"]["segments"] = T
    config_values["decode"] = {"frame_size": IMAGE_SIZE}
    config_values["encoders"] = {}
    for write in (write_clip_encoder, write_clap):
        (folder / write.__module__ / write.__name__).mkdir(parents=True)
        spec = write(folder / write.__module__ / write.__name__)
        config_values["encoders"][spec.encoder] = {
            "backend": spec.backend,
            "model": spec.model,
            "weights": spec.weights,
            "sha256": sha256_of(Path(spec.weights)),
        }
    config_values["methods"] = {method: {}}
    (folder / "config.yaml").write_text(json.dumps(config_values))
    thresholds = np.array([[0.1, -0.2], [0.3, -0.4]])
    write_thresholds(
        folder / "thresholds.tsv", LabelThresholds(thresholds, thresholds + 9), VOCABULARY
    )
    config = effective_config(config_values)
    path = folder / "results" / SETTINGS_FILE
    write_settings(path, inference_settings(config), VOCABULARY, folder / "thresholds.tsv")
    decision = {"video_threshold": 0.1, "segment_threshold": 0.45}
    recipe = recipe_for(method, {**(options or TINY), **decision})
    audio = MAP_DIMENSION if recipe.audio_input == "map" else DIMENSION
    dimensions = Dimensions(audio, DIMENSION, 0, DIMENSION, DIMENSION, T, len(NAMES))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = dict(build_network(method, dimensions, recipe).state_dict())
        for weight in weights.values():  # PLSIM starts as nothing, and its prior would not count
            weight += 0.05 * torch.randn_like(weight) if weight.is_floating_point() else 0
    fingerprints = read_settings(path).fingerprints()
    write_checkpoint(
        folder / f"results/models/{method}/seed0",
        Checkpoint(method, recipe, 0, dimensions, NAMES, 1, 50.0, fingerprints, weights),
    )
    return folder
