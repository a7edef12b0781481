"""What a file replaces is not drawn first, and everything else is what it would have been."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from pipeline.features.encoders import weights
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import encoder_options

DEMO = Path(weights.__file__).parents[2] / "resources" / "demo_encoders"
FILES = {
    "clip": ("open_clip", "clip.json", "clip.safetensors"),
    "clap": ("transformers", "clap", "clap/model.safetensors"),
}


def module_of(encoder: str) -> torch.nn.Module:
    backend, model, file = FILES[encoder]
    spec = encoder_options(
        encoder, backend=backend, model=str(DEMO / model), weights=str(DEMO / file)
    )
    loaded = load_encoder(spec, "cpu")._model.module
    assert isinstance(loaded, torch.nn.Module)
    return loaded


@pytest.mark.parametrize("encoder", FILES)
def test_a_model_of_a_file_is_the_same_whether_or_not_it_was_drawn(encoder, monkeypatch):
    found = module_of(encoder)
    monkeypatch.setattr(weights, "_NoDraws", nullcontext)
    expected = module_of(encoder)
    for kind in ("named_parameters", "named_buffers"):
        # Buffers that no file holds, too.
        pairs = [dict(getattr(each, kind)()) for each in (found, expected)]
        assert pairs[0].keys() == pairs[1].keys()
        assert all(torch.equal(value, pairs[1][name]) for name, value in pairs[0].items())


def test_nothing_is_drawn():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with weights._NoDraws():
        torch.nn.Linear(3, 4)
        torch.nn.MultiheadAttention(4, 2)
        torch.nn.init.trunc_normal_(torch.empty(3))
        assert torch.randn(2, 3).shape == (2, 3)
        assert torch.equal(torch.arange(3) * 2, torch.tensor([0, 2, 4]))
    assert torch.equal(torch.get_rng_state(), before)
