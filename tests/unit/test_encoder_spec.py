import json
import subprocess
import sys

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.features.encoders.options import encoder_options

SHA = "a" * 64
CLIP = encoder_options(
    "clip",
    backend="open_clip",
    model="ViT-L-14-quickgelu",
    weights="weights.safetensors",
    sha256=SHA,
)


def test_fingerprint_changes_with_all_that_decides_the_numbers_and_nothing_else():
    changes = [
        {"model": "ViT-B-32"},
        {"sha256": "b" * 64},
        {"precision": "bf16"},
        {"weights": "random", "sha256": None},
        {"weights": "random:1", "sha256": None},
    ]
    specs = [CLIP, *(CLIP.model_copy(update=change) for change in changes)]
    specs.append(encoder_options("clap", **CLIP.model_dump() | {"backend": "laion_clap"}))
    prints = [spec.fingerprint("0123456789") for spec in specs]
    assert len(set(prints)) == len(specs)
    assert CLIP.fingerprint("9876543210") not in prints
    moved = CLIP.model_copy(update={"weights": "elsewhere/weights.safetensors"})
    assert moved.fingerprint("0123456789") == prints[0]
    assert len(prints[0]) == 10


def test_fingerprint_is_of_the_files_contents(tmp_path):
    config, weights = tmp_path / "small.json", tmp_path / "w.safetensors"
    config.write_text(json.dumps({"embed_dim": 1}))
    weights.write_bytes(b"weights")
    spec = encoder_options("clip", backend="open_clip", model=str(config), weights=str(weights))
    given = spec.model_copy(update={"sha256": sha256_of(weights)})
    before = spec.fingerprint("d")
    assert given.fingerprint("d") == before
    config.write_text(json.dumps({"embed_dim": 2}))
    assert given.fingerprint("d") != before


def test_fingerprint_is_of_the_pixels_too_where_they_are_said(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    clip = encoder_options("clip", backend="transformers", model=str(tmp_path), weights="random")
    clap = encoder_options("clap", backend="transformers", model=str(tmp_path), weights="random")
    prints = [clip.fingerprint("d")]
    assert prints == ["a430f4027b"], "a cache that was made before pixels counted keeps its name"
    before = clap.fingerprint("d")
    for mean in (0, 0.5):
        said = {"image_mean": [mean] * 3, "image_std": [1] * 3}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
        prints.append(clip.fingerprint("d"))
    assert len(set(prints)) == 3
    assert clap.fingerprint("d") == before, "it normalises no pixels"


def test_tokenizer_files_are_those_that_captions_are_read_with(tmp_path):
    clap = encoder_options(
        "clap",
        backend="laion_clap",
        model="HTSAT-tiny",
        weights="w.pt",
        sha256=SHA,
        tokenizer=str(tmp_path),
    )
    with pytest.raises(PipelineError, match=r"CLAP's tokenizer.*vocab\.json"):
        _ = clap.tokenizer_files
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text("{}")
    assert [path.name for path in clap.tokenizer_files] == ["vocab.json", "merges.txt"]
    (tmp_path / "tokenizer.json").write_text("{}")
    assert [path.name for path in clap.tokenizer_files] == ["tokenizer.json"]
    assert clap.model_copy(update={"weights": "random", "sha256": None}).tokenizer_files == []
    assert CLIP.tokenizer_files == []
    with pytest.raises(PipelineError, match="set `tokenizer` to their folder"):
        _ = clap.model_copy(update={"tokenizer": None}).tokenizer_files


def test_fingerprint_needs_no_heavy_library():
    code = (
        "import sys; from pipeline.features.encoders.options import encoder_options;"
        "encoder_options('clap', backend='laion_clap', model='HTSAT-tiny', weights='random')"
        ".fingerprint('d');"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"encoder": "clop"},
            "'clop'; it must be one of clip, clap, motion \\(did you mean 'clip'\\?\\)",
        ),
        ({"backend": "laion_clap"}, "it must be open_clip or transformers"),
        ({"precision": "int8"}, "it must be one of fp32, tf32, bf16, fp16"),
        ({"sha256": "abc"}, r"'sha256' is 'abc'; it must be the 64 hex digits"),
        ({"weights": "random"}, "random weights have no checksum"),
    ],
)
def test_values_that_are_not_allowed_say_what_is(change, words):
    with pytest.raises(PipelineError, match=words):
        encoder_options(**{"encoder": "clip"} | CLIP.model_dump() | change)


def test_missing_files_are_named(tmp_path):
    absent = str(tmp_path / "absent.safetensors")
    with pytest.raises(PipelineError, match=r"weights of clip.*absent"):
        encoder_options("clip", backend="open_clip", model="ViT-B-32", weights=absent).fingerprint(
            "d"
        )
    with pytest.raises(PipelineError, match=r"model configuration of clap.*config\.json"):
        encoder_options(
            "clap", backend="transformers", model=str(tmp_path), weights="random"
        ).fingerprint("d")


def test_random_weights_are_asked_for_by_name_only():
    assert (
        encoder_options("clip", backend="open_clip", model="m", weights="random").random_seed == 0
    )
    assert (
        encoder_options("clip", backend="open_clip", model="m", weights="random:7").random_seed == 7
    )
    for weights in ("randomised.pt", "./random"):
        assert (
            encoder_options("clip", backend="open_clip", model="m", weights=weights).random_seed
            is None
        )
    for weights in ("random:", "random:x"):
        with pytest.raises(PipelineError, match="random:SEED needs a seed of 0 to 999999999"):
            encoder_options("clip", backend="open_clip", model="m", weights=weights)
