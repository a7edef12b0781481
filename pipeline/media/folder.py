"""The media files of a folder: one list for datasets and for `parse`. No decoder is loaded."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError

# In order of preference if a video of a dataset has several files: sound alone comes last.
_PICTURES = """
mp4 mkv webm mov avi m4v mpg mpeg ts flv ogv wmv mts m2ts m2t m2p tod vob vro 3gp 3g2 mxf f4v asf
mpe mk3d ogm qt divx dv rm rmvb wtv gxf nut ivf y4m swf gif apng
"""
_SOUND = """
m4a mp3 wav flac ogg opus aac weba wma mka oga m4b aiff aif aifc caf au snd mp2 mp1 ac3 eac3 dts
thd amr ape tta wv w64 voc spx mpc tak dsf ra latm loas
"""
EXTENSIONS = (*_PICTURES.split(), *_SOUND.split())
_KNOWN = frozenset(EXTENSIONS)

SUBFOLDER = "a folder, which is not searched"
LINK = "a link to a file outside its folder; follow_links (--follow-links) takes it"
BROKEN_LINK = "a link to nothing"
NOT_A_FILE = "neither a file nor a link to one"
NO_MEDIA = "not named like a media file"


@dataclass(frozen=True)
class MediaFolder:
    """What a folder contains.

    Attributes
    ----------
    files
        Names of the media files, sorted.
    passed_over
        Names of all other entries, sorted, and what each is.
    """

    files: tuple[str, ...]
    passed_over: Mapping[str, str]

    def summary(self) -> Iterator[str]:
        """Yield a sentence for each reason why entries are passed over."""
        by_reason = defaultdict(list)
        for name, reason in self.passed_over.items():
            by_reason[reason].append(name)
        for reason, names in by_reason.items():
            example = f"'{names[0]}'" if len(names) == 1 else f"{len(names)} such as '{names[0]}'"
            yield f"passed over: {example} ({reason})"


def read_folder(folder: Path, follow_links: bool = False) -> MediaFolder:
    """List a folder.

    Parameters
    ----------
    folder
        The folder; those in it are not searched.
    follow_links
        Whether links to files outside the folder are taken too.

    Raises
    ------
    PipelineError
        It is not a folder.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise PipelineError(f"cannot find the video folder '{folder}'; check the path.") from None
    root = folder.resolve()
    files, passed_over = [], {}
    for entry in entries:
        if reason := _why_not(entry, root, follow_links):
            passed_over[entry.name] = reason
        else:
            files.append(entry.name)
    return MediaFolder(tuple(files), passed_over)


def _why_not(entry: os.DirEntry[str], root: Path, follow_links: bool) -> str:
    """Return why an entry is not taken; empty if it is."""
    if entry.is_dir():
        return SUBFOLDER
    stem, _, extension = entry.name.rpartition(".")
    if not stem or extension.lower() not in _KNOWN:
        return NO_MEDIA
    if not entry.is_file():
        return BROKEN_LINK if entry.is_symlink() else NOT_A_FILE
    leaves = entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root)
    return LINK if leaves and not follow_links else ""
