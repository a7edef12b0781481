"""Kill a run at random moments, start it again, and see that the results are an undisturbed run's.

``python tests/faults/kill_loop.py FOLDER --kills 50 --seed 0`` kills with SIGKILL, in every stage,
one of: a worker process of the stage, the rule's process, Snakemake alone (its jobs live on and
meet those of the next run), or Snakemake with all that it started. The moments are uniform over
the stage's time in an undisturbed run, and halved when they come too late, as they do where the
machine was busier then. It prints every kill and, when a run came to its end, what differs; exit
code 1 says that something did.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from small_run import SmallRun, differences

STAGES = (
    "demo",
    "annotations",
    "manifest",
    "segments",
    "features",
    "prompts",
    "pseudo-labels",
    "train",
    "predict",
    "evaluate-model",
    "inference-settings",
    "report",
)
WITH_WORKERS = ("demo", "segments")
VICTIMS = ("rule", "snakemake", "tree")
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Target:
    """A stage, what of it is killed, and when: a share of the stage's usual time."""

    stage: str
    victim: str
    moment: float


@dataclass
class KillLoop:
    """Runs in folders of their own until every target was hit.

    ``seconds`` is each stage's time in the undisturbed run, ``expected`` its results, ``hits``
    the victims that were hit, by stage.
    """

    folder: Path
    targets: list[Target]
    seconds: dict[str, float]
    expected: dict[str, bytes]
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)

    def go(self) -> None:
        """Kill until no target is left; a run that is whole is compared, and another begun."""
        for number in range(1, 2 * len(self.targets) + 2):
            run = SmallRun.create(self.folder / f"round{number}")
            while (code := self._attempt(run)) != 0:
                if code < 0:
                    run.run("--unlock")  # a killed Snakemake leaves its folder locked
            self.differing += differences(run.results(), self.expected)
            if not self.targets:
                return
        raise RuntimeError(f"never met: {self.targets}")

    def _attempt(self, run: SmallRun) -> int:
        """Start the command once and kill on the way what is a target; return its exit code."""
        hits = self.hits.total()
        process = run.start()
        try:
            while process.poll() is None:
                self._strike(process)
                time.sleep(POLL_SECONDS)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                kill_tree(psutil.Process(process.pid))
        if process.returncode > 0 and self.hits.total() == hits:
            raise RuntimeError(f"it failed though nothing was killed:\n{run.said[-4000:]}")
        return process.returncode

    def _strike(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the moment of a target whose stage is at work, and kill what it names."""
        for stage, at_work in stages_at_work(process.pid):
            target = next((target for target in self.targets if target.stage == stage), None)
            if target is None:
                continue
            time.sleep(target.moment * self.seconds[stage])
            self.targets.remove(target)
            if kill(target.victim, at_work, process):
                self.hits[stage, target.victim] += 1
                print(f"{self.hits.total()}\t{stage}\t{target.victim}", flush=True)
            else:
                self.targets.append(replace(target, moment=target.moment / 2))
            return


def kill(victim: str, at_work: psutil.Process, process: subprocess.Popen[bytes]) -> bool:
    """Send SIGKILL; return whether the stage was still at work and the victim was there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if not at_work.is_running() or at_work.status() == psutil.STATUS_ZOMBIE:
            return False
        if victim == "worker":
            workers = [each for each in at_work.children() if "media.worker" in str(each.cmdline())]
            if not workers:
                return False
            workers[0].kill()
        elif victim == "rule":
            at_work.kill()
        elif victim == "snakemake":
            process.kill()
        else:
            kill_tree(psutil.Process(process.pid))
        return True
    return False


def kill_tree(top: psutil.Process) -> None:
    """Kill a process and all that it started."""
    for each in [top, *top.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def stages_at_work(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """Yield each stage that a process has started and the process that does it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                words = each.cmdline()
                if words[1:3] == ["-m", "pipeline"]:
                    yield words[3], each


def plan(kills: int, seed: int, stages: tuple[str, ...] = STAGES) -> list[Target]:
    """Return targets, as many in every stage; the seed decides the victims and the moments."""
    chance = random.Random(seed)
    targets = []
    for number in range(kills):
        stage = stages[number % len(stages)]
        victims = (*VICTIMS, "worker") if stage in WITH_WORKERS else VICTIMS
        # In turn, so that few kills have every kind among them; moments early and late.
        victim = victims[(number // len(stages) + number) % len(victims)]
        targets.append(Target(stage, victim, chance.random()))
    return targets


def stage_seconds(run: SmallRun) -> dict[str, float]:
    """Return each stage's shortest time in a run, of Snakemake's benchmarks."""
    rules = {stage: stage.replace("-", "_") for stage in STAGES}
    rules |= {"demo": "demo_corpus", "train": "train_parser", "predict": "predict_parser"}
    rules |= {
        "evaluate-model": "evaluate_parser",
        "features": "encode_segments",
        "prompts": "encode_prompts",
    }
    return {
        stage: min(
            float(path.read_text().splitlines()[1].split("\t")[0])
            for pattern in (f"{rule}.tsv", f"{rule}/**/*.tsv")
            for path in (run.folder / "benchmarks").glob(pattern)
        )
        for stage, rule in rules.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    undisturbed = SmallRun.create(arguments.folder.absolute() / "undisturbed")
    if undisturbed.run() != 0:
        sys.exit(undisturbed.said)
    targets = plan(arguments.kills, arguments.seed)
    loop = KillLoop(
        arguments.folder.absolute(), targets, stage_seconds(undisturbed), undisturbed.results()
    )
    loop.go()
    for stage in STAGES:
        counts = {victim: count for (hit, victim), count in loop.hits.items() if hit == stage}
        print(f"{stage}\t{sum(counts.values())}\t{counts}")
    print(f"{loop.hits.total()} kills; results that differ: {loop.differing or 'none'}")
    return 1 if loop.differing else 0


if __name__ == "__main__":
    sys.exit(main())
