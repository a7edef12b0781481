import dataclasses
import json
import subprocess
import sys

import pytest

from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import PipelineError
from pipeline.files import sha256_of

SHA = "a" * 64
CLIP = EncoderSpec("clip", "open_clip", "ViT-L-14-quickgelu", "weights.safetensors", SHA)


def test_fingerprint_changes_with_all_that_decides_the_numbers_and_nothing_else():
    changes = [
        {"model": "ViT-B-32"},
        {"sha256": "b" * 64},
        {"precision": "bf16"},
        {"weights": "random", "sha256": None},
        {"weights": "random:1", "sha256": None},
        {"encoder": "clap", "backend": "laion_clap"},
    ]
    specs = [CLIP, *(dataclasses.replace(CLIP, **change) for change in changes)]
    prints = [spec.fingerprint("0123456789") for spec in specs]
    assert len(set(prints)) == len(specs)
    assert CLIP.fingerprint("9876543210") not in prints
    moved = dataclasses.replace(CLIP, weights="elsewhere/weights.safetensors")
    assert moved.fingerprint("0123456789") == prints[0]
    assert len(prints[0]) == 10


def test_fingerprint_is_of_the_files_contents(tmp_path):
    config, weights = tmp_path / "small.json", tmp_path / "w.safetensors"
    config.write_text(json.dumps({"embed_dim": 1}))
    weights.write_bytes(b"weights")
    spec = EncoderSpec("clip", "open_clip", str(config), str(weights))
    given = dataclasses.replace(spec, sha256=sha256_of(weights))
    before = spec.fingerprint("d")
    assert given.fingerprint("d") == before
    config.write_text(json.dumps({"embed_dim": 2}))
    assert given.fingerprint("d") != before


def test_fingerprint_needs_no_heavy_library():
    code = (
        "import sys; from pipeline.encoders.spec import EncoderSpec;"
        "EncoderSpec('clap', 'laion_clap', 'HTSAT-tiny', 'random').fingerprint('d');"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": "clop"}, "'clop'; allowed are clip, clap"),
        ({"backend": "laion_clap"}, "allowed are open_clip, transformers"),
        ({"precision": "int8"}, "allowed are fp32, bf16, fp16"),
        ({"sha256": "abc"}, "64 hex digits"),
        ({"weights": "random"}, "nothing for sha256 to check"),
    ],
)
def test_values_that_are_not_allowed_say_what_is(change, words):
    with pytest.raises(PipelineError, match=words):
        dataclasses.replace(CLIP, **change)


def test_missing_files_are_named(tmp_path):
    absent = str(tmp_path / "absent.safetensors")
    with pytest.raises(PipelineError, match=r"weights of clip.*absent"):
        EncoderSpec("clip", "open_clip", "ViT-B-32", absent).fingerprint("d")
    with pytest.raises(PipelineError, match=r"model configuration of clap.*config\.json"):
        EncoderSpec("clap", "transformers", str(tmp_path), "random").fingerprint("d")


def test_random_weights_are_asked_for_by_name_only():
    assert EncoderSpec("clip", "open_clip", "m", "random").random_seed == 0
    assert EncoderSpec("clip", "open_clip", "m", "random:7").random_seed == 7
    for weights in ("randomised.pt", "./random", "random:", "random:x"):
        assert EncoderSpec("clip", "open_clip", "m", weights).random_seed is None
