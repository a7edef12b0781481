"""Whether memory grows with the number of videos: a worker's and the stage's peak over a shard.

``python tests/benchmarks/memory_decode.py [200 2000]`` decodes that many links to one small clip,
with the usual recycling of workers and with one worker for all, and prints peaks in MiB.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "unit")]

from clips import write_clip

from pipeline.media import worker
from pipeline.media.options import Decoding
from pipeline.media.segments import decode_video
from pipeline.media.video_window import VideoWindow

DECODING = Decoding(segments=2, frame_size=32)


def decoded_rss(row: VideoWindow) -> int:
    """Decode a video and return the worker's resident pages in KiB, its peak so far."""
    decode_video(row, DECODING)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(count: int, recycle_after: int) -> None:
    """Print the workers' resident memory after their first 50 videos and at its highest."""
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", seconds=2)
        rows = [VideoWindow(f"v{n}_0_2", str(clip), 0.0, 2.0) for n in range(count)]
        peaks = [rss for _, rss in worker.run_isolated(decoded_rss, rows, 1, 20.0, recycle_after)]
    early, highest = (value / 1024 for value in (peaks[min(49, count - 1)], max(peaks)))
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(count, recycle_after, f"{early:.1f}", f"{highest:.1f}", f"{ours:.1f}", sep="\t")


def main() -> None:
    """Measure each number of videos in a process of its own."""
    if len(sys.argv) == 3 and sys.argv[1] == "--one":
        measure(*(int(word) for word in sys.argv[2].split(",")))
        return
    counts = [int(word) for word in sys.argv[1:]] or [200, 2000]
    print("videos", "recycled after", "worker at 50", "worker peak", "stage peak", sep="\t")
    for count in counts:
        for recycle_after in (worker.RECYCLE_AFTER, count):
            words = [sys.executable, __file__, "--one", f"{count},{recycle_after}"]
            subprocess.run(words, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    import memory_decode  # workers import functions by name, and not from the main module

    memory_decode.main()
