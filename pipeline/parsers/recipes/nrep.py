"""NREP (IEEE TNNLS 2024)."""

from typing import Literal

from pydantic import Field

from pipeline.parsers.recipes.base import Selection, StepRecipe
from pipeline.parsers.recipes.han import HanEncoderRecipe


class NrepRecipe(StepRecipe, HanEncoderRecipe):
    """NREP (IEEE TNNLS 2024, released code and its run.sh): two networks, one per modality.

    differs: ``motion`` is off by default, as the pipeline caches no 3-D features unless they are
    configured; with ``motion: true`` the inputs are those of the released run, except that CLAP's
    feature map is pooled to one vector per segment before the projection, see ``parsers.nrep``.
    """

    epochs: int = Field(
        10, ge=1, description="passes over the training videos, for each of the two networks"
    )
    batch_size: int = Field(
        128, ge=1, description="videos per step; the last partial batch is kept"
    )
    learning_rate: float = Field(5e-4, gt=0, description="learning rate of the first epochs")
    step_epochs: int = Field(6, ge=1, description="epochs between two steps (step)")
    step_factor: float = Field(0.25, gt=0, le=1, description="factor of each step (step)")

    gate: Literal["global", "modality", "mixed", "either"] = Field(
        "modality", description="video-level probability that lets a class count"
    )
    segment_threshold: float = Field(
        0.25, gt=0, lt=1, description="probability at or above which a segment counts"
    )
    video_threshold: float = Field(
        0.45, gt=0, lt=1, description="probability at or above which a video counts"
    )
    selection: Selection = Field(
        "segment_audio", description="validation metric that chooses the audio network's epoch"
    )
    visual_selection: Selection = Field(
        "event_event", description="validation metric that chooses the visual network's epoch"
    )

    width: int = Field(512, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, le=64, description="layers of the HAN encoder")
    heads: int = Field(1, ge=1, le=256, description="attention heads")
    feedforward: int = Field(512, ge=1, le=65536, description="width of the feed-forward layers")
    order: Literal["sequential", "simultaneous"] = Field(
        "simultaneous", description="when the visual stream sees the audio stream"
    )
    visual_dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout of the visual features before the classifiers"
    )

    intra_share: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of the pass without cross-modal attention in the features of the joint"
        " branch and of the contrastive loss",
    )
    audio_weight: float = Field(
        2.0,
        ge=0,
        description="factor on the audio segment loss of both networks and on the audio video loss"
        " of the audio network; the visual segment loss has 1",
    )
    visual_weight: float = Field(
        3.0,
        ge=0,
        description="factor on the visual video loss of the visual network; in the audio network"
        " it is 1, as is that on the audio video loss in the visual network",
    )
    video_weight: float = Field(1.0, ge=0, description="factor on both video losses (lambda 3)")
    joint_weight: float = Field(
        0.01, ge=0, description="factor on the joint branch's video and segment losses (lambda 4)"
    )
    nce_weight: float = Field(1.0, ge=0, description="factor on the contrastive loss (lambda 1)")
    nce_temperature: float = Field(0.2, gt=0, description="temperature of the contrastive loss")
    nce_smoothing: float = Field(
        0.1, ge=0, le=1, description="share of other segments in the contrastive loss"
    )
    attention_weight: float = Field(
        0.01,
        ge=0,
        description="factor on the loss that compares the joint branch's attention with that of"
        " the modalities (lambda 2)",
    )

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The metrics of the audio and of the visual network."""
        return (self.selection, self.visual_selection)

    @property
    def keeps_frames(self) -> bool:
        """NREP's projection has an ELU, so frames are averaged after it."""
        return True
