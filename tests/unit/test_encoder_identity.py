"""Results that rest on random weights or on the demo's encoders say so, and name their encoders."""

import pytest

from pipeline.core.files import RESOURCES, sha256_of
from pipeline.features.encoders.identity import encoder_notice, encoder_text, identity_in
from pipeline.features.encoders.options import ClapOptions, ClipOptions

REAL = {"backend": "open_clip", "model": "ViT-L-14", "weights": "a" * 64}
DEMO = ClipOptions(
    model="package:demo_encoders/clip.json", weights="package:demo_encoders/clip.safetensors"
)
RANDOM = ClapOptions(model="HTSAT-tiny", weights="random:3")


def test_random_and_demo_encoders_are_named() -> None:
    notice = encoder_notice({"clip": DEMO.identity, "clap": RANDOM.identity})
    random, demo = notice.split(". ")
    assert random.startswith("CLAP has random weights")
    assert demo.startswith("CLIP is a toy encoder of the demo")


def test_both_random_is_one_sentence() -> None:
    both = {name: {"weights": "random"} for name in ("clip", "clap")}
    assert encoder_notice(both).startswith("CLIP and CLAP have random weights")


def test_real_encoders_need_no_notice() -> None:
    assert encoder_notice({"clip": REAL, "clap": {}}) == ""
    assert encoder_notice({}) == ""


@pytest.mark.parametrize("name", ["clip.safetensors", "clap/model.safetensors"])
def test_a_copy_of_the_demos_weights_is_known_by_its_content(name: str) -> None:
    digest = sha256_of(RESOURCES / "demo_encoders" / name)
    assert "toy encoder" in encoder_notice({"clip": {**REAL, "weights": digest}})


def test_an_encoder_is_named_by_model_and_weights() -> None:
    assert encoder_text(REAL) == f"open_clip ViT-L-14, weights sha256 {'a' * 12}"
    assert encoder_text(RANDOM.identity) == "laion_clap HTSAT-tiny, weights random:3"
    hub = {"weights": "hf:a/b/c.pt", "weights_sha256": "b" * 64}
    assert encoder_text(hub) == f"weights hf:a/b/c.pt (sha256 {'b' * 12})"


def test_features_without_weights_have_no_identity() -> None:
    meta = {"fingerprint": "0123456789", "inputs": "classic"}
    assert identity_in(meta) == {}
    assert identity_in(meta | REAL) == REAL
