"""The command ``parse``: parse files, write each one's folder, and list them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.shards import StatusRow, write_status
from pipeline.core.vocabulary import MODALITIES
from pipeline.inference.events import EMBED_BYTES, Parsed
from pipeline.inference.input_files import STATUS_FILE, list_files, printable, safe_names
from pipeline.inference.outputs import write_outputs
from pipeline.inference.page import write_index
from pipeline.inference.parser import Parser, guarded

logger = logging.getLogger(__name__)


def parse_files(
    given: Sequence[Path],
    parser: Parser,
    out: Path,
    overlap: int | None = None,
    workers: int = 1,
    timeout_seconds: float = 60.0,
    embed_bytes: int = EMBED_BYTES,
) -> list[Parsed]:
    """Parse files and write the results.

    Writes ``out/{name}/`` for every video, and ``out/status.tsv`` and ``out/index.html`` for this
    run. Folders of other videos are not touched.

    Parameters
    ----------
    given
        Media files, or folders of them.
    parser
        What parses them.
    out
        Output directory.
    overlap, workers, timeout_seconds
        See ``Parser.parse_many``.
    embed_bytes
        A page embeds its video up to this size.

    Returns
    -------
    list
        The parsed videos, by name.

    Raises
    ------
    PipelineError
        No video can be parsed.
    """
    paths = list_files(given)
    named = dict(zip(safe_names(paths), paths, strict=True))
    parsed: list[Parsed] = []
    failures: dict[str, ItemError] = {}
    for name, outcome in parser.parse_named(named, overlap, workers, timeout_seconds):
        if isinstance(outcome, Parsed):
            outcome = guarded(name, write_outputs, out / name, outcome, embed_bytes)
        if isinstance(outcome, ItemError):
            failures[name] = outcome
        else:
            logger.info("%s: %d s, events: %d", name, outcome.length, len(outcome.events))
            parsed.append(outcome)
    parsed.sort(key=lambda video: video.name)
    _write_statuses(out, named, parsed, failures)
    write_index(out, parsed, failures)
    if not parsed:
        raise PipelineError(_no_video(named, failures))
    return parsed


def status_row(parsed: Parsed) -> StatusRow:
    """Return a parsed video's row: its first problem's status, its notes, seconds per stream."""
    audio, visual = (parsed.seconds[modality] for modality in MODALITIES)
    return StatusRow(
        parsed.name,
        kept=True,
        status=parsed.status,
        detail=" ".join(parsed.notes),
        video_seconds=visual,
        audio_seconds=audio,
    )


def _write_statuses(
    out: Path,
    named: Mapping[str, Path],
    parsed: Sequence[Parsed],
    failures: Mapping[str, ItemError],
) -> None:
    left_out = [
        StatusRow(name, False, error.status, error.detail) for name, error in failures.items()
    ]
    write_status(out / STATUS_FILE, [*map(status_row, parsed), *left_out])
    for name, error in failures.items():
        logger.warning("'%s' is left out: %s (%s)", named[name], error.detail, error.status)


def _no_video(named: Mapping[str, Path], failures: Mapping[str, ItemError]) -> str:
    name = next(name for name in named if name in failures)
    error, others = failures[name], len(failures) - 1
    advice = "check that it plays elsewhere; the documentation's troubleshooting page has more"
    if error.status == Status.MISSING:
        advice = "check the path"
    too = {0: "", 1: ", nor can the other file"}.get(others, f", nor can the other {others} files")
    return f"'{printable(str(named[name]))}' cannot be parsed ({error}){too}; {advice}."
