"""DG-SCT (Duan et al., NeurIPS 2023), the part that works on features."""

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.mgn import MgnRecipe


class DgsctTemporalRecipe(MgnRecipe):
    """DG-SCT's temporal gates and MGN (Duan et al., NeurIPS 2023, released code) on features.

    differs: DG-SCT also trains adapters between the layers of frozen Swin-V2 and HTS-AT backbones,
    which read raw frames and audio. Without them this is not DG-SCT.
    """

    batch_size: option.BatchSize = 8
    gate_strength: float = Field(
        0.05, ge=0, description="factor of the other modality's gate: x * (1 + factor * gate)"
    )
    gate_dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout of the transformer that computes the gates"
    )
    ungated_audio: bool = Field(
        False,
        description="group the audio segments without their gate; the released code computes the"
        " gated ones and does not use them",
    )

    @model_validator(mode="after")
    def _check_gate_heads(self) -> "DgsctTemporalRecipe":
        if self.width % 8:
            raise ValueError(
                f"width {self.width} must be a multiple of 8: the gates have 4 heads on half of it"
            )
        return self
