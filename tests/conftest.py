"""What holds for every test: no network, no hub, one torch thread, random state left alone.

And the data of LLP that the repository does not have: from beside the checkout, else downloaded.
"""

import fcntl
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_run import SmallRun

WITH_NETWORK = dict(os.environ)
os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"})

LOCAL = ("127.0.0.1", "::1", "localhost")
# Processes that tests start are out of the fixture's reach: what they fetch over HTTP they ask
# of a proxy that is not there. `unshare -rn` runs the suite with no network for anything.
PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "ftp", "all")]
os.environ.update(dict.fromkeys([*PROXIES, *map(str.upper, PROXIES)], "http://127.0.0.1:9"))
os.environ.update({"no_proxy": ",".join(LOCAL), "NO_PROXY": ",".join(LOCAL)})

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("AVVP_TESTS_SHARED", REPOSITORY.parent / "shared"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "avvp-tests"
PRESET = "workflow/presets/llp.yaml"
# One attempt a table: where there is no network, the tests are to be skipped at once.
DOWNLOAD = """
import json, sys
from pathlib import Path
from pipeline.data import fetch
fetch.BACKOFF_SECONDS, fetch.TIMEOUT_SECONDS = (), 20.0
for name, source in json.loads(sys.argv[2]).items():
    fetch.fetch(source["url"], Path(sys.argv[1]) / name, source["sha256"])
"""


# Each file runs in one worker. These take longest, so they start first.
LONGEST = (
    "test_profiles.py",
    "test_runs.py",
    "test_run.py",
    "test_walkthrough.py",
    "test_gpu_rehearsal.py",
    "test_every_method.py",
    "test_trainer.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a GPU where there is none, or fail it if one is said to be there."""
    if item.get_closest_marker("needs_cuda") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    # A rehearsal runs what a CPU can: the tests that ask for a device get the CPU.
    if os.environ.get("REHEARSAL") == "1" and {"device", "pair"} & set(item.fixturenames):
        return
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail("FAIL_WITHOUT_CUDA is set, and no GPU is visible")
    pytest.skip("needs a GPU")


@pytest.fixture(autouse=True)
def _closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse this process every address and name but its own machine's."""

    def local_only(function: Callable[..., object], name: str) -> None:
        def guarded(self: socket.socket, *arguments: Any) -> object:
            address = arguments[-1]
            is_local = isinstance(address, tuple) and address[0] in LOCAL
            if self.family != socket.AF_UNIX and not is_local:
                raise OSError(f"a test reached for the network: {address!r}")
            return function(self, *arguments)

        monkeypatch.setattr(socket.socket, name, guarded)

    for method in ("connect", "connect_ex", "sendto"):
        local_only(getattr(socket.socket, method), method)
    look_up = socket.getaddrinfo

    def local_names(host: object, *arguments: Any, **keywords: Any) -> object:
        if host not in {None, "", *LOCAL}:
            raise socket.gaierror(f"a test looked up the name {host!r}")
        return look_up(host, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", local_names)


@pytest.fixture(autouse=True)
def _random_state_left_alone() -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Return a finished run of a small demo, one for all processes of a session; copy to change."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    run, done = SmallRun(folder / "undisturbed"), folder / "undisturbed.done"
    with (folder / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            SmallRun.create(run.folder)
            assert run.run() == 0, run.said
            done.touch()
    return run


@pytest.fixture(scope="session")
def llp_tables() -> Path:
    """Return the folder of LLP's tables: ../shared/llp, else one that the preset's are fetched to.

    They are fetched by a process of its own, which alone has the network that tests are kept from.
    """
    if (SHARED / "llp").is_dir():
        return SHARED / "llp"
    folder = CACHE / "llp"
    folder.mkdir(parents=True, exist_ok=True)
    tables = yaml.safe_load((REPOSITORY / PRESET).read_text())["dataset"]["tables"]
    words = [sys.executable, "-c", DOWNLOAD, str(folder), json.dumps(tables)]
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            words, cwd=REPOSITORY, env=WITH_NETWORK, capture_output=True, text=True
        )
    if "could not be downloaded" in done.stderr:
        pytest.skip(f"no ../shared/llp, and the tables that {PRESET} names cannot be downloaded")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def llp_clip() -> Path:
    """Return a video of LLP, which may not be passed on: only where a developer has it."""
    path = SHARED / "llp" / "BjCEufrlXm4.mp4"
    if not path.is_file():
        pytest.skip("no ../shared/llp/BjCEufrlXm4.mp4, the clip of LLP from 30 to 40 s")
    return path


@pytest.fixture(scope="session")
def reference_predictions() -> Path:
    """Return the folder of predictions that were scored by another implementation."""
    path = SHARED / "reference_metrics"
    if not path.is_dir():
        pytest.skip("no ../shared/reference_metrics, predictions and their known scores")
    return path
