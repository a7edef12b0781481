"""Videos a second that all cores decode to segments: what keeps a card busy."""

import tempfile
from pathlib import Path

from harness import CORES, REHEARSAL, rows_of_part
from llp_form import make_clips, rendered, run_jobs, segments_words

# Clips of each kind: some seconds of work for every core.
COUNT = 3 if REHEARSAL else 12 * CORES


def main() -> None:
    """Write a row a kind of clip and a way to use the cores."""
    rows = rows_of_part()
    for source in rendered():
        with rows.attempt(source.stem), tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            clips = make_clips(folder, COUNT, [source])
            ways = {
                f"one job with {CORES} processes": [("1-of-1", CORES)],
                f"{CORES} jobs side by side": [
                    (f"{index + 1}-of-{CORES}", 1) for index in range(CORES)
                ],
            }
            for way, jobs in ways.items():
                words = [segments_words(clips, folder, *job) for job in jobs]
                seconds, _ = run_jobs(words)
                size = {"bytes a clip": source.stat().st_size, "clips": COUNT}
                rate = {"seconds": seconds, "videos/s": COUNT / seconds}
                rows.add(f"{source.stem}, {way}", **size, **rate)


if __name__ == "__main__":
    main()
