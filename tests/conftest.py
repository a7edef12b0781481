"""What holds for every test: no network, no hub, one torch thread, random state left alone."""

import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"})

LOCAL = ("127.0.0.1", "::1", "localhost")
# Processes that tests start are out of the fixture's reach: what they fetch over HTTP they ask
# of a proxy that is not there. `unshare -rn` runs the suite with no network for anything.
PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "ftp", "all")]
os.environ.update(dict.fromkeys([*PROXIES, *map(str.upper, PROXIES)], "http://127.0.0.1:9"))
os.environ.update({"no_proxy": ",".join(LOCAL), "NO_PROXY": ",".join(LOCAL)})

REPOSITORY = Path(__file__).resolve().parents[1]


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
