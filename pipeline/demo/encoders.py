"""Train the demo encoders, a small CLIP and a small CLAP, on synthetic examples.

They use the same libraries, files and inputs as the full-size encoders, so the demo exercises the
same loaders and transforms. Only the sizes below are smaller.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.core.files import atomic_path, write_json, write_text
from pipeline.core.vocabulary import read_vocabulary
from pipeline.demo.contrast import Pairs, Schedule, fit
from pipeline.demo.examples import (
    MISNAMED,
    TRAINING,
    draw_examples,
    draw_pictures,
    name_examples,
    play_sounds,
)
from pipeline.demo.scenes import CORPUS, Conditions
from pipeline.demo.scripts import VideoScript
from pipeline.features.encoders.base import load_encoder, with_captions
from pipeline.features.encoders.mel import SECOND_FRAMES, WINDOW_SECONDS, LogMel
from pipeline.features.encoders.options import EncoderOptions, encoder_options
from pipeline.features.encoders.pooling import pool_seconds
from pipeline.features.encoders.tokenizer import SPECIAL_TOKENS, UNKNOWN, read_tokenizer

IMAGE_SIZE = 64
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    # A list of layers makes open_clip build CLIP's ResNet, which learns from few pictures.
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "layers": [1, 1, 1, 1],
        "width": 12,
        "head_width": 32,
    },
    # CLIP's tokenizer: most of the file is its table of 49,408 tokens, nearly all unused.
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
CLIP_TABLE = "token_embedding.weight"

CLAP_DIMENSION = 64
# HTSAT's grid (256, 64 mel bands, windows of 8) as in the full-size CLAP: smaller grids fail.
CLAP_AUDIO: dict[str, Any] = {
    "spec_size": 256,
    "num_mel_bins": 64,
    "window_size": 8,
    "patch_embeds_hidden_size": 16,
    "hidden_size": 128,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 4, 8],
    "enable_fusion": True,
    "num_classes": 1,
}
CLAP_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
CLAP_TOKENS = 400  # 256 bytes, the special tokens, and the merges found in the captions

# Share of 10-second windows that repeat one sound, as when single seconds are embedded. The others
# have ten different seconds, as when the feature map is computed.
REPEATED = 1 / 3

CLIP_SCHEDULE = Schedule(examples=6000, steps=500, batch=64, rate=2e-3)
CLAP_SCHEDULE = Schedule(examples=4000, steps=300, batch=12, rate=3e-3)
HELD_OUT = 500  # examples of another seed, used to evaluate the trained encoders


def make_encoders(folder: Path, seed: int) -> None:
    """Train and write both encoders; record schedules and accuracies in ``training.json``.

    Parameters
    ----------
    folder
        Output folder for ``clip.json``, ``clip.safetensors`` and ``clap/`` (``config.json``,
        ``model.safetensors``, ``tokenizer.json``).
    seed
        The same seed on the same machine gives the same files.
    """
    captions = read_vocabulary()
    report = {
        "seed": seed,
        "clip": asdict(CLIP_SCHEDULE) | make_clip(folder, seed, captions.captions("visual")),
        "clap": asdict(CLAP_SCHEDULE) | make_clap(folder, seed, captions.captions("audio")),
    }
    write_json(folder / "training.json", report)


def make_clip(folder: Path, seed: int, captions: Sequence[str]) -> dict[str, Any]:
    """Train and write the small CLIP; return its loss and its accuracy on held-out pictures."""
    config = folder / "clip.json"
    write_json(config, CLIP_CONFIG)
    open_clip.add_model_config(config)
    torch.manual_seed(seed)
    model = open_clip.create_model("clip", pretrained=None)
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    examples = draw_examples(seed, CLIP_SCHEDULE.examples)
    pictures = torch.from_numpy(draw_pictures(examples, TRAINING, IMAGE_SIZE))
    names = torch.from_numpy(name_examples(examples, seed, MISNAMED))
    context = CLIP_CONFIG["text_cfg"]["context_length"]
    tokens = open_clip.SimpleTokenizer(context_length=context)(list(captions))

    def step(random: torch.Generator) -> Pairs:
        rows = torch.randint(len(pictures), (CLIP_SCHEDULE.batch,), generator=random)
        pixels = (pictures[rows].permute(0, 3, 1, 2).float() / 255 - mean) / std
        text = model.encode_text(tokens)
        return Pairs(model.encode_image(pixels), text, names[rows], model.logit_scale)

    loss = fit(model, step, CLIP_SCHEDULE, seed, "demo clip")
    used = torch.zeros(CLIP_CONFIG["text_cfg"]["vocab_size"], 1)
    used[tokens.unique()] = 1
    state = {
        name: (tensor * used if name == CLIP_TABLE else tensor)
        for name, tensor in model.state_dict().items()
    }
    write_weights(folder / "clip.safetensors", state)
    spec = encoder_options(
        "clip", backend="open_clip", model=str(config), weights=str(folder / "clip.safetensors")
    )

    def held_out(conditions: Conditions) -> NDArray[np.float32]:
        pictures = draw_pictures(_held_out(seed), conditions, IMAGE_SIZE)
        return load_encoder(spec, "cpu").embed(pictures[:, None, None])["embedding"][:, 0]

    return {"loss": loss} | _accuracy(spec, seed, captions, held_out)


def make_clap(folder: Path, seed: int, captions: Sequence[str]) -> dict[str, Any]:
    """Train and write the small CLAP; return its loss and its accuracy on held-out sounds."""
    folder = folder / "clap"
    tokenizer = train_tokenizer(captions)
    write_text(folder / "tokenizer.json", tokenizer.to_str() + "\n")
    config = transformers.ClapConfig(
        text_config=CLAP_TEXT | {"vocab_size": tokenizer.get_vocab_size()},
        audio_config=CLAP_AUDIO,
        projection_dim=CLAP_DIMENSION,
    )
    write_json(folder / "config.json", config.to_diff_dict())
    torch.manual_seed(seed)
    model = transformers.ClapModel(config)
    size, positions = tokenizer.get_vocab_size(), CLAP_TEXT["max_position_embeddings"] - 2
    ids, mask = read_tokenizer(folder, size, positions)(captions)
    examples = draw_examples(seed, CLAP_SCHEDULE.examples)
    spectrograms = _spectrograms(play_sounds(examples, TRAINING))
    names = torch.from_numpy(name_examples(examples, seed, MISNAMED))
    repeated = round(REPEATED * CLAP_SCHEDULE.batch)

    def step(random: torch.Generator) -> Pairs:
        shape = (CLAP_SCHEDULE.batch, WINDOW_SECONDS)
        rows = torch.randint(len(spectrograms), shape, generator=random)
        rows[:repeated] = rows[:repeated, :1]
        seconds = model.audio_projection(pool_seconds(_feature_map(model, spectrograms[rows])))
        # A window that repeats one sound is one example: the mean over the window.
        audio = torch.cat([seconds[:repeated].mean(dim=1), seconds[repeated:].flatten(0, 1)])
        named = torch.cat([names[rows[:repeated, 0]], names[rows[repeated:].flatten()]])
        text = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return Pairs(audio, text, named, model.logit_scale_a)

    loss = fit(model, step, CLAP_SCHEDULE, seed, "demo clap")
    write_weights(folder / "model.safetensors", model.state_dict())
    weights = str(folder / "model.safetensors")
    spec = encoder_options("clap", backend="transformers", model=str(folder), weights=weights)

    def held_out(conditions: Conditions) -> NDArray[np.float32]:
        sounds = play_sounds(_held_out(seed), conditions)
        return load_encoder(spec, "cpu").embed(sounds)["embedding"][:, 0]

    return {"loss": loss} | _accuracy(spec, seed, captions, held_out)


def train_tokenizer(captions: Sequence[str]) -> Tokenizer:
    """Return a byte-level BPE tokenizer like RoBERTa's, with merges learnt from the captions."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CLAP_TOKENS,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def write_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, with floating-point tensors in half precision."""
    halved = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    with atomic_path(path) as temporary:
        save_file(halved, temporary)


