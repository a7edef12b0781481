"""Trainings that may stand side by side: on the same features, scored on the same videos."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.evaluation.evaluate import parsed_videos
from pipeline.report.trained import TrainedParser, read_parsers

# The split whose scores are compared.
SPLIT = "test"


def read_comparable(
    folders: Iterable[Path], are_variants: bool = False
) -> dict[str, tuple[TrainedParser, ...]]:
    """Read model folders by method, or by variant; see ``read_parsers``.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or trainings differ in their features, in their test
        videos, or within a method in more than their seeds.
    """
    by_method = read_parsers(folders, are_variants)
    parsers = [parser for of_method in by_method.values() for parser in of_method]
    _require_same_features(parsers)
    _require_same_videos(parsers)
    return by_method


def other_seeds(parsers: Sequence[TrainedParser], reference: Sequence[TrainedParser]) -> str:
    """Say so where a method has other seeds than the reference; empty where it has the same."""
    seeds, expected = ([parser.seed for parser in each] for each in (parsers, reference))
    if seeds == expected:
        return ""
    return (
        f"its seeds are {', '.join(map(str, seeds))} and those of {reference[0].display_name} "
        f"{', '.join(map(str, expected))}, so part of their difference may be the seeds'"
    )


def _require_same_features(parsers: Iterable[TrainedParser]) -> None:
    """Refuse trainings on different features, as far as two read the same kind."""
    first: dict[str, tuple[str, Path]] = {}
    for parser in parsers:
        for kind, made_by in {"layout": parser.layout, **parser.fingerprints}.items():
            other, folder = first.setdefault(kind, (made_by, parser.folder))
            if made_by != other:
                raise PipelineError(
                    f"'{folder}' was trained on {kind} '{other}', but '{parser.folder}' on "
                    f"'{made_by}'; train all of them on the same."
                )


def _require_same_videos(parsers: Iterable[TrainedParser]) -> None:
    """Refuse a training that was scored on fewer videos than another."""
    videos = {parser.folder: set(parsed_videos(parser.folder, SPLIT)[0]) for parser in parsers}
    every = set().union(*videos.values())
    for folder, scored in videos.items():
        missing = sorted(every - scored)
        if missing:
            raise PipelineError(
                f"'{folder}' was not scored on {len(missing)} of the {len(every)} {SPLIT} videos "
                f"that others were scored on, the first '{missing[0]}'; predict and evaluate all "
                "methods on the same videos."
            )
