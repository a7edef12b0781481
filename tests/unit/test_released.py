"""Released weights: imported from every form of file, equal in what they predict, and scored."""

import argparse
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import HubServer, Repository
from released_valor import SIZES, released_network
from torch import Tensor

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import MODALITIES, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, EventRow, write_events
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.features.npy_layouts import average_frames, pool_map
from pipeline.parsers import released
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.released import RELEASED, import_released, read_released, released_file
from pipeline.report.comparable import RELEASED_NOTE
from pipeline.report.trained import read_parsers

VOCABULARY = read_vocabulary()
State = dict[str, Tensor]


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def features(model: str, videos: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of the shapes that are released."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(videos, *shape, generator=random)

    if model == "valorpp":
        visual = torch.nn.functional.normalize(draw(10, 768), dim=-1)
        return draw(64, 768), visual, draw(10, 512)
    return draw(10, 128), draw(80, 2048), draw(10, 512)


@pytest.mark.parametrize("motion", [True, False])
@pytest.mark.parametrize("model", list(SIZES))
def test_imported_weights_predict_what_the_released_network_does(
    tmp_path: Path, model: str, motion: bool
) -> None:
    network = released_network(model, motion)
    file = saved(tmp_path / "checkpoint_best.pt", network.state_dict())
    import_released(model, str(file), VOCABULARY, tmp_path / "model")
    checkpoint = read_checkpoint(tmp_path / "model")
    assert checkpoint.recipe.motion == motion
    assert checkpoint.seed == RELEASED[model].seed
    audio, visual, moving = features(model)
    with torch.inference_mode():
        expected = network(audio, visual, moving)
        inputs = ParserInputs(
            torch.stack([torch.from_numpy(pool_map(each.numpy())) for each in audio]),
            torch.stack(
                [
                    torch.from_numpy(average_frames(each.numpy(), 8 if len(each) == 80 else 1))
                    for each in visual
                ]
            ),
            moving if motion else None,
        )
        found = checkpoint.build()(inputs)
    ours = {
        "segments": found.logits.sigmoid(),
        "video": found.video,
        "audio_video": found.audio_video,
        "visual_video": found.visual_video,
    }
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)
    assert expected["segments"].std() > 0.1, "outputs vary"


@pytest.fixture(scope="module")
def state() -> State:
    return dict(released_network("valorpp").state_dict())


def in_parallel(state: State) -> State:
    return {f"module.{name}": weight for name, weight in state.items()}


def with_optimiser(state: State) -> dict[str, Any]:
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), betas=(0.5, 0.999))
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return {
        "model": state,
        "optimizer": optimiser.state_dict(),
        "epoch": 57,
        "best": np.float64(66.2),
        "args": argparse.Namespace(lr=3e-4, hidden_dim=256),
    }


