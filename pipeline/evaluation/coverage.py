"""Which of the listed videos were parsed.

Event tables cannot tell: a video without rows was either parsed and has no events, or never parsed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import KEPT, ShardReader
from pipeline.data.annotations import has_column, read_names, read_rows
from pipeline.evaluation.options import MissingPolicy


@dataclass(frozen=True)
class ParsedVideos:
    """The parsed videos, and what happens to listed videos that are not among them.

    Attributes
    ----------
    names
        Videos that were parsed, with or without events; others than the listed ones are ignored.
    missing
        ``error``, ``report`` or ``empty``, see ``CoverageOptions``.
    """

    names: frozenset[str]
    missing: MissingPolicy = "error"

    @classmethod
    def of(
        cls, source: str | Path | Collection[str] | None, missing: MissingPolicy = "error"
    ) -> Self | None:
        """Return the parsed videos that a file or a collection lists, or None if there is none.

        Parameters
        ----------
        source
            The names, a table with the column ``filename`` (of a status table, only the kept
            videos), or ``probabilities_{split}.safetensors`` of a trained parser.
        missing
            See ``CoverageOptions``.

        Raises
        ------
        PipelineError
            The file is missing or malformed, or ``missing`` is set without a source.
        """
        if source is None:
            if missing != "error":
                raise PipelineError(
                    f"missing is '{missing}', but nothing says which videos were parsed; add"
                    " --predicted-videos TABLE (in Python predicted_videos)."
                )
            return None
        if isinstance(source, str | Path):
            source = _read_parsed_names(Path(source))
        return cls(frozenset(source), missing)

    def select(self, names: Sequence[str], predicted: NDArray[Any]) -> list[int]:
        """Return the rows of the listed videos to score.

        Parameters
        ----------
        names
            The N listed videos.
        predicted : ``[2, N, T, C]``
            Predicted labels.

        Raises
        ------
        PipelineError
            No listed video was parsed, a video that was not parsed has predicted events, or one was
            not parsed and ``missing`` is ``error``.
        """
        rows = [row for row, name in enumerate(names) if name in self.names]
        missing = [row for row, name in enumerate(names) if name not in self.names]
        if not missing:
            return rows
        first, total = names[missing[0]], f"{len(names):,}"
        if not rows:
            raise PipelineError(
                f"no listed video is among the parsed videos (the first of {total} is '{first}');"
                " both must use the full name ID_START_END."
            )
        for row in missing:
            if np.any(predicted[:, row]):
                raise PipelineError(
                    f"'{names[row]}' has predicted events but is not among the parsed videos; pass"
                    " the list of videos that belongs to these predictions."
                )
        if self.missing == "error":
            verb = "was" if len(missing) == 1 else "were"
            raise PipelineError(
                f"{len(missing):,} of the {total} listed videos {verb} not parsed, the first is"
                f" '{first}'; set missing to 'report' to score the other {len(rows):,}, or to"
                " 'empty' to score the missing ones as having no events."
            )
        return rows if self.missing == "report" else list(range(len(names)))

    def described(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the entry ``coverage`` of an evaluation of the N listed videos."""
        parsed = sum(name in self.names for name in names)
        return {"listed": len(names), "parsed": parsed, "missing": self.missing}


def _read_parsed_names(path: Path) -> Sequence[str]:
    if path.suffix == ".safetensors":
        with ShardReader(path) as parsed:
            return parsed.names
    if has_column(path, "kept"):
        return [name for _, (name, kept) in read_rows(path, ("filename", "kept")) if KEPT.get(kept)]
    return read_names(path)
