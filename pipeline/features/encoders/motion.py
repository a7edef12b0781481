"""R(2+1)D-18: the movement in a second, by torchvision (the 3-D features of HAN and VALOR++)."""

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

# Pixel statistics of torchvision's Kinetics-400 weights.
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class MotionEncoder:
    """R(2+1)D-18 over the 8 frames of a segment, up to its last pooling (see `Encoder`)."""

    source = "frames"

    def __init__(self, spec: EncoderOptions, runner: Runner, model: Any) -> None:
        self.spec = spec
        self.runner = runner
        self.notes: dict[str, str] = {}
        self.dimensions = {"embedding": model.fc.in_features}
        # The class scores' layer; what goes into it are the features.
        model.fc = torch.nn.Identity()
        runner.place(model, model)
        self._model = model
        self._normalise = PixelNorm(MEAN, STD, runner.device)

    def transform(self, frames: torch.Tensor) -> torch.Tensor:
        """Return normalised clips ``[B, 3, K, H, W]`` of uint8 frames ``[B, K, H, W, 3]``."""
        return self._normalise(frames).permute(0, 4, 1, 2, 3)

    def embed(self, segments: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Embed frames.

        Parameters
        ----------
        segments
            ``[n, T, 8, 112, 112, 3]``, RGB.

        Returns
        -------
        ``embedding [n, T, 512]``, not normalised: parsers take these features as they are.

        Raises
        ------
        PipelineError
            The frames are others.
        """
        videos, count, *shape = segments.shape
        frames = MotionOptions.decoding["frames_per_segment"]
        size = MotionOptions.decoding["frame_size"]
        if shape != [frames, size, size, 3]:
            raise PipelineError(
                f"the segments have {shape[0]} frames of {shape[2]} x {shape[1]}, but motion sees"
                f" {frames} of {size} x {size}; decode them with"
                " those."
            )
        rows = torch.from_numpy(segments).flatten(0, 1)
        embedding = self.runner.run(rows, self.transform, self._model)
        return {"embedding": embedding.view(videos, count, -1).numpy()}


def load(spec: EncoderOptions, runner: Runner) -> MotionEncoder:
    """Load R(2+1)D-18 as `pipeline.features.encoders.base.load_encoder` asks for it."""
    return MotionEncoder(spec, runner, build(spec, torchvision.models.video.r2plus1d_18))
