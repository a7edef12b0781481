"""From clips to features with the commands of the rules, on shards of LLP's size.

One shard is encoded as the rules do it, both encoders' jobs one after another as each reserves the
card; the other by both at the same time. Snakemake's own time is not in it.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_encode import T
from harness import CORES, REHEARSAL, Rows, clap_spec, clip_spec, device, rows_of_part
from llp_form import (
    LLP_SHARDS,
    LLP_VIDEOS,
    Clips,
    make_clips,
    rendered,
    run_jobs,
    segments_words,
)
from safetensors.torch import save_file

from pipeline.core.files import sha256_of
from pipeline.core.shards import read_shard
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import EncoderOptions, EncodersOptions
from pipeline.inference.settings import InferenceSettings
from pipeline.media.options import DecodeOptions

BF16 = {"precision": "bf16", "batch_size": 20 if REHEARSAL else 320}
COUNT = 6 if REHEARSAL else 2 * LLP_VIDEOS // LLP_SHARDS
SHARDS = ("1-of-2", "2-of-2")
LINE = re.compile(r"(\d+) videos: read ([\d.]+) s, encode ([\d.]+) s, write ([\d.]+) s")


@dataclass(frozen=True)
class Bench:
    """A folder of segments and features, and the encoders."""

    folder: Path
    specs: tuple[EncoderOptions, ...]

    def words(self, spec: EncoderOptions, shard: str, reserves: bool) -> list[str]:
        """Return the words of the stage that encodes a shard."""
        fields = {"backend", "model", "weights", "sha256", "precision", "batch_size"}
        given = spec.model_dump(include=fields, exclude_none=True)
        options = [word for key, value in given.items() for word in option(key, value)]
        out = self.folder / f"{spec.encoder}-{shard}"
        return [
            *("features", "--encoder", spec.encoder, *options, "--device", str(device())),
            *(["--gpus", "1"] if reserves else []),
            *("--segments", str(self.folder / f"{shard}.safetensors")),
            *("--status-in", str(self.folder / f"{shard}.status.tsv")),
            *("--out", f"{out}.safetensors", "--status", f"{out}.status.tsv"),
        ]


def option(key: str, value: object) -> tuple[str, str]:
    """Return an option's two words."""
    return f"--{key.replace('_', '-')}", str(value)


def main() -> None:
    """Write the rows of decoding, encoding and what they mean for all of LLP."""
    rows = rows_of_part()
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        folder = Path(temporary)
        clips = make_clips(folder, COUNT, rendered())
        decode_rate = decode(rows, clips, folder)
        # CLAP's tokenizer is not at hand, without which only random weights have captions.
        specs = specs_in(folder)[0], clap_spec(folder / "clap", **BF16)
        bench = Bench(folder, specs)
        shares = [len(read_shard(folder / f"{shard}.safetensors").names) for shard in SHARDS]
        turns = [encode(rows, bench, [spec], SHARDS[0], shares[0]) for spec in bench.specs]
        together = encode(rows, bench, list(bench.specs), SHARDS[1], shares[1])
        from_videos(rows, bench, clips)
    # A shard of LLP has about as many videos as these, so that a job starts as often.
    rows.add("all of LLP, computed: decoding alone", minutes=LLP_VIDEOS / decode_rate / 60)
    for name, seconds in (
        ("one job after another", sum(each.seconds for each in turns) / shares[0]),
        ("both encoders at once", together.seconds / shares[1]),
        ("one after another, without starts", sum(each.inside for each in turns) / shares[0]),
    ):
        rows.add(f"all of LLP, computed: encoding, {name}", minutes=seconds * LLP_VIDEOS / 60)


def decode(rows: Rows, clips: Clips, folder: Path) -> float:
    """Decode both shards side by side on all cores; return videos a second."""
    workers = max(1, CORES // len(SHARDS))
    words = [segments_words(clips, folder, shard, workers) for shard in SHARDS]
    seconds, _ = run_jobs(words)
    name = f"segments, {len(SHARDS)} jobs of {workers} processes"
    rows.add(name, videos=COUNT, seconds=seconds, **{"videos/s": COUNT / seconds})
    return COUNT / seconds


def specs_in(folder: Path) -> tuple[EncoderOptions, ...]:
    """Return the encoders in bf16, whose weights are files, as they are in earnest."""
    specs = clip_spec(**BF16), clap_spec(folder / "clap", **BF16)
    return specs if REHEARSAL else tuple(map(with_file, specs, [folder] * len(specs)))


def with_file(spec: EncoderOptions, folder: Path) -> EncoderOptions:
    """Return an encoder whose random weights have become a file."""
    path = folder / f"{spec.encoder}.safetensors"
    encoder: Any = load_encoder(spec, "cpu")
    state = encoder._model.module.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return spec.model_copy(update={"weights": str(path), "sha256": sha256_of(path)})


def from_videos(rows: Rows, bench: Bench, clips: Clips) -> None:
    """Decode and encode all clips in one job, as with `dataset.encode_while_decoding`."""
    clip, clap = map(named, bench.specs)
    settings = InferenceSettings(
        segments=T,
        untrimmed=False,
        decode=DecodeOptions(frame_size=64) if REHEARSAL else DecodeOptions(),
        encoders=EncodersOptions(clip=clip, clap=clap),
        classes=(),
    )
    words = ["encode-videos", "--settings", settings.model_dump_json(), *clips.words]
    words += ["--shard", "1-of-1", "--workers", str(CORES), "--device", str(device())]
    seconds, _ = run_jobs([[*words, "--gpus", "1", "--out", str(bench.folder / "features")]])
    figures = {"videos": COUNT, "seconds": seconds, "videos/s": COUNT / seconds}
    rows.add("decoding and both encoders in one job", **figures)


def named(spec: EncoderOptions) -> EncoderOptions:
    """Return an encoder whose weights have a checksum, as those of a configuration."""
    checksum = sha256_of(spec.weights_path) if spec.needs_sha256 else spec.sha256
    return spec.model_copy(update={"sha256": checksum})


@dataclass(frozen=True)
class Took:
    """Seconds of the jobs of one shard, and those of encoding and writing alone."""

    seconds: float
    inside: float


def encode(rows: Rows, bench: Bench, specs: list[EncoderOptions], shard: str, videos: int) -> Took:
    """Encode a shard with encoders side by side; return what it took until the last has ended."""
    reserves = len(specs) == 1
    seconds, logs = run_jobs([bench.words(spec, shard, reserves) for spec in specs])
    parts, longest = {}, 0.0
    for spec, log in zip(specs, logs, strict=True):
        if match := LINE.search(log):
            reading, encoding, writing = map(float, match.groups()[1:])
            longest = max(longest, encoding + writing)
            parts[spec.encoder] = {"read": reading, "encode": encoding, "write": writing}
            parts[spec.encoder]["start"] = seconds - encoding - writing
    name = " and ".join(spec.encoder for spec in specs)
    way = "reserving the card" if reserves else "at once"
    rows.add(f"features, {name}, {way}", videos=videos, seconds=seconds, of_them=parts)
    return Took(seconds, longest)


if __name__ == "__main__":
    main()
