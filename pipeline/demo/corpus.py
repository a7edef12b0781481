"""Write the demo corpus: MP4 files, annotation tables in LLP's formats, and the ground truth."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import av

from pipeline.core.errors import ItemError, PipelineError
from pipeline.core.files import atomic_path, child_path, fingerprint, write_json, write_text
from pipeline.core.progress import track
from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, FULL_TABLE, SPLIT_TABLES, EventRow, write_events
from pipeline.demo import CORPUS_VERSION
from pipeline.demo.scenes import CORPUS, FRAME_RATE, SIDE, draw_frames, mix_sound
from pipeline.demo.scripts import DEMO_SPLITS, VideoScript, write_scripts
from pipeline.demo.synthesis import RATE
from pipeline.media.worker import run_isolated

# Without B-frames the file needs no edit list; without threads the bytes are reproducible.
VIDEO_OPTIONS = {"preset": "superfast", "crf": "28", "bf": "0", "threads": "1"}
AUDIO_BITS = 96_000
AUDIO_OPTIONS = {"aac_coder": "fast", "threads": "1"}
# Timeout per video; rendering takes a second or two on one core.
RENDER_SECONDS = 300.0


def make_corpus(folder: Path, seed: int, counts: dict[str, int], workers: int) -> None:
    """Write a corpus: ``videos/*.mp4``, ``annotations/*.csv``, ``corpus.json``, ``dense.json``.

    Existing complete videos of the same script are reused. The tables are written last, so if
    they exist, all videos do.

    Parameters
    ----------
    folder
        Output folder.
    seed
        The same seed and counts give the same corpus.
    counts
        Split to number of videos.
    workers
        Number of rendering processes.

    Raises
    ------
    PipelineError
        A count or ``workers`` is below 1, or a video cannot be rendered or written.
    """
    for name, value in {**counts, "workers": workers}.items():
        if value < 1:
            raise PipelineError(f"demo option '{name}' is {value}; must be at least 1.")
    scripts = write_scripts(seed, counts)
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    rendered = run_isolated(partial(render_video, videos), scripts, workers, RENDER_SECONDS)
    for index, outcome in track(rendered, len(scripts), "demo"):
        if isinstance(outcome, ItemError):
            raise PipelineError(
                f"'{scripts[index].filename}' could not be rendered ({outcome.detail}); rerun to "
                "render the missing videos."
            )
    write_demo_tables(folder / "annotations", scripts, read_vocabulary())
    write_json(folder / "dense.json", dense_annotations(scripts, read_vocabulary()))
    truth = {"seed": seed, "counts": counts, "version": CORPUS_VERSION}
    write_json(folder / "corpus.json", truth | {"videos": [asdict(script) for script in scripts]})


def render_video(folder: Path, script: VideoScript) -> None:
    """Write one video as ``folder/{filename}.mp4``, unless it already exists."""
    path = child_path(folder, f"{script.filename}.mp4")
    mark = fingerprint([CORPUS_VERSION, asdict(script), asdict(CORPUS)])
    if _is_rendered(path, mark):
        return
    # Absolute, because a relative name may start with '-'.
    with (
        atomic_path(path.resolve()) as temporary,
        av.open(str(temporary), "w", "mp4", {"fflags": "+bitexact"}) as container,
    ):
        container.metadata["comment"] = mark
        _encode(container, script)


def write_demo_tables(folder: Path, scripts: Sequence[VideoScript], vocabulary: Vocabulary) -> None:
    """Write LLP's six tables: weak labels of all splits, events of validation and test only."""
    for split in DEMO_SPLITS:
        chosen = [script for script in scripts if script.split == split]
        _write_weak_table(folder / SPLIT_TABLES[split], chosen)
    _write_weak_table(folder / FULL_TABLE, scripts)
    dense = [script for script in scripts if script.split != "train"]
    for modality, name in EVENT_TABLES.items():
        events = [
            EventRow(script.filename, onset, offset, vocabulary.index(event.label))
            for script in dense
            for event in script.events
            for onset, offset in event.runs(modality)
        ]
        write_events(folder / name, events, vocabulary)


def dense_annotations(
    scripts: Sequence[VideoScript], vocabulary: Vocabulary
) -> dict[str, dict[str, Any]]:
    """Return what is both heard and seen in every video, in UnAV-100's format.

    A corpus of another seed can train a teacher with it (``data.unav``). In the LLP-like tables
    training videos have weak labels only.
    """
    subsets = {"train": "train", "val": "validation", "test": "test"}
    database = {}
    for script in scripts:
        annotations = [
            {
                "segment": [max(heard[0], seen[0]), min(heard[1], seen[1])],
                "label": event.label,
                "label_id": vocabulary.index(event.label),
            }
            for event in script.events
            for heard in event.audible
            for seen in event.visible
            if max(heard[0], seen[0]) < min(heard[1], seen[1])
        ]
        database[script.filename] = {
            "duration": script.seconds,
            "subset": subsets[script.split],
            "annotations": annotations,
        }
    return {"database": database}


def _encode(container: av.container.OutputContainer, script: VideoScript) -> None:
    video = container.add_stream("libx264", rate=FRAME_RATE, options=VIDEO_OPTIONS)
    video.width = video.height = SIDE
    video.pix_fmt = "yuv420p"
    audio = container.add_stream("aac", rate=RATE, layout="mono", options=AUDIO_OPTIONS)
    audio.bit_rate = AUDIO_BITS
    sound = mix_sound(script)
    for index, pixels in enumerate(draw_frames(script)):
        if index % FRAME_RATE == 0:
            start = index // FRAME_RATE * RATE
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + RATE], "fltp", "mono")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(audio.encode(frame))
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
    container.mux(audio.encode(None))
    container.mux(video.encode(None))


def _is_rendered(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    try:
        with av.open(str(path.resolve())) as container:
            return container.metadata.get("comment") == mark
    except av.FFmpegError:
        return False


def _write_weak_table(path: Path, scripts: Iterable[VideoScript]) -> None:
    rows = [f"{script.filename}\t{','.join(script.labels)}" for script in scripts]
    write_text(path, "\n".join(["filename\tevent_labels", *rows]) + "\n")
