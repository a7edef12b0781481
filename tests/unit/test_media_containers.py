"""Every container at every rate and offset: segment t has the frame and the sound of second t."""

import numpy as np
import pytest
from clips import tone, write_clip
from decoded import T, frames_of, numbers, sound_of, tones

VP8 = {"video_codec": "libvpx", "video_options": {"deadline": "realtime", "cpu-used": "8"}}
# What each holds, and how early its encoder's run-in lets the clock begin, in seconds: a transport
# stream has no edit list that would hide the 1024 samples before AAC's first.
CONTAINERS = {
    "mp4": ({}, 0.0),
    "mov": ({}, 0.0),
    "mkv": ({"audio_codec": "flac", "rate": 48_000}, 0.0),
    "webm": (VP8 | {"audio_codec": "libopus", "rate": 48_000}, 0.0),
    "avi": ({"video_codec": "mpeg4", "video_options": {}, "audio_codec": "pcm_s16le"}, 0.0),
    "ts": ({}, 1024 / 44_100),
}


@pytest.mark.parametrize("fps", [1, 25, 120])
@pytest.mark.parametrize("container", CONTAINERS)
def test_segments_are_seconds_in_every_container_and_rate(tmp_path, container, fps):
    options, early = CONTAINERS[container]
    clock = {"clock": fps} if container == "avi" else {}
    path = write_clip(tmp_path / f"clip.{container}", seconds=T, fps=fps, **options, **clock)
    expected = [max(int((t + 0.5 - early) * fps + 0.01), 0) for t in range(T)]
    assert numbers(frames_of(path, decoder="pyav")) == expected
    assert tones(path) == [tone(second) for second in range(T)]


@pytest.mark.parametrize("late", ["audio_start", "video_start"])
@pytest.mark.parametrize("container", [name for name in CONTAINERS if name != "avi"])
def test_a_late_stream_is_late_in_every_container(tmp_path, container, late):
    options, early = CONTAINERS[container]
    path = write_clip(tmp_path / f"clip.{container}", seconds=T, **options, **{late: 0.7})
    begins = 0.7 if late == "audio_start" else 0.0
    # where the sound is late, the clock begins with the first frame
    early = 0.0 if begins else early
    shown = np.array([0.5, 1.5, 2.5, 3.5]) - early - (0.7 - begins)
    expected = np.clip(np.floor(shown * 30 + 0.01), 0, None).astype(int).tolist()
    assert numbers(frames_of(path, decoder="pyav")) == expected
    samples = np.abs(sound_of(path).samples.astype(int))
    onset = int(np.argmax(samples > 2000)) / 48_000
    assert onset == pytest.approx(begins + early, abs=0.025), "a codec's run-in at most"
