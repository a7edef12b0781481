"""NREP (IEEE TNNLS 2024)."""

from pydantic import Field

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import StepRecipe
from pipeline.parsers.recipes.han import HanEncoderRecipe


class NrepRecipe(StepRecipe, HanEncoderRecipe):
    """NREP (IEEE TNNLS 2024, released code and its run.sh): two networks, one per modality.

    differs: ``motion`` is off by default, as the pipeline caches no 3-D features unless they are
    configured; with ``motion: true`` the inputs are those of the released run, except that CLAP's
    feature map is pooled to one vector per segment before the projection, see ``parsers.nrep``.
    """

    epochs: option.Epochs = Field(
        10, description="passes over the training videos, for each of the two networks"
    )
    batch_size: option.BatchSize = 128
    learning_rate: option.LearningRate = 5e-4
    step_epochs: option.StepEpochs = 6
    step_factor: option.StepFactor = 0.25

    gate: option.DecisionGate = "modality"
    segment_threshold: option.SegmentThreshold = 0.25
    video_threshold: option.VideoThreshold = 0.45
    selection: option.Selection = Field(
        "segment_audio", description="validation metric that chooses the audio network's epoch"
    )
    visual_selection: option.Selection = Field(
        "event_event", description="validation metric that chooses the visual network's epoch"
    )

    width: option.Width = 512
    layers: option.HanLayers = 1
    heads: option.Heads = 1
    feedforward: option.Feedforward = 512
    order: option.Order = "simultaneous"
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
    nce_temperature: option.NceTemperature = 0.2
    nce_smoothing: option.NceSmoothing = 0.1
    attention_weight: float = Field(
        0.01,
        ge=0,
        description="factor on the loss that compares the joint branch's attention with that of"
        " the modalities (lambda 2)",
    )

    @property
    def selections(self) -> tuple[option.Selection, ...]:
        """The metrics of the audio and of the visual network."""
        return (self.selection, self.visual_selection)

    @property
    def keeps_frames(self) -> bool:
        """NREP's projection has an ELU, so frames are averaged after it."""
        return True
