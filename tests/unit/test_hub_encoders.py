"""Encoders of the Hub: parsing fetches them once, and what is made of them says which they were."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from clips import write_clip
from documents import PAGES, REPOSITORY, blocks, stage_words
from hub_server import HubServer, Repository
from small_encoders import laion_checkpoint, small_roberta, write_tokenizer
from small_encoders import write_clip as write_clip_model

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.core.references import HubReference, hub_folder
from pipeline.data.hub import pinned_record, read_record
from pipeline.features.encoders import clap as clap_module
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import encoder_options
from pipeline.features.extract import features_meta

CLIP = "hf:timm/small_clip/open_clip_model.safetensors"
CLAP = "hf:lukewys/small_clap/630k-fusion-best.pt"
FILES = {
    "timm/small_clip/open_clip_model.safetensors",
    "lukewys/small_clap/630k-fusion-best.pt",
    "FacebookAI/small-roberta/vocab.json",
    "FacebookAI/small-roberta/merges.txt",
}
# The files that the preset llp names, and the small models in their place.
PUBLISHED = {
    "timm/vit_large_patch14_clip_224.openai/open_clip_model.safetensors": "tiny.safetensors",
    "lukewys/laion_clap/630k-fusion-best.pt": "clap.pt",
    "FacebookAI/roberta-base/vocab.json": "vocab.json",
    "FacebookAI/roberta-base/merges.txt": "merges.txt",
}
# laion_clap's text tower has the size of roberta-base, whatever the weights: make it small.
SCRIPT = """
import sys
sys.path.insert(0, {helpers!r})
from small_encoders import small_roberta
from pipeline.features.encoders import clap
clap._roberta_config = lambda: small_roberta({size})
"""
COMMAND = "from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
# The preset with small models, then a documented command and a line of Python.
DOCUMENTED = """
import json
from pathlib import Path
from pipeline.cli import main
from pipeline.config import load
load.preset_folder = lambda: Path(sys.argv[1])
assert main(json.loads(sys.argv[2])) == 0
exec(sys.argv[3])
"""
API = """
import pipeline
parser = pipeline.zero_shot(["a bell", "a dog"], config=sys.argv[1], device="cpu")
print(parser.parse(sys.argv[2]).probabilities["audio"].shape)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models in the form of those that the llp preset names."""
    folder = tmp_path_factory.mktemp("models")
    write_clip_model(folder)
    size = write_tokenizer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clap_module, "_roberta_config", lambda: small_roberta(size))
        drawn = encoder_options("clap", model="HTSAT-tiny", backend="laion_clap", weights="random")
        state = load_encoder(drawn, "cpu")._model.module.state_dict()
    torch.save(laion_checkpoint(state), folder / "clap.pt")
    (folder / "size").write_text(str(size))
    encoders = {
        "clip": {"model": str(folder / "tiny.json"), "weights": CLIP},
        "clap": {"weights": CLAP, "tokenizer": "hf:FacebookAI/small-roberta"},
    }
    values = {"preset": "llp", "decode": {"frame_size": 32}, "encoders": encoders}
    (folder / "small.yaml").write_text(yaml.safe_dump(values))
    write_clip(folder / "clip.mp4", seconds=4)
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[HubServer]:
    kept = ("merges.txt", "vocab.json", "clap.pt", "tiny.safetensors")
    names = dict(zip(sorted(FILES), kept, strict=True)) | PUBLISHED
    with HubServer() as server:
        for file, name in names.items():
            owner, repository, path = file.split("/")
            content = (models / name).read_bytes()
            found = server.repositories.setdefault(
                f"models/{owner}/{repository}", Repository({}, large=(path,))
            )
            found.files[path] = content
        yield server


def run(
    script: str, models: Path, hub: HubServer, folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    size = int((models / "size").read_text())
    begin = SCRIPT.format(helpers=str(Path(__file__).parent), size=size)
    cache = {"XDG_CACHE_HOME": str(folder / "cache"), "AVVP_HUB": "", **variables}
    return subprocess.run(
        [sys.executable, "-c", begin + script, *words],
        cwd=folder,
        env=hub.environment(folder / "hf", **cache),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_parsing_fetches_the_encoders_once(models, hub, tmp_path):
    clip, config = str(models / "clip.mp4"), str(models / "small.yaml")
    words = ["parse", clip, "--config", config, "--classes", "a bell, a dog", "--out", "out"]
    done = run(COMMAND, models, hub, tmp_path, *words, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/clip/parsed.json").is_file()
    asked_for = {each.path.split("/resolve/")[0].removeprefix("/") for each in hub.seen}
    assert asked_for >= {"timm/small_clip", "lukewys/small_clap", "FacebookAI/small-roberta"}
    assert not [path for path in asked_for if path.startswith("api/")], "nothing else is asked for"
    kept = tmp_path / "cache/avvp/hub"
    found = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert found == FILES | {f"{file}.hub.json" for file in FILES}
    record = read_record(kept / "lukewys/small_clap/630k-fusion-best.pt")
    assert record.sha256 == sha256_of(models / "clap.pt")
    assert record.commit == hub.repositories["models/lukewys/small_clap"].commit
    assert " MiB in " in done.stderr, "progress"
    assert not (tmp_path / "resources").exists()
    asked = len(hub.seen)
    done = run(API, models, hub, tmp_path, config, clip, HF_HUB_OFFLINE="1")
    assert done.stdout == "(4, 2)\n", done.stderr
    assert len(hub.seen) == asked


def test_the_documented_command_with_published_encoders_runs(models, hub, tmp_path):
    """As written, against a local Hub, with small models under the published models' names."""
    found = [block for page in PAGES for block in blocks(page)]
    every = [stage_words(each) for block in found for each in block.commands]
    commands = [words for words in every if "--classes" in words]
    python = "".join(block.text for block in found if block.language == "python")
    lines = re.findall(r'^pipeline\.zero_shot.*preset="llp".*$', python, re.MULTILINE)
    forms = {tuple(words[:5] + words[6:7]) for words in commands}
    assert forms == {("parse", "clip.mp4", "--preset", "llp", "--classes", "--out")}
    assert len(set(lines)) == 1
    text = (REPOSITORY / "workflow/presets/llp.yaml").read_text()
    text = text.replace("model: ViT-L-14-quickgelu", f"model: {models / 'tiny.json'}")
    (tmp_path / "llp.yaml").write_text(text.replace("frame_size: 224", "frame_size: 32"))
    (tmp_path / "clip.mp4").write_bytes((models / "clip.mp4").read_bytes())
    given = [str(tmp_path), json.dumps(commands[0]), f"import pipeline\n{lines[0]}"]
    done = run(DOCUMENTED, models, hub, tmp_path, *given)
    assert done.returncode == 0, done.stderr
    asked_for = {each.path.split("/resolve/")[0].removeprefix("/") for each in hub.seen}
    assert asked_for >= {path.rpartition("/")[0] for path in PUBLISHED}
    assert (tmp_path / commands[0][-1] / "clip/index.html").is_file()


