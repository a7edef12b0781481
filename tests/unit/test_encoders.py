import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_encoders import DIMENSION, IMAGE_SIZE, MAP_DIMENSION, clip_config, write_clap, write_clip
from torch.nn import functional

from pipeline.core.devices import choose_device
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders.base import load_encoder, prove_captions
from pipeline.features.encoders.mel import BANDS, WINDOW_FRAMES, LogMel
from pipeline.features.encoders.options import encoder_options
from pipeline.features.encoders.pooling import pool_seconds, pooling_matrix
from pipeline.media import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def clip_spec(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_spec):
    return load_encoder(clip_spec, "cpu")


@pytest.fixture(scope="module")
def clap_spec(tmp_path_factory):
    return write_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def clap(clap_spec):
    return load_encoder(clap_spec, "cpu")


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 4, 3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)


def sound(videos: int, seconds: int, seed: int = 0) -> np.ndarray:
    """Tones that differ from second to second, in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    pitch = rng.uniform(100, 8000, (videos, seconds, 1))
    waves = 0.3 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 0.05, (videos, seconds, 48000))
    return (np.clip(waves, -1, 1) * 32767).astype(np.int16).reshape(videos, -1)


# --- pooling -----------------------------------------------------------------------------------


def test_the_pooling_matrix_is_the_interpolation_path():
    torch.manual_seed(0)
    feature_map = torch.randn(3, 24, 2, 32)
    layer = torch.nn.Linear(24, 7)
    wide = functional.interpolate(feature_map, size=(2, 1024), mode="bicubic", align_corners=False)
    projected = layer(wide.permute(0, 2, 3, 1)).mean(dim=1)
    expected = functional.adaptive_avg_pool1d(projected.transpose(1, 2), 10).transpose(1, 2)
    assert torch.allclose(layer(pool_seconds(feature_map)), expected, atol=1e-5)


def test_the_pooling_matrix_has_the_published_first_row_and_rows_of_sum_one():
    matrix = pooling_matrix()
    assert matrix.shape == (10, 32)
    assert torch.allclose(matrix.sum(dim=1), torch.ones(10, dtype=torch.float64), atol=1e-12)
    assert matrix[0, :5].tolist() == pytest.approx(
        [0.3046, 0.3181, 0.3180, 0.0725, -0.0133], abs=6e-5
    )


# --- log-mel -----------------------------------------------------------------------------------


def test_a_second_tiled_equals_the_repeated_second():
    mel = LogMel()
    audio = torch.from_numpy(sound(3, 1))
    audio[2] = 0
    long_way, tiled = mel.windows(audio), mel.seconds(audio)
    assert tiled.shape == (3, WINDOW_FRAMES, BANDS)
    assert torch.allclose(tiled, long_way, atol=1e-4)
    assert (tiled[2] == -100).all()


def test_short_windows_are_repeated_whole_and_then_silent():
    mel = LogMel()
    audio = torch.from_numpy(sound(1, 4))
    expected = mel.windows(torch.cat([audio, audio, torch.zeros(1, 96000, dtype=torch.int16)], 1))
    assert torch.equal(mel.windows(audio), expected)


def test_log_mel_equals_the_transformers_feature_extractor():
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000)
    audio = sound(1, 10)
    theirs = extractor(audio[0] / 32767, sampling_rate=SAMPLE_RATE, return_tensors="np")
    ours = LogMel().windows(torch.from_numpy(audio))[0].numpy()
    assert np.abs(ours - theirs["input_features"][0, 0]).max() < 2e-2
    assert np.abs(ours - theirs["input_features"][0, 0]).mean() < 1e-4


# --- CLIP --------------------------------------------------------------------------------------


def test_clip_embeds_frames_and_averages_those_of_a_segment(clip, frames):
    embedding = clip.embed(frames)["embedding"]
    assert embedding.shape == (2, 4, DIMENSION)
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding, axis=-1) == pytest.approx(1, abs=1e-6)
    single = np.stack([clip.embed(frames[:, :, [k]])["embedding"] for k in range(3)])
    mean = single.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    assert np.abs(embedding - mean).max() < 1e-6


def test_clip_pixels_are_scaled_and_normalised_as_open_clip_does(clip, frames):
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    pixels = clip.transform(torch.from_numpy(frames[0]))
    one = frames[0, 1, 2].astype(np.float64) / 255
    expected = (one - OPENAI_DATASET_MEAN) / OPENAI_DATASET_STD
    assert np.abs(pixels[1 * 3 + 2].permute(1, 2, 0).numpy() - expected).max() < 1e-6


def test_clip_refuses_frames_of_another_size(clip):
    with pytest.raises(PipelineError, match=r"24 x 24.*32 x 32.*frame_size"):
        clip.embed(np.zeros((1, 10, 1, 24, 24, 3), dtype=np.uint8))


def test_clip_backends_agree_on_the_same_weights(clip_spec, clip, frames, tmp_path):
    from transformers import CLIPConfig

    tower = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
        "projection_dim": DIMENSION,
    }
    vision = tower | {"image_size": IMAGE_SIZE, "patch_size": 8}
    text = tower | {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSION).save_pretrained(
        tmp_path
    )
    weights = tmp_path / "model.safetensors"
    save_file(clip_to_transformers(load_file(clip_spec.weights)), weights)
    other = load_encoder(
        encoder_options("clip", backend="transformers", model=str(tmp_path), weights=str(weights)),
        "cpu",
    )
    assert np.abs(other.embed(frames)["embedding"] - clip.embed(frames)["embedding"]).max() < 1e-6
    captions = read_vocabulary().captions("visual")
    assert np.abs(other.embed_captions(captions) - clip.embed_captions(captions)).max() < 1e-6
    assert other.logit_scale == clip.logit_scale


def clip_to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename open_clip's weights to transformers' CLIPModel."""
    renames = {
        r"^visual\.class_embedding": "vision_model.embeddings.class_embedding",
        r"^visual\.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        r"^visual\.conv1": "vision_model.embeddings.patch_embedding",
        r"^visual\.ln_pre": "vision_model.pre_layrnorm",
        r"^visual\.ln_post": "vision_model.post_layernorm",
        r"^visual\.proj": "visual_projection.weight",
        r"^visual\.transformer": "vision_model.transformer",
        r"^transformer": "text_model.transformer",
        r"^token_embedding": "text_model.embeddings.token_embedding",
        r"^positional_embedding": "text_model.embeddings.position_embedding.weight",
        r"^ln_final": "text_model.final_layer_norm",
        r"^text_projection": "text_projection.weight",
        r"transformer\.resblocks": "encoder.layers",
        r"\.ln_(\d)": r".layer_norm\1",
        r"attn\.": "self_attn.",
        "c_fc": "fc1",
        "c_proj": "fc2",
    }
    mapped = {}
    for name, tensor in state.items():
        for pattern, replacement in renames.items():
            name = re.sub(pattern, replacement, name)
        if "in_proj_" in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                mapped[name.replace("in_proj_", f"{part}_proj.")] = piece.contiguous()
        else:
            is_projection = name in {"visual_projection.weight", "text_projection.weight"}
            mapped[name] = (tensor.T if is_projection else tensor).contiguous()
    return mapped


