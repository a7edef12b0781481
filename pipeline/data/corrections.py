"""Corrections of annotated events, laid over the annotation tables without changing them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import (
    EVENT_COLUMNS,
    EVENT_TABLES,
    EventRow,
    Labels,
    event_at,
    events_to_segments,
    read_rows,
)


@dataclass(frozen=True)
class Corrections:
    """Corrected events, which replace all annotated events of the videos that they list.

    Attributes
    ----------
    folder
        Where they were read from.
    events
        Modality to video to its corrected events; a video may have none.
    tables
        File name to SHA-256.
    """

    folder: Path
    events: Mapping[str, Mapping[str, Sequence[EventRow]]]
    tables: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """All corrected videos, each once."""
        return list(dict.fromkeys(name for videos in self.events.values() for name in videos))

    def unknown(self, names: Collection[str], where: str) -> list[str]:
        """Return the corrected videos that are not in ``names``.

        Raises
        ------
        PipelineError
            None of the corrected videos is; ``where`` says where the names come from.
        """
        known = set(names)
        strangers = [name for name in self.names if name not in known]
        if len(strangers) == len(self.names):
            first = f" (the first is '{strangers[0]}')" if strangers else ""
            raise PipelineError(
                f"'{self.folder}' corrects no video of {where}{first}; list the videos by their"
                " full name ID_START_END."
            )
        return strangers

    def replaced(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many of the videos are corrected, by modality."""
        return {
            modality: sum(name in self.events.get(modality, {}) for name in names)
            for modality in EVENT_TABLES
        }

    def apply(self, truth: Labels, names: Sequence[str]) -> Labels:
        """Return a copy of the annotated labels ``[2, N, T, C]`` with the corrections applied."""
        corrected = truth.copy()
        for labels, modality in zip(corrected, EVENT_TABLES, strict=True):
            videos = self.events.get(modality, {})
            rows = [row for row, name in enumerate(names) if name in videos]
            listed = [names[row] for row in rows]
            events = [event for name in listed for event in videos[name]]
            labels[np.array(rows, int)] = events_to_segments(events, listed, *labels.shape[1:])
        return corrected


def correction_tables(folder: Path) -> list[Path]:
    """Return the tables in a folder of corrections: one per modality, or only one.

    Raises
    ------
    PipelineError
        The folder has neither.
    """
    found = [folder / table for table in EVENT_TABLES.values() if (folder / table).is_file()]
    if not found:
        raise PipelineError(
            f"'{folder}' has no corrections; it must contain {' or '.join(EVENT_TABLES.values())}."
        )
    return found


def read_corrections(folder: Path, vocabulary: Vocabulary) -> Corrections:
    """Read a folder of corrections.

    The tables are LLP's event tables. In addition, a row with only a filename says that the video
    has no events.

    Raises
    ------
    PipelineError
        The folder has no table, or a table is malformed or lists a video both with and without
        events.
    """
    tables = correction_tables(folder)
    modalities = {table: modality for modality, table in EVENT_TABLES.items()}
    return Corrections(
        folder,
        {modalities[path.name]: _read_table(path, vocabulary) for path in tables},
        {path.name: sha256_of(path) for path in tables},
    )


def _read_table(path: Path, vocabulary: Vocabulary) -> dict[str, list[EventRow]]:
    videos: dict[str, list[EventRow]] = {}
    without_events: set[str] = set()
    for line, values in read_rows(path, EVENT_COLUMNS):
        name, *event = values
        if any(event):
            videos.setdefault(name, []).append(event_at(path, line, values, vocabulary))
        else:
            without_events.add(name)
        if name in without_events and videos.setdefault(name, []):
            raise PipelineError(
                f"'{path}' line {line}: '{name}' is listed both with and without events; keep one"
                " of the two."
            )
    return videos
