import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import EncoderOptions, encoder_options
from pipeline.features.encoders.weights import build, load_into, read_weights


def make() -> torch.nn.Linear:
    return torch.nn.Linear(3, 2)


@pytest.fixture
def state():
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([0.5, -0.5])}


def spec(weights: Path | str, sha256: str | None = None) -> EncoderOptions:
    return encoder_options(
        "clip", backend="open_clip", model="m", weights=str(weights), sha256=sha256
    )


def test_weights_come_back_in_fp32_evaluation_mode_and_frozen(tmp_path, state):
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.half() for name, tensor in state.items()}, path)
    model = build(spec(path, sha256_of(path)), make)
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, state["weight"])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_another_checksum_names_both(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(PipelineError, match=f"(?s){sha256_of(path)}.*{'0' * 64}"):
        build(spec(path, "0" * 64), make)


def test_random_weights_depend_on_their_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (build(spec(f"random:{seed}"), make) for seed in (3, 3, 4))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_weights_never_become_random(tmp_path):
    with pytest.raises(PipelineError, match="no such file"):
        build(spec(tmp_path / "w.safetensors"), make)


def test_a_training_checkpoint_is_read_without_its_wrapping(tmp_path, state):
    path = tmp_path / "w.pt"
    record = {
        "epoch": np.float64(3.0),
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
    }
    torch.save(record, path)
    assert read_weights(path, None).keys() == state.keys()


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Hostile()}, tmp_path / "w.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("w.pt", "plain.pt"):
        with pytest.raises(PipelineError, match=r"contains more than weights|corrupt or truncated"):
            read_weights(tmp_path / name, None)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_file_cut_short_is_refused(tmp_path, state, name, size):
    path = tmp_path / name
    torch.save(state, path) if name.endswith(".pt") else save_file(state, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PipelineError, match=r"w\.(safetensors|pt)"):
        read_weights(path, None)


def test_tensors_must_be_named(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "w.pt")
    with pytest.raises(PipelineError, match="no tensors by name"):
        read_weights(tmp_path / "w.pt", None)


def test_weights_of_another_model_are_counted(state):
    state["weight"] = torch.zeros(5, 5)
    state["extra"] = state.pop("bias")
    with pytest.raises(PipelineError, match="1 missing, 1 unexpected, 1 of another shape"):
        load_into(make(), state, Path("w.pt"))


def test_position_ids_of_older_libraries_are_dropped(state):
    model = make()
    load_into(model, state | {"text.position_ids": torch.arange(4)}, Path("w.pt"))
    assert torch.equal(model.bias, state["bias"])


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("w.pt", LFS, "is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        ("w.safetensors", LFS, "is a Git LFS pointer, not the file itself"),
        ("w.pt", "<html>not found</html>", "is not a file of weights; it must be .safetensors"),
        ("w.pt", "", "is not a file of weights"),
        ("w.safetensors", "", r"corrupt or truncated \(.*\); download the file again\."),
    ],
)
def test_a_file_that_is_no_weights_is_one_sentence(
    name: str, content: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PipelineError, match=f"^[^\n]*{name}' [^\n]*{sentence}[^\n]*$"):
        read_weights(tmp_path / name, None)


def test_a_torchscript_program_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))  # type: ignore[no-untyped-call]
    with pytest.raises(PipelineError, match=r"is a TorchScript program, .* is not run; download"):
        read_weights(path, None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"embed_dim": 64', r"m\.json' is not valid JSON \(.*\); download it again\."),
        (LFS, r"m\.json' is a Git LFS pointer"),
        ("null", r"m\.json' is not a model configuration; it must have keys"),
        (
            '{"embed_dim": "a", "vision_cfg": {}, "text_cfg": {}}',
            r"cannot build a model from '.*m\.",
        ),
    ],
)
def test_a_model_configuration_that_cannot_be_built_is_named(
    content: str, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    spec = encoder_options("clip", backend="open_clip", model=str(path), weights="random:1")
    with pytest.raises(PipelineError, match=sentence):
        load_encoder(spec, "cpu")


def test_a_checksum_may_be_written_in_capitals() -> None:
    spec = encoder_options("clip", model="ViT-B-32", weights="w.pt", sha256="AB" * 32)
    assert spec.sha256 == "ab" * 32
