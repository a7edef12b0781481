"""Small seeded CLIP and CLAP models on disk, in the form of the demo's and of the released ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer

from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders.options import EncoderOptions, encoder_options
from pipeline.features.encoders.tokenizer import SPECIAL_TOKENS

IMAGE_SIZE = 32
DIMENSION = 16
MAP_DIMENSION = 128


def clip_config() -> dict[str, object]:
    return {
        "embed_dim": DIMENSION,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }


def write_clip(folder: Path) -> EncoderOptions:
    """Write an open_clip configuration and fp32 weights."""
    import open_clip

    config = folder / "tiny.json"
    config.write_text(json.dumps(clip_config()), encoding="utf-8")
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("tiny", pretrained=None)
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return encoder_options(
        "clip", backend="open_clip", model=str(config), weights=str(folder / "tiny.safetensors")
    )


def write_tokenizer(folder: Path) -> int:
    """Write vocab.json and merges.txt trained on the captions; return the number of entries."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        read_vocabulary().captions("audio"), vocab_size=400, special_tokens=list(SPECIAL_TOKENS)
    )
    tokenizer.save_model(str(folder))
    return int(tokenizer.get_vocab_size())


def write_clap(folder: Path) -> EncoderOptions:
    """Write a transformers folder with a fusion ClapModel and its tokenizer."""
    from transformers import ClapConfig, ClapModel

    size = write_tokenizer(folder)
    text = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
        "layer_norm_eps": 1e-5,
        "projection_dim": DIMENSION,
    }
    audio = {
        "depths": [1, 1, 1, 1],
        "hidden_size": MAP_DIMENSION,
        "patch_embeds_hidden_size": MAP_DIMENSION // 8,
        "num_attention_heads": [1, 2, 4, 8],
        "spec_size": 256,
        "enable_fusion": True,
        "projection_dim": DIMENSION,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ClapModel(
            ClapConfig(text_config=text, audio_config=audio, projection_dim=DIMENSION)
        )
    model.save_pretrained(folder)
    return encoder_options(
        "clap", backend="transformers", model=str(folder), weights=str(folder / "model.safetensors")
    )


def small_roberta(size: int) -> Any:
    """Return a text tower of one layer, to take the place of roberta-base in laion_clap."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=size,
        num_hidden_layers=1,
        max_position_embeddings=80,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def laion_checkpoint(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return weights of laion_clap as LAION's released files have them."""
    return {
        "epoch": 1,
        "loss": np.float64(0.5),
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}
        | {"module.text_branch.embeddings.position_ids": torch.arange(80)},
    }
