"""Everything that is written for a parsed video: its tables, and the page that plays it."""

import logging
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import ItemError
from pipeline.core.files import write_text
from pipeline.inference.events import Parsed
from pipeline.inference.input_files import PAGE_FILE
from pipeline.inference.page import write_page
from pipeline.inference.playback import (
    PLAYS_NOTHING,
    check_unclaimed,
    make_playable,
    remove_others,
)
from pipeline.inference.tables import JSON_FILE, json_text, write_parsed_files

logger = logging.getLogger(__name__)


def write_outputs(folder: Path, parsed: Parsed, embed_bytes: int) -> Parsed:
    """Write a video's tables and page into its folder.

    Parameters
    ----------
    folder
        Output directory; created if it does not exist.
    parsed
        The video.
    embed_bytes
        The page embeds the video up to this size; a larger one is linked beside it.

    Returns
    -------
    Parsed
        The video, with a note if no copy for browsers could be made.

    Raises
    ------
    ItemError
        The folder, which no video was parsed into, has files that would be replaced.
    """
    if not (folder / JSON_FILE).exists():
        check_unclaimed(folder, parsed.path)
    (folder / PAGE_FILE).unlink(missing_ok=True)  # written last: it marks a complete folder
    write_parsed_files(folder, parsed, embed_bytes)
    media = replace(
        parsed.media,
        sound=parsed.media.sound if parsed.has_sound else None,
        pictures=parsed.media.pictures if parsed.has_pictures else None,
    )
    playback = None
    try:
        playback = make_playable(parsed.path, media, folder, embed_bytes)
    except ItemError as error:
        logger.warning("%s: %s", parsed.name, error.detail)
        note = f"{PLAYS_NOTHING}: {error.detail}."
        parsed = replace(parsed, notes=(*parsed.notes, note))
        write_text(folder / JSON_FILE, json_text(parsed, embed_bytes))
    write_page(folder, parsed, playback)
    remove_others(folder, parsed.path, playback)
    return parsed
