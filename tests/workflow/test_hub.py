"""Weights of the Hub in the workflow: a local rule fetches them, and the report names them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub_server import REPOSITORY, HubServer, Repository

pytestmark = pytest.mark.extended

FILE = "resources/hub/me/clip/weights.bin"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer({"models/me/clip": Repository({"weights.bin": b"w" * 5000})}) as server:
        yield server


def snakemake(
    hub: HubServer, folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    return subprocess.run(
        [*command, "--configfile", "my.yaml", "--cores", "1", *words],
        cwd=folder,
        env=hub.environment(folder / "cache", **variables),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_weights_are_fetched_by_a_rule_and_named_in_the_report(
    hub: HubServer, tmp_path: Path
) -> None:
    encoders = {"clip": {"weights": "hf:me/clip/weights.bin", "sha256": None}}
    values = {"preset": "demo", "encoders": encoders}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))

    done = snakemake(hub, tmp_path, FILE, HF_HUB_OFFLINE="1")
    assert done.returncode != 0
    assert (tmp_path / "logs/fetch_hub_file/me/clip/weights.bin.log").read_text() == (
        f"error: '{FILE}' is missing, but HF_HUB_OFFLINE is set; download"
        f" {hub.url}/me/clip/resolve/main/weights.bin on another machine and put it there, or unset"
        " HF_HUB_OFFLINE.\n"
    )
    assert hub.requests == []

    done = snakemake(hub, tmp_path, FILE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / FILE).read_bytes() == b"w" * 5000
    assert (tmp_path / f"{FILE}.hub.json").is_file()
    assert "Nothing to be done" in snakemake(hub, tmp_path, FILE).stderr

    planned = snakemake(hub, tmp_path, "report", "--dry-run", "--printshellcmds")
    assert planned.returncode == 0, planned.stderr
    commit = hub.repositories["models/me/clip"].commit
    (line,) = [each for each in planned.stdout.splitlines() if "pipeline report" in each]
    assert '"hub": {"hf:me/clip/weights.bin": {"repository": "me/clip"' in line
    assert f'"commit": "{commit}"' in line
