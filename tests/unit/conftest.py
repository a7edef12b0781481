import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import write_clip
from video_site import VideoSite


@pytest.fixture(scope="session")
def old_audio_table(llp_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLP's AVVP_eval_audio.csv as it was before its correction, remade from the corrected one."""
    text = (llp_tables / "AVVP_eval_audio.csv").read_text()
    for row, before in {
        "JfZEqeLZqWk_30_40\t0\t4\tSpeech": "Baby_cry_infant_cry\t0\t4\tSpeech",
        "JfZEqeLZqWk_30_40\t7\t10\tSpeech": "Baby_cry_infant_cry\t7\t10\tSpeech",
        "KvIjsmANkxI_10_20\t0\t1\tCat": "KvIjsmANkxI_10_20`\t0\t1\tCat",
    }.items():
        assert text.count(row) == 1
        text = text.replace(row, before)
    assert hashlib.md5(text.encode()).hexdigest() == "a8b6b747e59a4ea2501e51cd717f3b4f"
    path = tmp_path_factory.mktemp("old") / "AVVP_eval_audio.csv"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def site_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds, ten frames each, key frames only every two seconds."""
    path = write_clip(
        tmp_path_factory.mktemp("video") / "video.mp4",
        seconds=4,
        fps=10,
        rate=16_000,
        layout="mono",
        video_options={"crf": "18", "preset": "ultrafast", "g": "20"},
    )
    return path.read_bytes()


@pytest.fixture
def server(site_video: bytes) -> Iterator[VideoSite]:
    server = VideoSite(site_video)
    yield server
    server.stop()
