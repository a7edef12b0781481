"""R(2+1)D-18 from torchvision: motion features, the 3-D features of HAN and VALOR++."""

from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.features.encoders.options import EncoderOptions, MotionOptions
from pipeline.features.encoders.pixels import PixelNorm
from pipeline.features.encoders.runner import Runner
from pipeline.features.encoders.weights import build

# Pixel statistics of torchvision's Kinetics-400 weights (R(2+1)D: Tran et al., CVPR 2018).
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class MotionEncoder:
    """R(2+1)D-18 features of the 8 frames of a segment, after the last pooling."""

    source = "frames"

    def __init__(self, spec: EncoderOptions, runner: Runner, model: Any) -> None:
        self.spec = spec
        self.runner = runner
        self.notes: dict[str, str] = {}
        self.dimensions = {"embedding": model.fc.in_features}
        # Drop the classification layer: its inputs are the features.
        model.fc = torch.nn.Identity()
        runner.place(model, model)
        self._model = model
        self._normalise = PixelNorm(MEAN, STD, runner.device)

    def transform(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 frames ``[B, K, H, W, 3]`` to clips ``[B, 3, K, H, W]``."""
        return self._normalise(frames).permute(0, 4, 1, 2, 3)

    def embed(self, segments: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Encode frames.

        Parameters
        ----------
        segments
            ``[n, T, 8, 112, 112, 3]``, RGB.

        Returns
        -------
        ``embedding [n, T, 512]``, not normalised, as parsers expect it.

        Raises
        ------
        PipelineError
            The frames have another number or size.
        """
        videos, count, *shape = segments.shape
        frames = MotionOptions.decoding["frames_per_segment"]
        size = MotionOptions.decoding["frame_size"]
        if shape != [frames, size, size, 3]:
            raise PipelineError(
                f"the segments have {shape[0]} frames of {shape[2]} x {shape[1]}, but motion needs"
                f" {frames} of {size} x {size}; decode the videos"
                " again with these."
            )
        rows = torch.from_numpy(segments).flatten(0, 1)
        embedding = self.runner.run(rows, self.transform, self._model)
        return {"embedding": embedding.view(videos, count, -1).numpy()}


def load(spec: EncoderOptions, runner: Runner) -> MotionEncoder:
    """Load R(2+1)D-18 for `pipeline.features.encoders.base.load_encoder`."""
    return MotionEncoder(spec, runner, build(spec, torchvision.models.video.r2plus1d_18))