def test_clip_model_names_and_configurations_are_checked(tmp_path, clip_spec):
    with pytest.raises(PipelineError, match="ViT-L-14-quickgelu"):
        load_encoder(
            encoder_options(
                "clip", backend="open_clip", model="ViT-L-14-quikgelu", weights="random"
            ),
            "cpu",
        )
    path = tmp_path / "not_clip.json"
    path.write_text("{}")
    with pytest.raises(PipelineError, match="embed_dim, vision_cfg"):
        load_encoder(clip_spec.model_copy(update={"model": str(path)}), "cpu")
    wide = clip_config() | {"embed_dim": 24}
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(wide))
    with pytest.raises(PipelineError, match="of another shape"):
        load_encoder(clip_spec.model_copy(update={"model": str(path)}), "cpu")


@pytest.mark.parametrize(
    ("model", "differing"),
    [
        ("MobileCLIP-S1", r"datacompdr: mean \(0\.0, 0\.0, 0\.0\), std .*, interpolation bilinear"),
        ("ViT-H-14-378-quickgelu", "dfn5b: resize_mode squash"),
    ],
)
def test_clip_models_that_were_trained_with_other_pixels_are_refused(tmp_path, model, differing):
    weights = tmp_path / "weights.safetensors"
    with pytest.raises(PipelineError, match=f"^{model}'s .*other preprocessing \\({differing}"):
        load_encoder(
            encoder_options("clip", backend="open_clip", model=model, weights=str(weights)), "cpu"
        )


