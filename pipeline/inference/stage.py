"""The command ``parse``: parse files, write each one's folder, and list them."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.shards import StatusRow, write_status
from pipeline.core.vocabulary import MODALITIES
from pipeline.core.wording import counted
from pipeline.inference.events import EMBED_BYTES, Parsed
from pipeline.inference.input_files import STATUS_FILE, InputFiles, printable
from pipeline.inference.outputs import write_outputs
from pipeline.inference.page import write_index
from pipeline.inference.parser import Parser, guarded
from pipeline.inference.previous import read_previous

logger = logging.getLogger(__name__)


def parse_files(
    files: InputFiles,
    parser: Parser,
    out: Path,
    overlap: int | None = None,
    workers: int = 1,
    timeout_seconds: float = 60.0,
    embed_bytes: int = EMBED_BYTES,
    redo: bool = False,
) -> list[Parsed]:
    """Parse files and write the results.

    Writes ``out/{name}/`` for every video, and ``out/status.tsv`` and ``out/index.html`` for this
    run. A video whose folder has the result of an earlier run with the same settings is not parsed
    again. Folders of other videos are not touched.

    Parameters
    ----------
    files
        What to parse, from ``input_files.find_files``.
    parser
        What parses them.
    out
        Output directory.
    overlap, workers, timeout_seconds
        See ``Parser.parse_many``.
    embed_bytes
        A page embeds its video up to this size.
    redo
        Whether to parse again what was parsed before.

    Returns
    -------
    list
        The parsed videos, by name.

    Raises
    ------
    PipelineError
        No video can be parsed.
    """
    previous = {} if redo else read_previous(files.named, out, parser, overlap, embed_bytes)
    if previous:
        logger.info(
            "%d of %d videos were parsed before with the same settings; --redo parses them again",
            len(previous),
            len(files.named),
        )
    named = {name: path for name, path in files.named.items() if name not in previous}
    parsed = list(previous.values())
    failures: dict[str, ItemError] = {}
    outcomes = parser.parse_named(named, overlap, workers, timeout_seconds) if named else ()
    for name, outcome in outcomes:
        if isinstance(outcome, Parsed):
            outcome = guarded(name, write_outputs, out / name, outcome, embed_bytes)
        if isinstance(outcome, ItemError):
            failures[name] = outcome
        else:
            logger.info("%s: %d s, events: %d", name, outcome.length, len(outcome.events))
            parsed.append(outcome)
    parsed.sort(key=lambda video: video.name)
    left_out = {**failures, **files.passed_over}
    write_status(out / STATUS_FILE, [*map(status_row, parsed), *_rows_of(left_out)])
    write_index(out, parsed, left_out)
    if not parsed:
        raise PipelineError(_no_video(named, failures))
    for name, error in failures.items():
        if error.status == Status.MISSING:
            continue  # said when the files were found
        logger.warning(
            "'%s' is left out: %s (%s)", printable(str(named[name])), error.detail, error.status
        )
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


def _rows_of(left_out: Mapping[str, ItemError]) -> Iterator[StatusRow]:
    for name, error in left_out.items():
        yield StatusRow(name, False, error.status, error.detail)


def _no_video(named: Mapping[str, Path], failures: Mapping[str, ItemError]) -> str:
    name = next(name for name in named if name in failures)
    error, others = failures[name], len(failures) - 1
    too = f", nor can {counted(others, 'other file')}" if others else ""
    return (
        f"'{printable(str(named[name]))}' cannot be parsed ({error}){too}; check that it plays"
        " elsewhere; the documentation's troubleshooting page has more."
    )
