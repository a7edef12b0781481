"""R(2+1)D-18: what its features are, and what it refuses."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import PipelineError
from pipeline.features.encoders.base import load_encoder, with_captions
from pipeline.features.encoders.options import MotionOptions, encoder_options

K, SIZE = (MotionOptions.decoding[key] for key in ("frames_per_segment", "frame_size"))
SPEC = encoder_options("motion", backend="torchvision", model="r2plus1d_18", weights="random:1")


@pytest.fixture(scope="module")
def motion():
    return load_encoder(SPEC.model_copy(update={"batch_size": 1}), "cpu")


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (1, 2, K, SIZE, SIZE, 3), dtype=np.uint8)


def test_features_are_what_torchvisions_last_layer_sees(motion, frames):
    from torchvision.models.video import R2Plus1D_18_Weights, r2plus1d_18

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = r2plus1d_18().eval()
    clip = torch.from_numpy(frames[0, :1]).float().permute(0, 4, 1, 2, 3) / 255
    pixels = R2Plus1D_18_Weights.KINETICS400_V1.transforms()
    mean, std = (torch.tensor(one)[:, None, None, None] for one in (pixels.mean, pixels.std))
    seen = []
    model.fc.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model((clip - mean) / std)
    embedding = motion.embed(frames)["embedding"]
    assert (embedding.shape, embedding.dtype) == ((1, 2, 512), np.float32)
    assert np.abs(embedding[0, :1] - seen[0].numpy()).max() < 1e-4


def test_a_segment_is_one_clip_and_the_order_of_its_frames_counts(motion, frames):
    backwards = frames.copy()
    backwards[0, 1] = frames[0, 1, ::-1]
    before, after = (motion.embed(some)["embedding"][0] for some in (frames, backwards))
    assert np.array_equal(before[0], after[0])
    assert not np.allclose(before[1], after[1], atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 112, 112, 3), (1, 1, 8, 64, 64, 3)])
def test_frames_of_another_kind_are_refused(motion, shape):
    with pytest.raises(PipelineError, match="motion needs 8 of 112 x 112"):
        motion.embed(np.zeros(shape, dtype=np.uint8))


def test_other_architectures_and_captions_are_refused(motion):
    with pytest.raises(PipelineError, match="it must be r2plus1d_18"):
        load_encoder(
            encoder_options("motion", backend="torchvision", model="r3d_18", weights="random"),
            "cpu",
        )
    with pytest.raises(PipelineError, match="motion cannot encode captions"):
        with_captions(motion)