def test_clip_models_of_which_some_weights_need_other_pixels_are_warned_of(tmp_path, caplog):
    weights = str(tmp_path / "absent.safetensors")
    for model in ("ViT-L-14-quickgelu", "ViT-L-14"):
        with pytest.raises(PipelineError, match="no such file"):
            load_encoder(
                encoder_options("clip", backend="open_clip", model=model, weights=weights), "cpu"
            )
    warnings = [record.message for record in caplog.records if "preprocessing" in record.message]
    assert len(warnings) == 1
    assert warnings[0].startswith("ViT-L-14's weights laion2b_s32b_b82k were trained with other")


def test_clip_of_transformers_normalises_as_its_folder_says(frames, tmp_path):
    from transformers import CLIPConfig

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    tower |= {"num_attention_heads": 2, "projection_dim": DIMENSION}
    vision = tower | {"image_size": IMAGE_SIZE, "patch_size": 8}
    config = CLIPConfig(text_config=tower, vision_config=vision, projection_dim=DIMENSION)
    config.save_pretrained(tmp_path)
    spec = encoder_options("clip", backend="transformers", model=str(tmp_path), weights="random")
    said = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    pixels = load_encoder(spec, "cpu").transform(torch.from_numpy(frames[0]))
    expected = torch.from_numpy(frames[0]).flatten(0, 1).permute(0, 3, 1, 2) / 255
    assert torch.allclose(pixels, expected, atol=1e-6)


def test_clip_with_another_vocabulary_is_refused(tmp_path):
    config = clip_config()
    config["text_cfg"] |= {"vocab_size": 1000}
    path = tmp_path / "few_words.json"
    path.write_text(json.dumps(config))
    with pytest.raises(PipelineError, match=r"1000 tokens.*49408"):
        load_encoder(
            encoder_options("clip", backend="open_clip", model=str(path), weights="random"), "cpu"
        )


# --- CLAP --------------------------------------------------------------------------------------


def test_clap_embeds_seconds_and_pools_the_map(clap):
    made = clap.embed(sound(2, 10))
    assert made["embedding"].shape == (2, 10, DIMENSION)
    assert made["map"].shape == (2, 10, MAP_DIMENSION)
    assert np.linalg.norm(made["embedding"], axis=-1) == pytest.approx(1, abs=1e-6)
    assert all(array.dtype == np.float32 for array in made.values())


