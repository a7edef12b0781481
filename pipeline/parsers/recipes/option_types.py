"""Options that several recipes declare with different defaults: allowed values and meaning."""

from typing import Annotated, Literal

from pydantic import Field

# Optimisation
Epochs = Annotated[int, Field(ge=1, description="passes over the training videos")]
BatchSize = Annotated[
    int, Field(ge=1, description="videos per step; the last partial batch is kept")
]
Optimiser = Annotated[Literal["adamw", "adam"], Field(description="optimiser")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="decay of the optimiser's running mean")]
LearningRate = Annotated[
    float,
    Field(gt=0, description="learning rate after warm-up (cosine) or of the first epochs (step)"),
]
MinimumLearningRate = Annotated[
    float, Field(ge=0, description="learning rate of the last epoch (cosine)")
]
RateSchedule = Annotated[
    Literal["cosine", "step"],
    Field(
        description="cosine: linear warm-up, then half a cosine, set once per epoch; step: times"
        " step_factor every step_epochs"
    ),
]
StepEpochs = Annotated[int, Field(ge=1, description="epochs between two steps (step)")]
StepFactor = Annotated[float, Field(gt=0, le=1, description="factor of each step (step)")]
WeightDecay = Annotated[float, Field(ge=0, description="weight decay")]
Decay = Annotated[
    Literal["all", "weights"],
    Field(description="decay all parameters, or only weights with two or more axes"),
]
ClipNorm = Annotated[
    float, Field(ge=0, description="largest norm of the whole gradient; 0 does not clip")
]

# Inputs
AudioInput = Annotated[
    Literal["map", "embedding"],
    Field(description="CLAP's pooled feature map (VALOR++), or its projected embedding"),
]
Recombined = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="additional training videos that combine the audio of one with the pictures of"
        " another, as a share of the training videos (MUG, ICCV 2025: 1.0); needs pseudo-labels",
    ),
]

# Decision
DecisionGate = Annotated[
    Literal["global", "modality", "mixed", "either"],
    Field(
        description="video-level probability that lets a class count: the global one, the"
        " modality's own, mixed (MM-CSE: global for audio, visual for visual), or the larger of"
        " the two modalities' (either, LEAP)"
    ),
]
SegmentThreshold = Annotated[
    float, Field(gt=0, lt=1, description="probability at or above which a segment counts")
]
VideoThreshold = Annotated[
    float, Field(gt=0, lt=1, description="probability at or above which a video counts")
]
# Metrics of validation that can choose an epoch.
Selection = Annotated[
    Literal["segment_type", "segment_audio", "event_audio", "event_event", "all", "only"],
    Field(
        description="validation metric that chooses the epoch: one of the published metrics, the"
        " mean of all ten (all), or of the ten that count events of one modality only (only)"
    ),
]
Ties = Annotated[
    Literal["first", "last"], Field(description="which of several equally good epochs is kept")
]

# Network
Width = Annotated[
    int, Field(ge=1, le=16384, description="features D of a segment inside the network")
]
Heads = Annotated[int, Field(ge=1, le=256, description="attention heads of the encoder")]
Feedforward = Annotated[int, Field(ge=1, le=65536, description="width of the feed-forward layers")]
HanLayers = Annotated[int, Field(ge=0, le=64, description="layers of the HAN encoder")]
Order = Annotated[
    Literal["sequential", "simultaneous"],
    Field(
        description="the visual stream sees the audio stream after (sequential, VALOR) or before"
        " (simultaneous, HAN) the same layer"
    ),
]

# Losses
NceTemperature = Annotated[float, Field(gt=0, description="temperature of the contrastive loss")]
NceSmoothing = Annotated[
    float, Field(ge=0, le=1, description="share of other segments in the contrastive loss")
]
