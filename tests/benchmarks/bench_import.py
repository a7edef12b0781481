"""Import of a simulated release of LLP's size: wall time, CPU time, peak memory.

    python tests/benchmarks/bench_import.py [--videos 11849] [--folder DIR] [--unpacked]

Writes archives of VALOR's form (CLIP features and labels, CLAP maps and labels: four arrays per
video) and, with --uwav, of UWAV's, then imports them with `import-features`. The names are those of
LLP's tables where ../shared/llp has them. Archives in DIR are used again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests/unit")]

from released import Release, simulated_names, simulated_truth

from pipeline.core.shards import read_status
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, read_names

SHARED = REPOSITORY.parent / "shared" / "llp"
# Distinct videos; the others repeat their arrays, which no step of the import can tell.
DISTINCT = 64


def names_and_tables(folder: Path, count: int) -> tuple[list[str], Path]:
    tables = [*SPLIT_TABLES.values(), *EVENT_TABLES.values()]
    if count == 11_849 and all((SHARED / table).is_file() for table in tables):
        return [
            name for table in SPLIT_TABLES.values() for name in read_names(SHARED / table)
        ], SHARED
    names = simulated_names(count)
    thirds = {split: names[index::3] for index, split in enumerate(SPLIT_TABLES)}
    Release(simulated_truth(names)).write_tables(folder / "annotations", thirds)
    return names, folder / "annotations"


def write_archives(folder: Path, names: list[str], with_uwav: bool) -> None:
    distinct = simulated_names(DISTINCT)
    release = Release(simulated_truth(distinct))
    members = release.valor() | (release.uwav() if with_uwav else {})
    for archive, files in members.items():
        path = folder / f"{archive}.zip"
        if path.is_file():
            continue
        part = path.with_suffix(".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for inside in dict.fromkeys(name.rpartition("/")[0] for name in files):
                rows = [files.get(f"{inside}/{name[:11]}.npy", b"") for name in distinct]
                if not all(rows):  # the class texts
                    for name in files:
                        if name.startswith(f"{inside}/"):
                            file.writestr(name, files[name])
                    continue
                for index, name in enumerate(names):
                    file.writestr(f"{inside}/{name[:11]}.npy", rows[index % DISTINCT])
        part.rename(path)


def unpack(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        target = folder / "unpacked" / (path.stem if path.stem.startswith("LLP") else "")
        if not (folder / "unpacked" / path.stem).is_dir():
            with zipfile.ZipFile(path) as file:
                file.extractall(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=11_849)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--uwav", action="store_true")
    parser.add_argument("--unpacked", action="store_true", help="folders instead of archives")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names, tables = names_and_tables(folder, arguments.videos)
        write_archives(folder, names, arguments.uwav)
        if arguments.unpacked:
            unpack(folder)
        source = str(folder / "unpacked" if arguments.unpacked else folder)
        words = [sys.executable, "-m", "pipeline", "import-features", "--valor", source]
        words += ["--uwav", source] if arguments.uwav else []
        words += ["--annotations", str(tables), "--shards", str(arguments.shards)]
        out = Path(temporary) / "features"
        clock = time.monotonic()
        subprocess.run(
            [*words, "--out", str(out)],
            check=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        wall = time.monotonic() - clock
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = [row for path in out.glob("clip-*/*.status.tsv") for row in read_status(path)]
        print(
            json.dumps(
                {
                    "videos": len(names),
                    "kept": sum(row.kept for row in rows),
                    "arrays_per_video": 6 if arguments.uwav else 4,
                    "archive_mib": round(
                        sum(path.stat().st_size for path in folder.glob("*.zip")) / 2**20
                    ),
                    "wall_seconds": round(wall, 1),
                    "user_seconds": round(used.ru_utime, 1),
                    "system_seconds": round(used.ru_stime, 1),
                    "peak_mib": round(used.ru_maxrss / 1024),
                }
            )
        )


if __name__ == "__main__":
    main()
