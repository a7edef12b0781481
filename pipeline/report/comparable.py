"""Read trained parsers and check that they are comparable: same features, same test videos."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.evaluation.evaluate import parsed_videos
from pipeline.report.trained import TrainedParser, read_parsers

# The split whose scores are compared.
SPLIT = "test"
RELEASED_NOTE = "trained by its authors on their own features; only its predictions are made here"


def read_comparable(
    folders: Iterable[Path], are_variants: bool = False
) -> dict[str, tuple[TrainedParser, ...]]:
    """Read model folders by method, or by variant; see ``read_parsers``.

    Raises
    ------
    PipelineError
        A file is missing or malformed, parsers differ in their features or test videos, or parsers
        of one method differ in more than their seeds.
    """
    by_method = read_parsers(folders, are_variants)
    parsers = [parser for group in by_method.values() for parser in group]
    _require_same_features(parsers)
    _require_same_videos(parsers)
    return by_method


def seed_mismatch_note(parsers: Sequence[TrainedParser], reference: Sequence[TrainedParser]) -> str:
    """Return a note if a method was not trained as the reference was, or an empty string."""
    if any(parser.released for parser in parsers):
        return RELEASED_NOTE
    seeds, expected = ([parser.seed for parser in each] for each in (parsers, reference))
    if seeds == expected:
        return ""
    return (
        f"trained with seeds {', '.join(map(str, seeds))}, but {reference[0].display_name} with "
        f"{', '.join(map(str, expected))}; part of the difference may come from the seeds"
    )


def _require_same_features(parsers: Iterable[TrainedParser]) -> None:
    """Check that parsers were trained on the same features, for each kind that they share.

    Released weights were trained elsewhere, which their row says.
    """
    first: dict[str, tuple[str, Path]] = {}
    for parser in (parser for parser in parsers if not parser.released):
        for kind, made_by in {"layout": parser.layout, **parser.fingerprints}.items():
            other, folder = first.setdefault(kind, (made_by, parser.folder))
            if made_by != other:
                raise PipelineError(
                    f"'{folder}' was trained on {kind} '{other}', but '{parser.folder}' on "
                    f"'{made_by}'; train all parsers on the same features."
                )


def _require_same_videos(parsers: Iterable[TrainedParser]) -> None:
    """Check that all parsers were scored on the same test videos."""
    videos = {parser.folder: set(parsed_videos(parser.folder, SPLIT)[0]) for parser in parsers}
    all_videos = set().union(*videos.values())
    for folder, scored in videos.items():
        missing = sorted(all_videos - scored)
        if missing:
            raise PipelineError(
                f"'{folder}' was not scored on {len(missing)} of the {len(all_videos)} {SPLIT} "
                f"videos of the other parsers, e.g. '{missing[0]}'; predict and evaluate all "
                "methods on the same videos."
            )
