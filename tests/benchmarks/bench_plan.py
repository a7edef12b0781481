"""How long a plan takes and what memory it needs, from 240 videos to a million.

``python tests/benchmarks/bench_plan.py [FOLDER]`` writes tables and empty video files of each size
into FOLDER (default: a temporary one; making a million files takes minutes),
runs ``snakemake --dry-run`` on them and prints one row each: videos, shards, jobs, seconds, CPU
seconds, peak memory in MiB. With LLP's own tables in ../shared/llp they are the middle row's.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_names

LLP = REPOSITORY.parent / "shared" / "llp"
# Videos and shards; 64 shards of about 185 videos are the LLP preset's.
SIZES = {240: 2, 11_849: 64, 1_000_000: 1_000}


def write_tables(folder: Path, count: int) -> None:
    """Write tables of made-up names in LLP's proportions of training, validation and test."""
    folder.mkdir()
    names = [f"{index:011d}_{index % 300}_{index % 300 + 10}" for index in range(count)]
    bounds = {"train": (0, 0.844), "val": (0.844, 0.899), "test": (0.899, 1)}
    for split, table in SPLIT_TABLES.items():
        first, last = (round(bound * count) for bound in bounds[split])
        rows = (f"{name}\tSpeech\n" for name in names[first:last])
        (folder / table).write_text("filename\tevent_labels\n" + "".join(rows))
    rows = (f"{name}\t0\t10\tSpeech\n" for name in names[round(bounds["val"][0] * count) :])
    text = "filename\tonset\toffset\tevent_labels\n" + "".join(rows)
    for table in EVENT_TABLES.values():
        (folder / table).write_text(text)


def prepare(folder: Path, count: int, shards: int) -> None:
    """Make a run's folder: tables, an empty file for each video, the configuration."""
    annotations = folder / "annotations"
    (folder / "videos").mkdir(parents=True)
    if count == 11_849 and LLP.is_dir():
        annotations.symlink_to(LLP)
    else:
        write_tables(annotations, count)
    for table in SPLIT_TABLES.values():
        for name in read_names(annotations / table):
            os.close(os.open(folder / "videos" / f"{name}.mp4", os.O_CREAT))
    values = yaml.safe_load((REPOSITORY / "workflow/presets/demo.yaml").read_text())
    sources = {"annotations": str(annotations), "videos": str(folder / "videos")}
    values["dataset"] = {"name": "made-up", "source": "local", "shards": shards, **sources}
    (folder / "my.yaml").write_text(yaml.safe_dump(values))


def measure(folder: Path) -> tuple[int, float, float, float]:
    """Return jobs, seconds, CPU seconds and peak memory (MiB) of a dry run in the folder."""
    words = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "my.yaml", "--dry-run"]
    command = [sys.executable, "-m", "snakemake", *words, "--cores", "1", "--quiet", "rules"]
    begin, start = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    total = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    assert total is not None, done.stdout
    cpu = used.ru_utime + used.ru_stime - start.ru_utime - start.ru_stime
    return int(total[1]), seconds, cpu, used.ru_maxrss / 1024


def main() -> None:
    """Measure every size, the smallest first: the peak of all child processes only rises."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as temporary:
        print("videos", "shards", "jobs", "seconds", "CPU seconds", "peak MiB", sep="\t")
        for count, shards in SIZES.items():
            folder = Path(temporary) / str(count)
            prepare(folder, count, shards)
            jobs, seconds, cpu, peak = measure(folder)
            print(count, shards, jobs, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", sep="\t")


if __name__ == "__main__":
    main()
