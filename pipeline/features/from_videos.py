"""A shard's videos to features in one job: some videos are decoded while others are encoded."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class FeaturesFromVideos:
    """How a shard's videos become features.

    Attributes
    ----------
    decoding
        How videos are decoded, for all encoders.
    encoders
        Encoders by name.
    workers
        Number of decode processes.
    """

    decoding: Decoding
    encoders: Mapping[str, Encoder]
    workers: int

    def encode(self, videos: Sequence[VideoWindow], outputs: Mapping[str, ShardFiles]) -> None:
        """Write every encoder's features of a shard's videos.

        The files are those of the stages ``segments`` and ``features``, byte for byte, where a
        batch size does not change the order of sums.

        Parameters
        ----------
        videos
            The shard's videos.
        outputs
            Files to write by encoder.

        Raises
        ------
        PipelineError
            Decode processes cannot start, a video violates a policy that is ``fail``, or the
            segments do not suit an encoder.
        """
        with tempfile.TemporaryDirectory(prefix="avvp-") as name:
            folder = Path(name)
            chunks = list(enumerate(_chunks(videos)))

            def decode(chunk: tuple[int, Sequence[VideoWindow]]) -> ShardFiles:
                index, some = chunk
                files = shard_files(folder, f"segments-{index}")
                run_shard(some, self.decoding, self.workers, *files)
                return files

            parts: list[dict[str, ShardFiles]] = []
            for segments in run_ahead(decode, chunks, threads=1, ahead=1):
                parts.append(self._encode_chunk(folder, len(parts), segments))
                segments[0].unlink()
            for encoder, files in outputs.items():
                _join([part[encoder] for part in parts], files)

    def _encode_chunk(
        self, folder: Path, index: int, segments: ShardFiles
    ) -> dict[str, ShardFiles]:
        written = {}
        for name, encoder in self.encoders.items():
            written[name] = shard_files(folder, f"{name}-{index}")
            encode_shard(encoder, *segments, *written[name])
        return written


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