def test_the_preset_says_what_to_put_where_offline(models, hub, tmp_path):
    words = ["parse", str(models / "clip.mp4"), "--preset", "llp", "--classes", "a dog"]
    done = run(COMMAND, models, hub, tmp_path, *words, "--out", "out", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    repository = "timm/vit_large_patch14_clip_224.openai"
    place = tmp_path / "cache/avvp/hub" / repository / "open_clip_model.safetensors"
    assert done.stderr == (
        f"error: '{place}' is missing, but HF_HUB_OFFLINE is set; download"
        f" {hub.url}/{repository}/resolve/main/open_clip_model.safetensors on another machine and"
        " put it there, or unset HF_HUB_OFFLINE.\n"
    )


@pytest.mark.parametrize("mark", ["config.yaml", "Snakefile", ".snakemake", "resources/hub"])
def test_a_run_folder_keeps_files_of_the_hub(tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVVP_HUB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert hub_folder() == Path("/cache/avvp/hub")
    (tmp_path / mark).mkdir(parents=True)
    assert hub_folder() == Path("resources/hub")
    monkeypatch.setenv("AVVP_HUB", "/mine")
    assert hub_folder() == Path("/mine")


def test_features_say_which_weights_of_the_hub_they_are_of(models, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("AVVP_HUB", str(tmp_path))
    spec = encoder_options("clip", model=str(models / "tiny.json"), weights=CLIP)
    with pytest.raises(PipelineError, match=rf"is missing; run `avvp fetch {CLIP} --out "):
        load_encoder(spec, "cpu")
    path = spec.weights_path
    path.parent.mkdir(parents=True)
    path.write_bytes((models / "tiny.safetensors").read_bytes())
    named = spec.fingerprint("0123456789")
    encoder = load_encoder(spec, "cpu")
    assert "accepted unverified" in caplog.text
    meta = features_meta(encoder, {"segments": "10", "fingerprint": "0123456789"})
    assert (meta["weights"], meta["weights_sha256"]) == (CLIP, sha256_of(path))
    assert meta["fingerprint"] == named
    local = spec.model_copy(update={"weights": str(path)})
    meta = features_meta(load_encoder(local, "cpu"), {"segments": "10", "fingerprint": "0" * 10})
    assert "weights_sha256" not in meta
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PipelineError, match="have sha256"):
        load_encoder(spec, "cpu")


def test_a_file_of_another_revision_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AVVP_HUB", str(tmp_path))
    reference = HubReference("me/model", "weights.bin", "v1")
    reference.path.parent.mkdir(parents=True)
    reference.path.write_bytes(b"weights")
    pinned_record(reference)
    with pytest.raises(PipelineError, match=r"is hf:me/model/weights\.bin@v1, but hf:me/model/w"):
        pinned_record(HubReference("me/model", "weights.bin"))
