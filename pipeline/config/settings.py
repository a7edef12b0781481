"""The inference settings of a configuration."""

from collections.abc import Sequence

from pipeline.config.models import Config
from pipeline.core.vocabulary import EventClass
from pipeline.inference.settings import InferenceSettings


def inference_settings(config: Config, classes: Sequence[EventClass] = ()) -> InferenceSettings:
    """Return how a configuration makes features, for some classes."""
    features = config.dataset.features
    imported = features.fingerprints() if features else {}
    return InferenceSettings(
        segments=config.dataset.segments,
        untrimmed=config.dataset.untrimmed,
        decode=config.decode,
        encoders=config.encoders,
        classes=tuple(classes),
        imported={name: imported[name] for name in ("clip", "clap") if imported},
    )
