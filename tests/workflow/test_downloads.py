"""Everything that a run downloads, by the workflow: tables, weights and videos, each once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import workflow_runs
import yaml
from clips import write_clip
from video_site import Folder, VideoSite, names_of
from workflow_runs import planned_jobs

from pipeline.data.annotations import SPLIT_TABLES

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.extended

WEIGHTS = "resources/weights/clip/weights.bin"
CONTENT = bytes(range(256)) * 100
TARGETS = ("manifest", "features")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[VideoSite]:
    video = write_clip(tmp_path / "video.mp4", seconds=4, fps=10)
    site = VideoSite(video.read_bytes())
    yield site
    site.stop()


def snakemake(folder: Path, *words: str, returns: int = 0) -> str:
    options = ("--configfile", "my.yaml", "--cores", "1", *words)
    return workflow_runs.snakemake(folder, *options, returns=returns)


def configure(folder: Path, site: VideoSite) -> None:
    """Serve the folder's tables and some weights, and write the configuration that asks for all."""
    for modality in ("audio", "visual"):
        header = "filename\tonset\toffset\tevent_labels\n"
        (folder / "tables" / f"AVVP_eval_{modality}.csv").write_text(header)
    site.files = {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
    site.files["weights.bin"] = CONTENT

    def source(name: str) -> dict[str, str]:
        digest = hashlib.sha256(site.files[name]).hexdigest()
        return {"url": site.url.replace("{id}", name), "sha256": digest}

    values = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    tables = {name: source(name) for name in site.files if name.startswith("AVVP")}
    values["dataset"] = {"name": "mine", "source": "local", "videos": "videos", "tables": tables}
    values["encoders"]["clip"] |= {"weights": WEIGHTS, **source("weights.bin")}
    quick = {"sleep_seconds": 0, "backoff_seconds": 0, "timeout_seconds": 1}
    values["download"] = {"url": site.url, **quick}
    (folder / "my.yaml").write_text(yaml.safe_dump(values))


def test_tables_weights_and_videos_are_fetched_once(site: VideoSite, tmp_path: Path) -> None:
    names = names_of(5)
    Folder(tmp_path, names, site)
    configure(tmp_path, site)
    part = tmp_path / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    site.moods |= {names[1][:11]: "private", names[2][:11]: "bot"}

    said = snakemake(tmp_path, "videos", WEIGHTS, "--retries", "2", returns=1)
    assert "stopped at '__________2_1_3', 3 of 5: the site blocks further requests" in said
    assert site.asked[names[2][:11]] == 1, "a run that was told to stop does not knock again"
    assert (tmp_path / "resources/annotations/AVVP_train.csv").is_file()
    missing = (tmp_path / "results/videos/missing.tsv").read_text().splitlines()[1:]
    statuses = [line.split("\t")[2] for line in missing]
    assert statuses == ["private", "rate_limited", "missing", "missing"]

    site.moods.pop(names[2][:11])
    asked = site.asked.copy()
    snakemake(tmp_path, "videos", WEIGHTS)
    again = {name: count for name, count in (site.asked - asked).items() if name[0] == "_"}
    assert again == {name[:11]: 1 for name in names[2:]}
    assert site.asked["AVVP_train.csv"] == 1
    assert (tmp_path / WEIGHTS).read_bytes() == CONTENT
    assert "bytes=1000-" in site.ranges

    site.stop()
    snakemake(tmp_path, "manifest", WEIGHTS)  # from here on there is no network
    manifest = (tmp_path / "results/manifest.tsv").read_text().splitlines()[1:]
    assert [bool(line.split("\t")[3]) for line in manifest] == [True, False, True, True, True]


def test_a_run_that_fetches_its_tables_leaves_the_next_one_nothing_to_do(
    site: VideoSite, tmp_path: Path
) -> None:
    """One command does all; where another table is asked for, one does all of that, too."""
    names = names_of(5)
    Folder(tmp_path, names, site)
    configure(tmp_path, site)
    (tmp_path / "videos").mkdir()
    for name in names:
        write_clip(tmp_path / f"videos/{name}.mp4", seconds=2, fps=5)
    values = yaml.safe_load((tmp_path / "my.yaml").read_text())
    values["dataset"] |= {"segments": 2, "shards": 1}
    demo = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    values["encoders"]["clip"] = demo["encoders"]["clip"]
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    assert planned(tmp_path)["fetch_annotations"] == len(SPLIT_TABLES)
    assert not (tmp_path / "resources").exists(), "a dry run fetches nothing"
    snakemake(tmp_path, *TARGETS)
    assert planned(tmp_path) == {}

    table = site.files["AVVP_train.csv"] + b"abcdefghijk_0_2\tSpeech\n"
    site.files["AVVP_train.csv"] = table
    tables = values["dataset"]["tables"]
    tables["AVVP_train.csv"]["sha256"] = hashlib.sha256(table).hexdigest()
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values))
    assert planned(tmp_path).keys() >= {"fetch_annotations", "segments", "encode_segments"}
    snakemake(tmp_path, *TARGETS)
    status = next((tmp_path / "results/features").glob("clip-*/1-of-1.status.tsv")).read_text()
    assert "abcdefghijk_0_2\tno\tmissing" in status
    site.stop()
    assert planned(tmp_path) == {}


def planned(folder: Path) -> dict[str, int]:
    """Return how many jobs of each rule a dry run plans."""
    return planned_jobs(snakemake(folder, "--dry-run", *TARGETS))


def test_the_demo_downloads_nothing(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    said = snakemake(tmp_path, "videos", "--dry-run", returns=1)
    assert "dataset.source is 'demo', which needs no videos" in said
