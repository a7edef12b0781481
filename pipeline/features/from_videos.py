"""A shard's videos to features in one job: some videos are decoded while others are encoded."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.background import run_ahead
from pipeline.core.shards import join_shards, read_shard, read_status, write_shard, write_status
from pipeline.features.encoders.base import Encoder
from pipeline.features.extract import encode_shard
from pipeline.media.options import Decoding
from pipeline.media.segments import run_shard
from pipeline.media.video_window import VideoWindow

# Videos decoded at a time. Their segments, 2.5 MB a video, are written into a temporary folder.
VIDEOS_AT_A_TIME = 64

# A shard file and its status table.
ShardFiles = tuple[Path, Path]


def encode_videos(
    videos: Sequence[VideoWindow],
    outputs: Mapping[str, ShardFiles],
    *,
    decoding: Decoding,
    encoders: Mapping[str, Encoder],
    workers: int,
) -> None:
    """Write every encoder's features of a shard's videos.

    The files are those of the stages ``segments`` and ``features``, byte for byte, where a batch
    size does not change the order of sums.

    Parameters
    ----------
    videos
        The shard's videos.
    outputs
        Files to write by encoder.
    decoding
        How videos are decoded, for all encoders.
    encoders
        Encoders by name.
    workers
        Number of decode processes.

    Raises
    ------
    PipelineError
        Decode processes cannot start, a video violates a policy that is ``fail``, or the
        segments do not suit an encoder.
    """
    with tempfile.TemporaryDirectory(prefix="avvp-") as name:
        folder = Path(name)

        def decode(chunk: tuple[int, Sequence[VideoWindow]]) -> ShardFiles:
            index, some = chunk
            files = shard_files(folder, f"segments-{index}")
            run_shard(some, decoding, workers, *files)
            return files

        parts: list[dict[str, ShardFiles]] = []
        chunks = list(enumerate(_chunks(videos)))
        for segments in run_ahead(decode, chunks, threads=1, ahead=1):
            written = {each: shard_files(folder, f"{each}-{len(parts)}") for each in encoders}
            for each, files in written.items():
                encode_shard(encoders[each], *segments, *files)
            segments[0].unlink()
            parts.append(written)
        for each, files in outputs.items():
            _join([part[each] for part in parts], files)


def _chunks(videos: Sequence[VideoWindow]) -> list[Sequence[VideoWindow]]:
    ordered = sorted(videos, key=lambda video: video.name)
    starts = range(0, len(ordered), VIDEOS_AT_A_TIME)
    return [ordered[start : start + VIDEOS_AT_A_TIME] for start in starts] or [[]]


def shard_files(folder: Path, name: str) -> ShardFiles:
    """Return the paths of a shard and its status table."""
    return folder / f"{name}.safetensors", folder / f"{name}.status.tsv"


def _join(parts: Sequence[ShardFiles], files: ShardFiles) -> None:
    write_shard(files[0], join_shards([read_shard(shard) for shard, _ in parts]))
    write_status(files[1], [row for _, status in parts for row in read_status(status)])
