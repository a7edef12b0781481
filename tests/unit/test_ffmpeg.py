"""Which ffmpeg program is run: one that has the encoders that clips and copies need."""

import os
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
from video_site import Folder, VideoSite, names_of

from pipeline.core import ffmpeg
from pipeline.core.errors import ItemError, PipelineError
from pipeline.inference.playback import make_playable
from pipeline.inference.videos import MediaFacts, StreamFacts

# Stands for a build without GPL parts, such as conda's: it lists the encoder, and fails to open it.
WITHOUT_X264 = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = libx264 ]; then echo "Unknown encoder 'libx264'" >&2; exit 8; fi
done
exec "{}" "$@"
"""


@pytest.fixture(autouse=True)
def _not_remembered() -> Iterator[None]:
    programs = (ffmpeg.ffmpeg_path, ffmpeg.encoding_ffmpeg_path)
    for program in programs:
        program.cache_clear()
    yield
    for program in programs:
        program.cache_clear()


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a program without libx264 first on the PATH."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(WITHOUT_X264.format(imageio_ffmpeg.get_ffmpeg_exe()))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return str(program)


def test_the_carried_program_serves_where_that_on_the_path_lacks_an_encoder(on_path: str) -> None:
    assert ffmpeg.ffmpeg_path() == on_path
    assert ffmpeg.encoding_ffmpeg_path() == imageio_ffmpeg.get_ffmpeg_exe()


def test_that_on_the_path_is_preferred_where_it_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert ffmpeg.encoding_ffmpeg_path() == str(tmp_path / "ffmpeg")


def test_a_missing_encoder_is_named(
    on_path: str,
    site_video: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: on_path)
    with pytest.raises(PipelineError, match=r"libx264 and aac .*Unknown encoder 'libx264'"):
        ffmpeg.encoding_ffmpeg_path()
    facts = MediaFacts(1.0, "ogg", StreamFacts(0, "theora", "yuv420p"), None)
    with pytest.raises(ItemError, match="Unknown encoder 'libx264'"):
        make_playable(tmp_path / "clip.ogv", facts, tmp_path, 0)
    site = VideoSite(site_video)
    folder = Folder(tmp_path / "data", names_of(3), site)
    assert folder.run() == 2
    assert "Unknown encoder 'libx264'" in capsys.readouterr().err
    assert not site.asked, "the site has no part in it"
    site.stop()
