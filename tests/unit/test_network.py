"""The suite's own guard: nothing that a test does, or starts, reaches beyond this machine."""

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from clips import write_clip

from pipeline.core.ffmpeg import ffmpeg_path

# An address of the block that is kept for documentation (RFC 5737): no machine has it.
NOWHERE = ("192.0.2.1", 80)


@pytest.mark.parametrize("reach", ["connect", "connect_ex"])
def test_no_connection_leaves_this_machine(reach):
    with socket.socket() as outgoing, pytest.raises(OSError, match="reached for the network"):
        getattr(outgoing, reach)(NOWHERE)


def test_no_datagram_and_no_name_leaves_this_machine():
    kind = socket.SOCK_DGRAM
    with socket.socket(type=kind) as outgoing, pytest.raises(OSError, match="reached for"):
        outgoing.sendto(b"", NOWHERE)
    with pytest.raises(socket.gaierror, match="looked up the name"):
        socket.create_connection(("example.org", 80))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen("http://example.org")


def test_this_machine_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        socket.create_connection(("localhost", server.getsockname()[1])).close()


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "from urllib.request import urlopen; urlopen('http://192.0.2.1')"],
        [ffmpeg_path(), "-v", "error", "-i", "http://192.0.2.1/a.mp4", "-f", "null", "-"],
    ],
)
def test_processes_that_tests_start_ask_a_proxy_that_is_not_there(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "refused" in done.stderr


def _has_namespaces() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--net", "true"]
    return bool(shutil.which("unshare")) and (
        subprocess.run(command, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not _has_namespaces(), reason="this machine gives no network namespaces")
def test_videos_are_decoded_where_there_is_no_network_at_all(tmp_path: Path):
    write_clip(tmp_path / "good.mp4", seconds=1)
    for table in ("AVVP_train.csv", "AVVP_val_pd.csv", "AVVP_test_pd.csv"):
        name = "good_0_1" if "train" in table else f"gone{table}_0_1"
        (tmp_path / table).write_text(f"filename\tevent_labels\n{name}\tDog\n")
    words = ["--annotations", str(tmp_path), "--videos", str(tmp_path)]
    stage = [sys.executable, "-m", "pipeline", "segments", *words]
    stage += ["--shard", "1-of-1", "--segments", "1"]
    stage += ["--out", tmp_path / "out.safetensors", "--status", tmp_path / "out.tsv"]
    isolated = ["unshare", "--user", "--map-root-user", "--net", *map(str, stage)]
    done = subprocess.run(isolated, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "good_0_1\tyes\tok" in (tmp_path / "out.tsv").read_text()
