"""Repositories on the Hub, served by this machine, each asked for by a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, Repository

from pipeline.core.errors import PipelineError
from pipeline.core.references import parse_hub_reference

SCRIPT = """
import sys
from pipeline.core.errors import PipelineError
from pipeline.core.references import parse_hub_reference
from pipeline.data.hub import fetch_snapshot
try:
    folder = fetch_snapshot(parse_hub_reference(sys.argv[1]), ["*.json", "data/**"])
except PipelineError as error:
    print("error:", error)
else:
    print(*sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    files = {"a.json": b"{}", "data/b.bin": b"12", "weights.bin": b"large"}
    with HubServer({"models/me/parser": Repository(files, ("main", "v1"))}) as server:
        yield server


def download(hub: HubServer, cache: Path, *words: str, **changes: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        env=hub.environment(cache, **changes),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_the_files_that_match_are_downloaded(hub, tmp_path):
    assert download(hub, tmp_path, "hf:me/parser") == "a.json data/b.bin"
    assert not any("weights.bin" in request for request in hub.requests)
    commit = hub.repositories["models/me/parser"].commit
    for revision in ("v1", commit):
        assert download(hub, tmp_path, f"hf:me/parser@{revision}") == "a.json data/b.bin"


def test_offline_takes_what_is_in_the_cache(hub, tmp_path):
    assert download(hub, tmp_path, "hf:me/parser") == "a.json data/b.bin"
    asked = len(hub.requests)
    offline = {"HF_HUB_OFFLINE": "1"}
    assert download(hub, tmp_path, "hf:me/parser", **offline) == "a.json data/b.bin"
    assert len(hub.requests) == asked
    assert download(hub, tmp_path / "other", "hf:me/parser", **offline) == (
        "error: me/parser is not in the cache, and HF_HUB_OFFLINE is set; unset it to download the"
        " repository."
    )


def test_a_dataset_is_not_a_model(hub, tmp_path):
    hub.repositories["datasets/me/data"] = Repository({"c.json": b"[]"})
    assert download(hub, tmp_path, "hf:datasets/me/data") == "c.json"
    assert "has no such repository" in download(hub, tmp_path, "hf:me/data")


def test_what_cannot_be_downloaded_is_one_sentence(hub, tmp_path):
    hub.repositories["models/me/gated"] = Repository({}, gated=True)
    said = {
        "me/parser@v2": "there is no such revision",
        "me/gated": "access must be requested",
        "me/none": f"{hub.url} has no such repository, or it is private",
    }
    for reference, why in said.items():
        answer = download(hub, tmp_path, f"hf:{reference}")
        assert answer.startswith(f"error: {reference.partition('@')[0]} ")
        assert f"cannot be downloaded ({why}" in answer
        assert "\n" not in answer
    hub.stop()
    answer = download(hub, tmp_path, "hf:me/parser")
    assert f"{hub.url} cannot be reached" in answer
    assert "check the network" in answer


def test_a_reference_has_an_owner_and_a_name():
    wrong = ["hf:", "hf:parser", "hf:me/parser@", "hf:../../etc", "hf:me/../x", "hf:me/x\n"]
    wrong += [f"hf:me/x@{revision}" for revision in ("../../x", "/x", "..", "-x", "a//b", "x/")]
    for text in wrong:
        with pytest.raises(PipelineError, match="must have the form hf:OWNER/NAME"):
            parse_hub_reference(text)
    for revision in ("main", "v1.0", "refs/pr/1", "0a" * 20, "my-branch"):
        assert parse_hub_reference(f"hf:me/x@{revision}").revision == revision