FORMS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "model": lambda state: {"model": state},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model_state_dict": lambda state: {"model_state_dict": in_parallel(state)},
    "data parallel": in_parallel,
    "optimiser": with_optimiser,
    "half precision": lambda state: {name: weight.half() for name, weight in state.items()},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_of_file_is_read(tmp_path: Path, state: State, form: str) -> None:
    checkpoint = read_released("valorpp", saved(tmp_path / "a.pt", FORMS[form](state)), VOCABULARY)
    found = checkpoint.weights["encoder.layers.3.feedforward.3.weight"]
    expected = state["hat_encoder.layers.3.linear2.weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, expected, atol=1e-3 if form == "half precision" else 0, rtol=0
    )


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    path = saved(tmp_path / "a.pt", {"model": Hostile()})
    with pytest.raises(PipelineError, match="contains more than weights and is not loaded"):
        read_released("valorpp", path, VOCABULARY)
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(PipelineError, match="not loaded"):
        read_released("valorpp", tmp_path / "b.pt", VOCABULARY)
    assert not (tmp_path / "ran").exists()


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {name: weight for name, weight in state.items() if name not in names}


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("valorpp", without("fc_prob.bias"), r"lacks the parameter 'fc_prob\.bias'"),
        (
            "valorpp",
            without("hat_encoder.layers.2.cm_attn.in_proj_weight"),
            r"lacks the parameter 'hat_encoder\.layers\.2\.cm_attn\.in_proj_weight'",
        ),
        ("valorpp", without("fc_st.weight"), r"lacks the parameter 'fc_st\.weight'"),
        (
            "valorpp",
            lambda state: state | {"hat_encoder.layers.4.norm1.bias": torch.zeros(256)},
            r"unexpected parameter 'hat_encoder\.layers\.4\.norm1\.bias'",
        ),
        (
            "valorpp",
            lambda state: state | {"hat_encoder.final_norm.bias": torch.zeros(256)},
            r"unexpected parameter 'hat_encoder\.final_norm\.bias'",
        ),
        (
            "valorpp",
            lambda state: state | {"fc_a.weight": torch.zeros(256, 512)},
            r"has 'fc_a\.weight' of shape \[256, 512\], not \[256, 768\]; it must have exactly the"
            r" parameters of VALOR\+\+, .* not of VALOR or VALOR\+\.",
        ),
        (
            "valorpp",
            lambda state: state | {"fc_v.bias": torch.full((256,), torch.nan)},
            r"has values in 'fc_v\.bias' that are not finite",
        ),
        ("valorplus", lambda state: state, r"'fc_a\.weight' of shape \[256, 768\], not \[256, 128"),
        ("valor", lambda state: state, r"unexpected parameter 'hat_encoder\.layers\.1\."),
        ("han", lambda state: state, "must be one of valor, valorplus, valorpp"),
        ("valorpp", lambda state: {"model": 3}, "it has no tensors by name"),
        ("valorpp", lambda state: {0: torch.ones(2)}, "it has no tensors by name"),
        ("valorpp", lambda state: [torch.ones(2)], "it has no tensors by name"),
    ],
)
def test_what_is_not_the_network_is_one_sentence(
    tmp_path: Path,
    state: State,
    model: str,
    change: Callable[[State], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = saved(tmp_path / "a.pt", change(dict(state)))
    with pytest.raises(PipelineError, match=message):
        read_released(model, path, VOCABULARY)
    words = ["import-checkpoint", model, str(path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_the_unused_norms_may_be_missing(tmp_path: Path, state: State) -> None:
    names = [name for name in state if "final_norm" in name]
    assert len(names) == 4
    path = saved(tmp_path / "a.pt", without(*names)(state))
    assert read_released("valorpp", path, VOCABULARY).released["model"] == "valorpp"


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"cannot find weights at '.*none\.pt'"):
        read_released("valorpp", tmp_path / "none.pt", VOCABULARY)


@pytest.fixture
def hub(tmp_path: Path, state: State) -> Any:
    content = saved(tmp_path / "best.pt", {"model": state}).read_bytes()
    files = {
        "README.md": b"#",
        "model_VALOR/checkpoint_best.pt": b"1",
        "model_VALOR+/checkpoint_best.pt": b"2",
        "model_VALOR++/checkpoint_best.pt": content,
        "model_VALOR++/checkpoint_last.pt": b"3",
    }
    key = "models/NTUBarista/valor_trained_models"
    with HubServer({key: Repository(files)}) as server:
        yield server


def imported(hub: HubServer, folder: Path, *words: str, **changes: str) -> tuple[int, str]:
    """Run the command in a process of its own; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "import-checkpoint", *words],
        cwd=folder,
        env=hub.environment(folder / "cache", **changes)
        | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "AVVP_HUB": "hub"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stderr if done.returncode else done.stdout
    return done.returncode, said.strip().splitlines()[-1]


def test_the_file_is_found_in_the_repository_by_name(hub: HubServer, tmp_path: Path) -> None:
    source = "hf:NTUBarista/valor_trained_models"
    words = ["valorpp", source, "--out", "model"]
    code, said = imported(hub, tmp_path, *words)
    assert code == 0, said
    assert said.startswith("model: VALOR++ (released weights), 4,887,371 parameters, with R(2+1)D")
    kept = tmp_path / "hub/NTUBarista/valor_trained_models/model_VALOR++"
    record = json.loads((kept / "checkpoint_best.pt.hub.json").read_text())
    commit = hub.repositories["models/NTUBarista/valor_trained_models"].commit
    assert read_checkpoint(tmp_path / "model").released == {
        "model": "valorpp",
        "source": f"{source}/model_VALOR++/checkpoint_best.pt@{commit}",
        "sha256": record["sha256"],
    }
    words[1] = f"{source}/model_VALOR++/checkpoint_best.pt"
    assert imported(hub, tmp_path, *words, HF_HUB_OFFLINE="1")[0] == 0
    with (kept / "checkpoint_best.pt").open("ab") as file:
        file.write(b" ")
    with pytest.raises(PipelineError, match="was downloaded; delete the file to download it again"):
        read_released("valorpp", kept / "checkpoint_best.pt", VOCABULARY)


def test_an_ambiguous_or_missing_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["README.md", "b/model_VALOR++/checkpoint_best.pt", "model_VALOR++/checkpoint_best.pt"]
    monkeypatch.setattr(released, "list_hub_files", lambda reference: files)
    source = "hf:NTUBarista/valor_trained_models"
    with pytest.raises(PipelineError) as raised:
        released_file("valorpp", source)
    assert str(raised.value) == (
        "NTUBarista/valor_trained_models has 2 files 'checkpoint_best.pt' in a folder"
        " 'model_VALOR++' (found: b/model_VALOR++/checkpoint_best.pt,"
        " model_VALOR++/checkpoint_best.pt), but must have exactly one; pass the path of the"
        " file, hf:NTUBarista/valor_trained_models/PATH."
    )
    message = r"has no file 'checkpoint_best\.pt' in a folder 'model_VALOR\+' \(found: b/model_VAL"
    with pytest.raises(PipelineError, match=message):
        released_file("valorplus", source)


def test_offline_the_repository_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot be listed because HF_HUB_OFFLINE is set"):
        released_file("valorpp", "hf:NTUBarista/valor_trained_models")


COUNTS = {"train": 6, "val": 4, "test": 5}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Features in VALOR's layout and tables of a few videos of LLP's classes."""
    random = np.random.default_rng(0)
    shapes = {"CLAP/features": (64, 768), "CLIP/features": (10, 768), "st": (10, 512)}
    (tmp_path / "tables").mkdir()
    scored = []
    for split, count in COUNTS.items():
        names = [f"{split:_<9}{row:02d}_0_10" for row in range(count)]
        rows = ["filename\tevent_labels", *(f"{name}\tSpeech,Dog" for name in names)]
        (tmp_path / "tables" / SPLIT_TABLES[split]).write_text("\n".join(rows) + "\n")
        scored += [] if split == "train" else names
        for kind, shape in shapes.items():
            (tmp_path / kind).mkdir(parents=True, exist_ok=True)
            for name in names:
                np.save(tmp_path / kind / f"{name[:11]}.npy", random.standard_normal(shape))
    for table in EVENT_TABLES.values():
        events = [EventRow(name, 2, 8, 0) for name in scored]
        write_events(tmp_path / "tables" / table, events, VOCABULARY)
    return tmp_path


def test_released_weights_are_scored_and_ranked_like_trained_ones(
    data: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    model = data / "models" / "valorpp_released" / "seed87"
    file = saved(data / "checkpoint_best.pt", {"state_dict": in_parallel(state)})
    common = ["--annotations", str(data / "tables")]
    source = ["--layout", "valor", "--features", str(data), "--device", "cpu", "--threads", "1"]
    assert main(["import-checkpoint", "valorpp", str(file), "--out", str(model)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"{model}: VALOR++ (released weights), 4,887,371 parameters, with R(2+1)D"
    )
    words = ["predict", "--checkpoint", str(model), "--split", "val", "test", *source, *common]
    assert main([*words, "--out", str(model)]) == 0
    assert main(["evaluate-model", "--model", str(model), *common]) == 0
    trained = data / "models" / "han" / "seed0"
    options = ["epochs=1", "width=8", "feedforward=8"]
    words = ["train", "--method", "han", *source, *common, "--out", str(trained)]
    assert main([*words, *(word for option in options for word in ("--option", option))]) == 0
    capsys.readouterr()
    words = ["compare", "--models", str(model), str(trained), *common, "--out", str(data / "out")]
    for reference in ("han", "valorpp_released"):
        assert main([*words, "--reference", reference]) == 0
    board = capsys.readouterr().out.splitlines()
    row = next(line for line in board if line.startswith("| VALOR++ (released weights) "))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1:11] == [
        "CLAP, CLIP, R(2+1)D",
        "weak labels, segment pseudo-labels",
        "gate g, 0.5",
        "this run",
        "–",
        "–",
        "1",
        "5/5",
        "4.89 M",
        "–",
    ]
    assert f"- VALOR++ (released weights) (this run): {RELEASED_NOTE}." in board
    assert main([*words, "--reference", "han", "--dataset", "llp"]) == 0
    written = (data / "out" / "compare.md").read_text()
    beside = written.partition("## Differences to published results")[2].splitlines()
    row = next(line for line in beside if line.startswith("| VALOR++ (released weights) "))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["VALOR++", "LINK, Table I"]
    csv = (data / "out" / "compare.csv").read_text()
    assert "VALOR++ (released weights),test,1,5,5," in csv


def test_released_weights_and_a_training_of_the_same_method_are_two_rows(
    tmp_path: Path, state: State
) -> None:
    file = saved(tmp_path / "a.pt", state)
    folders = [tmp_path / "released", tmp_path / "valorpp"]
    import_released("valorpp", str(file), VOCABULARY, folders[0])
    checkpoint = read_checkpoint(folders[0])
    write_checkpoint(folders[1], replace(checkpoint, released={}))
    metrics = dict.fromkeys(METRICS, 1.0)
    ends = {metric: [0.0, 2.0] for metric in METRICS}
    classes: dict[str, dict[str, float]] = {modality: {} for modality in MODALITIES}
    evaluation = {
        "videos": 1,
        "metrics": dict.fromkeys(LEVELS, metrics),
        "intervals": dict.fromkeys(LEVELS, ends),
        "per_class": dict.fromkeys(LEVELS, classes),
    }
    for folder in folders:
        text = json.dumps({"val": evaluation, "test": evaluation})
        (folder / "metrics.json").write_text(text)
    (folders[1] / "curve.csv").write_text("epoch,seconds\n1,2\n")
    parsers = read_parsers(folders)
    assert list(parsers) == ["valorpp_released", "valorpp"]
    names = [group[0].display_name for group in parsers.values()]
    assert names == ["VALOR++ (released weights)", "VALOR++"]
