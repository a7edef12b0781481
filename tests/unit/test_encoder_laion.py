"""Our path through laion_clap against its own, and against transformers on the same weights.

The text tower is cut to one layer of few words: the audio tower is the real HTSAT-tiny.
"""

import importlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_encoders import laion_checkpoint, small_roberta, write_tokenizer

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders import clap as clap_module
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.mel import LogMel
from pipeline.features.encoders.options import encoder_options
from pipeline.media import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

CAPTIONS = read_vocabulary().captions("audio")
AUDIO_CONFIG = {
    "sample_rate": 48000,
    "window_size": 1024,
    "hop_size": 480,
    "mel_bins": 64,
    "fmin": 50,
    "fmax": 14000,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return folder, write_tokenizer(folder)


@pytest.fixture(scope="module")
def laion(tokenizer, tmp_path_factory):
    """Return the encoder of a checkpoint of LAION's form, its spec, and its weights by name."""
    folder, size = tokenizer
    path = tmp_path_factory.mktemp("laion") / "checkpoint.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clap_module, "_roberta_config", lambda: small_roberta(size))
        drawn = encoder_options(
            "clap", backend="laion_clap", model="HTSAT-tiny", weights="random:1"
        )
        random = load_encoder(drawn, "cpu")
        state = random._model.module.state_dict()
        torch.save(laion_checkpoint(state), path)
        spec = drawn.model_copy(update={"weights": str(path), "tokenizer": str(folder)})
        yield load_encoder(spec, "cpu"), spec, state


@pytest.fixture
def audio():
    rng = np.random.default_rng(0)
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    wave = 0.6 * np.sin(2 * np.pi * 440 * time * (1 + time)) + rng.normal(0, 0.3, time.size)
    return np.clip(wave, -1.2, 1.2).astype(np.float32)


def quantised(wave: np.ndarray) -> np.ndarray:
    """Quantise as a segments shard does: truncation of clip(x, -1, 1) * 32767."""
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def librarys_data():
    return importlib.import_module("laion_clap.training.data")


def test_the_shards_quantisation_is_the_librarys(laion, audio):
    data = librarys_data()
    assert np.array_equal(quantised(audio), data.float32_to_int16(audio))
    ours = torch.from_numpy(quantised(audio)).float() / 32767
    assert np.array_equal(ours.numpy(), data.int16_to_float32(data.float32_to_int16(audio)))


def test_log_mel_equals_the_librarys(laion, audio):
    seconds = torch.from_numpy(quantised(audio)).view(3, -1)
    for ours, second in zip(LogMel().seconds(seconds), seconds, strict=True):
        theirs = librarys_data().get_mel(second.float().div(32767).repeat(10), AUDIO_CONFIG)
        assert torch.allclose(ours, theirs, atol=2e-4)


def test_the_embedding_equals_the_librarys_own_path(laion, audio):
    encoder, _, _ = laion
    data = librarys_data()
    inputs = [
        data.get_audio_features(
            {}, torch.from_numpy(wave), 480000, "fusion", "repeatpad", AUDIO_CONFIG
        )
        for wave in data.int16_to_float32(data.float32_to_int16(audio)).reshape(3, -1)
    ]
    with torch.no_grad():
        theirs = encoder._model.module.get_audio_embedding(inputs).numpy()
    ours = encoder.embed(quantised(audio)[None])
    assert ours["embedding"].shape == (1, 3, 512)
    assert ours["map"].shape == (1, 3, 768)
    assert np.abs(ours["embedding"][0] - theirs).max() < 1e-5


def test_two_threads_get_their_own_maps(laion):
    encoder, _, _ = laion
    sounds = np.random.default_rng(1).integers(-9000, 9000, (6, 1, SAMPLE_RATE), dtype=np.int16)
    expected = [encoder.embed(sound)["map"] for sound in sounds]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(encoder.embed, sounds))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one["map"] - other).max() < 1e-5


def test_transformers_agrees_on_mapped_weights(laion, tokenizer, audio, tmp_path):
    from transformers import ClapConfig

    encoder, _, state = laion
    folder, size = tokenizer
    text = {
        "vocab_size": size,
        "num_hidden_layers": 1,
        "max_position_embeddings": 80,
        "layer_norm_eps": 1e-5,
    }
    ClapConfig(
        text_config=text, audio_config={"enable_fusion": True}, projection_dim=512
    ).save_pretrained(tmp_path)
    save_file(laion_to_transformers(state), tmp_path / "model.safetensors")
    spec = encoder_options(
        "clap",
        backend="transformers",
        model=str(tmp_path),
        weights=str(tmp_path / "model.safetensors"),
        tokenizer=str(folder),
    )
    other = load_encoder(spec, "cpu")
    segments = quantised(audio)[None]
    ours, theirs = encoder.embed(segments), other.embed(segments)
    assert np.abs(ours["embedding"] - theirs["embedding"]).max() < 1e-5
    assert np.abs(ours["map"] - theirs["map"]).max() < 1e-4
    assert np.abs(encoder.embed_captions(CAPTIONS) - other.embed_captions(CAPTIONS)).max() < 1e-5
    assert other.logit_scale == encoder.logit_scale


def laion_to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename laion_clap's weights to ClapModel's; what that does not have is dropped."""
    renames = {
        "text_branch": "text_model",
        "audio_branch": "audio_model.audio_encoder",
        r"(?<!_)attn\.": "attention.self.",
        r"self\.proj\.": "output.dense.",
        r"mlp\.fc1": "intermediate.dense",
        r"mlp\.fc2": "output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "bn0": "batch_norm",
        r"_projection\.0": "_projection.linear1",
        r"_projection\.2": "_projection.linear2",
    }
    dropped = r"attn_mask|stft|logmel|spectrogram|tscam_conv|head\.|_transform\.|position_ids"
    mapped = {}
    for name, tensor in state.items():
        if re.search(dropped, name):
            continue
        for pattern, replacement in renames.items():
            name = re.sub(pattern, replacement, name)
        if "qkv" in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                mapped[name.replace("qkv", part)] = piece.contiguous()
        else:
            mapped[name] = tensor.contiguous()
    return mapped


def test_a_real_checkpoint_needs_its_tokenizer(laion):
    _, spec, _ = laion
    with pytest.raises(PipelineError, match=r"roberta-base's vocab\.json"):
        load_encoder(spec.model_copy(update={"tokenizer": None}), "cpu")


def test_unknown_architectures_are_refused(laion):
    with pytest.raises(PipelineError, match=r"'HTSAT-tinny'; it must be one of .*HTSAT-tiny"):
        load_encoder(
            encoder_options("clap", backend="laion_clap", model="HTSAT-tinny", weights="random"),
            "cpu",
        )


def test_the_library_leaves_no_folder_of_its_own_on_the_path(laion):
    assert not [entry for entry in sys.path if entry.endswith("laion_clap")]
