"""Half-precision weights of vision transformers: folded activations, casting, features."""

import copy
import json

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from small_encoders import IMAGE_SIZE, clip_config, write_clip

from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.half import cast_weights, fold_quick_gelu
from pipeline.features.encoders.options import encoder_options


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return VisionTransformer(
        image_size=32, patch_size=16, width=32, layers=2, heads=2, mlp_ratio=4.0, output_dim=16,
        act_layer=QuickGELU,
    ).eval()  # fmt: skip


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_folding_keeps_the_function(tower, images):
    folded = copy.deepcopy(tower)
    fold_quick_gelu(folded)
    assert not any(isinstance(block, QuickGELU) for block in folded.modules())
    with torch.no_grad():
        assert torch.allclose(folded(images), tower(images), atol=1e-6)


def test_a_tower_without_quick_gelu_is_left_alone():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU())
    before = copy.deepcopy(layer.state_dict())
    fold_quick_gelu(layer)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_a_cast_tower_has_its_own_precision_inside_autocast(tower, images):
    with torch.no_grad():
        expected = tower(images)
        cast_weights(tower, torch.bfloat16, "cpu")
        with torch.autocast("cpu", torch.float16):
            found = tower(images)
    assert found.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(found.float(), expected).min() > 0.999


def test_half_precision_casts_the_image_tower_alone_and_names_other_features(tmp_path):
    spec = write_clip(tmp_path)
    half = spec.model_copy(update={"precision": "bf16"})
    encoder, plain = load_encoder(half, "cpu"), load_encoder(spec, "cpu")
    module = encoder._model.module
    assert {weight.dtype for weight in module.visual.parameters()} == {torch.bfloat16}
    assert module.token_embedding.weight.dtype == torch.float32
    frames = np.random.default_rng(0).integers(
        0, 256, (2, 3, 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8
    )
    cosine = (encoder.embed(frames)["embedding"] * plain.embed(frames)["embedding"]).sum(axis=-1)
    assert cosine.min() > 0.999
    assert half.fingerprint("d") != spec.fingerprint("d")


@pytest.mark.parametrize(
    ("changes", "is_cast"),
    [({}, True), ({"layers": [1, 1, 1, 1]}, False), ({"timm_model_name": "resnet10t"}, False)],
)
def test_a_fingerprint_tells_cast_weights_where_they_are_cast(tmp_path, changes, is_cast):
    config = clip_config()
    config["vision_cfg"] |= changes
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(config))
    spec = encoder_options("clip", model=str(path), weights="random", precision="bf16")
    tower = load_encoder(spec, "cpu")._model.tower
    assert all(weight.dtype == torch.bfloat16 for weight in tower.parameters()) is is_cast
    assert ("cast" in spec._cast) is is_cast


def test_a_named_resnet_keeps_the_fingerprint_of_autocast():
    specs = [
        encoder_options("clip", model=model, weights="random", precision="fp16")
        for model in ("RN50x4-quickgelu", "ViT-B-32")
    ]
    assert [spec._cast for spec in specs] == [{}, {"cast": "weights"}]