def _spectrograms(sounds: NDArray[np.int16]) -> torch.Tensor:
    """Return the log-mel spectrogram ``[n, 100, 64]`` of each second, as within repeated audio."""
    inner = slice(SECOND_FRAMES, 2 * SECOND_FRAMES)
    mel = LogMel()
    with torch.no_grad():
        return torch.cat(
            [mel.seconds(part)[:, inner] for part in torch.from_numpy(sounds).split(64)]
        )


def _feature_map(model: transformers.ClapModel, seconds: torch.Tensor) -> torch.Tensor:
    """Return HTSAT's feature map of windows of ten spectrograms ``[B, 10, 100, 64]``."""
    frames = seconds.flatten(1, 2)
    window = torch.cat([frames, frames[:, :1]], dim=1)[:, None]
    longer = torch.zeros(len(window), 1, dtype=torch.bool)
    feature_map: torch.Tensor = model.audio_model(
        input_features=window, is_longer=longer
    ).last_hidden_state
    return feature_map


def _held_out(seed: int) -> list[VideoScript]:
    return draw_examples(seed + 1, HELD_OUT, paired=0, empty=0)


def _accuracy(
    spec: EncoderOptions,
    seed: int,
    captions: Sequence[str],
    embed: Callable[[Conditions], NDArray[np.float32]],
) -> dict[str, float]:
    """Return the share of held-out examples whose nearest caption is correct (C classes)."""
    text = with_captions(load_encoder(spec, "cpu")).embed_captions(captions)
    truth = name_examples(_held_out(seed), seed, misnamed=0).argmax(axis=1)
    return {
        f"accuracy_{kind}": float(np.mean((embed(conditions) @ text.T).argmax(axis=1) == truth))
        for kind, conditions in (("training", TRAINING), ("corpus", CORPUS))
    }
