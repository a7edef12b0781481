"""Weights of the Hub in the workflow: a local rule fetches them, and the report names them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer, Repository
from workflow_runs import snakemake

pytestmark = pytest.mark.extended

FILE = "resources/hub/me/clip/weights.bin"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer({"models/me/clip": Repository({"weights.bin": b"w" * 5000})}) as server:
        yield server


def test_weights_are_fetched_by_a_rule_and_named_in_the_report(
    hub: HubServer, tmp_path: Path
) -> None:
    encoders = {"clip": {"weights": "hf:me/clip/weights.bin", "sha256": None}}
    values = {"preset": "demo", "encoders": encoders}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))

    options = ("--configfile", "my.yaml", "--cores", "1")
    offline = hub.environment(tmp_path / "cache", HF_HUB_OFFLINE="1")
    snakemake(tmp_path, *options, FILE, environment=offline, returns=1)
    assert (tmp_path / "logs/fetch_hub_file/me/clip/weights.bin.log").read_text() == (
        f"error: '{FILE}' is missing, but HF_HUB_OFFLINE is set; download"
        f" {hub.url}/me/clip/resolve/main/weights.bin on another machine and put it there, or unset"
        " HF_HUB_OFFLINE.\n"
    )
    assert hub.requests == []

    online = hub.environment(tmp_path / "cache")
    snakemake(tmp_path, *options, FILE, environment=online)
    assert (tmp_path / FILE).read_bytes() == b"w" * 5000
    assert (tmp_path / f"{FILE}.hub.json").is_file()
    assert "Nothing to be done" in snakemake(tmp_path, *options, FILE, environment=online)

    words = ("report", "--dry-run", "--printshellcmds")
    planned = snakemake(tmp_path, *options, *words, environment=online)
    commit = hub.repositories["models/me/clip"].commit
    (line,) = [each for each in planned.splitlines() if "pipeline report" in each]
    assert '"hub": {"hf:me/clip/weights.bin": {"repository": "me/clip"' in line
    assert f'"commit": "{commit}"' in line
