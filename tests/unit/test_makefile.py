"""Setting up: what is installed, with and without CUDA, and what a person is told first."""

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "envs/requirements.txt"
TORCH = {"torch", "torchvision", "torchaudio"}


def blocks(text: str) -> dict[str, str]:
    """Return each package of a lock with its lines."""
    parts = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {part.partition("==")[0]: part for part in parts}


def without_cuda() -> dict[str, str]:
    words = ["awk", "-f", str(REPOSITORY / "envs/without_cuda.awk"), str(LOCK)]
    return blocks(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def planned(tmp_path: Path, *words: str) -> list[str]:
    """Return the commands of `make demo` where nothing is installed."""
    command = ["make", "--dry-run", f"VENV={tmp_path / 'env'}", "PYTHON=python3.11", "demo", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_what_is_left_out_without_cuda_serves_torch_alone() -> None:
    every, kept = blocks(LOCK.read_text()), without_cuda()
    left_out = every.keys() - kept.keys()
    assert left_out > TORCH
    assert {name: every[name] for name in kept} == kept
    for name in left_out - TORCH:
        needed_by = set(re.findall(r"^ +# +(?:via )?([\w-]+)$", every[name], re.MULTILINE))
        assert needed_by - {"via"} <= left_out, name
    assert not [name for name in kept if "nvidia" in name or "cuda" in name]


def test_the_size_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    for words, size in ((), "6.4 GB"), (("TORCH=cpu",), "about 2.5 GB"):
        commands = planned(tmp_path, *words)
        (said,) = [i for i, command in enumerate(commands) if "on disk" in command]
        installs = [i for i, command in enumerate(commands) if "pip install" in command]
        assert size in commands[said]
        assert said < min(installs)


def test_the_large_downloads_show_their_progress(tmp_path: Path) -> None:
    for words in ((), ("TORCH=cpu",)):
        large = [
            line
            for line in planned(tmp_path, *words)
            if "requirements.txt" in line or "torch==" in line
        ]
        assert large
        assert [line for line in large if "--quiet" in line] == []


def test_torch_of_the_cpu_has_the_locks_versions(tmp_path: Path) -> None:
    (command,) = [line for line in planned(tmp_path, "TORCH=cpu") if "--torch-backend cpu" in line]
    pins = [
        re.match(r"\S+", block) for name, block in blocks(LOCK.read_text()).items() if name in TORCH
    ]
    assert set(re.findall(r"torch\w*==\S+", command)) == {pin[0] for pin in pins if pin}