def test_clap_embedding_equals_the_librarys_own_path(clap, clap_spec):
    from transformers import ClapFeatureExtractor, ClapModel

    audio = sound(1, 2)
    extractor = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000)
    seconds = [second / 32767 for second in audio.reshape(2, -1)]
    inputs = extractor(seconds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    inputs["is_longer"][:] = False
    model = ClapModel.from_pretrained(clap_spec.model).eval()
    with torch.no_grad():
        theirs = model.get_audio_features(
            inputs["input_features"].float(), is_longer=inputs["is_longer"]
        ).pooler_output
    assert np.abs(clap.embed(audio)["embedding"][0] - theirs.numpy()).max() < 1e-4


@pytest.mark.parametrize("seconds", [3, 10, 23])
def test_the_map_of_any_length_is_that_of_its_ten_second_windows(clap, seconds):
    audio = sound(1, seconds)
    whole = clap.embed(audio)["map"][0]
    assert whole.shape == (seconds, MAP_DIMENSION)
    windows = [
        clap.embed(audio[:, start * SAMPLE_RATE : (start + 10) * SAMPLE_RATE])["map"][0]
        for start in range(0, seconds, 10)
    ]
    assert np.abs(whole - np.concatenate(windows)).max() < 1e-5


def test_each_second_is_embedded_by_itself(clap):
    audio = sound(2, 13)
    alone = clap.embed(audio.reshape(-1, SAMPLE_RATE))["embedding"].reshape(2, 13, DIMENSION)
    assert np.abs(clap.embed(audio)["embedding"] - alone).max() < 1e-6


def test_clap_refuses_parts_of_seconds(clap):
    with pytest.raises(PipelineError, match="48001 samples"):
        clap.embed(np.zeros((1, 48001), dtype=np.int16))


def test_clap_without_fusion_is_refused(clap_spec, tmp_path):
    config = json.loads((Path(clap_spec.model) / "config.json").read_text())
    config["audio_config"]["enable_fusion"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PipelineError, match="enable_fusion"):
        load_encoder(clap_spec.model_copy(update={"model": str(tmp_path)}), "cpu")


def test_clap_needs_its_tokenizer_unless_its_weights_are_random(clap_spec, tmp_path):
    (tmp_path / "config.json").write_bytes((Path(clap_spec.model) / "config.json").read_bytes())
    bare = clap_spec.model_copy(update={"model": str(tmp_path)})
    with pytest.raises(PipelineError, match=r"CLAP's tokenizer.*vocab\.json"):
        load_encoder(bare, "cpu")
    elsewhere = load_encoder(bare.model_copy(update={"tokenizer": clap_spec.model}), "cpu")
    assert elsewhere.notes == {}
    random = load_encoder(bare.model_copy(update={"weights": "random:3"}), "cpu")
    assert "stand-in" in random.notes["tokenizer"]


# --- both --------------------------------------------------------------------------------------


def test_embeddings_do_not_depend_on_the_batch(clip_spec, clip, frames, clap_spec, clap):
    for spec, encoder, segments in ((clip_spec, clip, frames), (clap_spec, clap, sound(3, 2))):
        one_by_one = load_encoder(spec.model_copy(update={"batch_size": 1}), "cpu")
        for key, together in encoder.embed(segments).items():
            alone = np.concatenate(
                [encoder.embed(segments[[n]])[key] for n in range(len(segments))]
            )
            assert np.abs(one_by_one.embed(segments)[key] - together).max() < 2e-5
            assert np.abs(alone - together).max() < 2e-5


def test_embeddings_are_the_same_in_every_run(clip_spec, clip, frames, clap_spec, clap):
    for spec, encoder, segments in ((clip_spec, clip, frames), (clap_spec, clap, sound(1, 2))):
        again = load_encoder(spec, "cpu").embed(segments)
        for key, array in encoder.embed(segments).items():
            assert np.array_equal(array, again[key])


def test_autocast_stays_near_fp32(clip_spec, clip, frames):
    half = load_encoder(clip_spec.model_copy(update={"precision": "bf16"}), "cpu")
    cosine = (half.embed(frames)["embedding"] * clip.embed(frames)["embedding"]).sum(axis=-1)
    assert cosine.min() > 0.999
    assert not np.array_equal(half.embed(frames)["embedding"], clip.embed(frames)["embedding"])


def test_captions_give_unit_embeddings_that_differ(clip, clap):
    for encoder in (clip, clap):
        captions = read_vocabulary().captions(encoder.spec.modality)
        text = prove_captions(encoder, captions)
        assert text.shape == (25, DIMENSION)
        assert np.linalg.norm(text, axis=-1) == pytest.approx(1, abs=1e-6)
        assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_captions_with_the_same_tokens_are_refused(clip):
    with pytest.raises(PipelineError, match="'A DOG' and 'a dog' the same tokens"):
        prove_captions(clip, ["a dog", "a cat", "A DOG"])


@pytest.mark.parametrize("name", ["clip", "clap"])
def test_captions_that_the_text_tower_cuts_are_named_and_refused_if_then_alike(
    name, request, caplog
):
    encoder = request.getfixturevalue(name)
    short, limit = "a dog", encoder.context_length
    long = short + " barks at a cat" * limit
    fits, cut = encoder.token_counts([short, long])
    assert fits < limit < cut
    prove_captions(encoder, [short, long], ["Dog", "Long"])
    assert f"(class Long) has {cut} tokens, but {name} reads only {limit}" in caplog.text
    assert "class Dog" not in caplog.text
    with pytest.raises(PipelineError, match=r"class Other.*class Long.*same tokens") as raised:
        prove_captions(encoder, [short, long, f"{long} and runs"], ["Dog", "Long", "Other"])
    assert f"of which the first {limit} count" in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (np.ones((3, DIMENSION)), "'one' and 'two' the same embedding"),
        (np.full((3, DIMENSION), np.nan), "must be finite"),
        (np.eye(3), "must be finite and"),
    ],
)
def test_a_text_tower_that_cannot_be_right_is_refused(clip, monkeypatch, text, words):
    monkeypatch.setattr(clip, "embed_captions", lambda captions: text.astype(np.float32))
    with pytest.raises(PipelineError, match=words):
        prove_captions(clip, ["one", "two", "three"])


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cuda:x", "cuda:", "cuda:²", "cpu:0", ""])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(PipelineError, match=f"device must be .*, not '{name}'|device is '{name}'"):
        choose_device(name)
