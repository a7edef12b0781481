"""The cluster profiles on a real Slurm: the demo, shrunk, with the local run's results."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, running, why_not
from small_run import SmallRun

REPOSITORY = Path(__file__).resolve().parents[2]
PROFILES = REPOSITORY / "workflow" / "profiles"
SITE = Path(__file__).parent / "site"
STATUS = PROFILES / "cluster-generic" / "status.py"
GPU_RULES = {"encode_segments", "train_parser"}
# The profiles wait as long as a large site needs; one machine has no late files.
QUICKLY = ("--latency-wait", "5", "--retries", "0", "--seconds-between-status-checks", "2")

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def snakemake(folder: Path, *words: str, environment: dict[str, str] | None = None):
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), *words]
    environment = dict(os.environ) if environment is None else environment
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500
    )


def demo(folder: Path, *words: str, environment: dict[str, str]) -> str:
    workflow = ("--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "my.yaml")
    done = snakemake(folder, *workflow, *words, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def trained(folder: Path) -> dict[str, bytes]:
    """Return checkpoint, predictions and metrics; how long an epoch took is not among them."""
    files = (folder / "results/models/link/seed0").iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "curve.csv"}


def accounting(jobs: list[dict[str, str]], rule_of) -> str:
    """Return what the controller says of each job, one line a job."""
    keys = ("JobId", "JobState", "NodeList", "TRES", "JOB_GRES", "RunTime", "ExitCode")
    lines = ["\t".join((rule_of(job), *(job[key] for key in keys))) for job in jobs]
    return "\n".join(["\t".join(("Rule", *keys)), *lines])


def check_jobs(jobs: list[dict[str, str]], rule_of, said: str, folder: Path) -> None:
    """See that each job of a rule that is not local was one of Slurm's, and where it ran."""
    assert sorted(map(rule_of, jobs)) == finished(said)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    for job in jobs:
        on_gpu = rule_of(job) in GPU_RULES
        assert job["Partition"] == ("gpu" if on_gpu else "cpu")
        assert job["JOB_GRES"] == ("gpu:1" if on_gpu else "(null)")
    asking = GPU_RULES & {rule_of(job) for job in jobs}
    assert "train_parser" in asking
    for rule in asking:
        log = next((folder / "logs" / rule).rglob("*.log")).read_text()
        # The index that Slurm gave reached the stage's process: one of two, and no other is seen.
        assert "reserved GPU 0 of 0" in log or "reserved GPU 1 of 1" in log


def finished(said: str) -> list[str]:
    """Return the rule of every job that a run finished, but for the targets, which do nothing."""
    rules = re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", said, re.MULTILINE)
    return sorted(rule for rule in rules if rule not in {"all", "evaluate"})


def rule_in_comment(job: dict[str, str]) -> str:
    return job["Comment"].removeprefix("rule_").split("_wildcards_")[0]


def test_slurm_profile_gives_the_local_runs_bytes(cluster, undisturbed, tmp_path, capsys):
    before = len(cluster.jobs())
    SmallRun.create(tmp_path)
    profiles = ("--workflow-profile", str(PROFILES / "slurm"), "--profile", str(SITE))
    checks = ("--slurm-init-seconds-before-status-checks", "3")
    said = demo(tmp_path, *profiles, *QUICKLY, *checks, environment=cluster.environment)
    jobs = cluster.jobs()[before:]
    with capsys.disabled():
        print("\nworkflow/profiles/slurm", accounting(jobs, rule_in_comment), sep="\n")
    assert trained(tmp_path) == trained(undisturbed.folder)
    check_jobs(jobs, rule_in_comment, said, tmp_path)
    assert {rule_in_comment(job) for job in jobs} >= GPU_RULES
    (log,) = (undisturbed.folder / ".snakemake/log").glob("*.log")
    assert finished(said) == finished(log.read_text())


def test_cluster_generic_profile_gives_the_local_runs_bytes(cluster, undisturbed, capsys):
    """From decoding to labels it is the other profile's run: here a parser is trained on them."""
    before = len(cluster.jobs())
    folder = undisturbed.copy().folder
    shutil.rmtree(folder / "results/models")
    shutil.rmtree(folder / "logs")
    words = ("--workflow-profile", str(PROFILES / "cluster-generic"), *QUICKLY)
    said = demo(folder, *words, "evaluate", environment=cluster.environment)
    jobs = cluster.jobs()[before:]
    with capsys.disabled():
        print("\nworkflow/profiles/cluster-generic", accounting(jobs, job_name), sep="\n")
    assert trained(folder) == trained(undisturbed.folder)
    check_jobs(jobs, job_name, said, folder)


def job_name(job: dict[str, str]) -> str:
    return job["JobName"]


def test_the_profiles_lines_for_gres_give_a_gpu(cluster, tmp_path):
    """The lines as they stand in the profile, without their #, on a rule that asks for a GPU."""
    profile = tmp_path / "profile"
    shutil.copytree(PROFILES / "slurm", profile)
    text = (profile / "profile.yaml").read_text()
    block = re.search(r"^# set-resources:\n(#   \w+: .*\n)+", text, re.MULTILINE)
    lines = re.sub(r"^# ", "", block[0], flags=re.MULTILINE)
    (profile / "profile.yaml").write_text(text.replace(block[0], lines))
    assert set(yaml.safe_load(lines)["set-resources"]) >= GPU_RULES
    (tmp_path / "Snakefile").write_text(
        "rule train_parser:\n    output: 'gpus'\n"
        "    resources: runtime=5, mem_mb=800, gpu=1\n"
        "    shell: 'echo $CUDA_VISIBLE_DEVICES > {output}'\n"
    )
    checks = ("--slurm-init-seconds-before-status-checks", "3")
    words = ("--workflow-profile", str(profile), "--profile", str(SITE), *QUICKLY, *checks)
    done = snakemake(tmp_path, *words, environment=cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    job = cluster.jobs()[-1]
    assert (job["Partition"], job["JOB_GRES"], job["JobState"]) == ("gpu", "gpu:1", "COMPLETED")
    assert job["TresPerNode"] == "gres:gpu:1", "by --gres, not by --gpus"
    assert (tmp_path / "gpus").read_text().strip() in {"0", "1"}


def submit(cluster: Cluster, command: str, *words: str) -> str:
    folder = cluster.folder
    return cluster.call(
        "sbatch", "--parsable", "--mem=100", f"--output={folder}/%j.log", *words, "--wrap", command
    ).strip()


def status(cluster: Cluster, job: str) -> str:
    return cluster.call(sys.executable, str(STATUS), job).strip()


def state(cluster: Cluster, job: str) -> str:
    return cluster.call("squeue", "--noheader", "--states=all", f"--jobs={job}", "-o", "%T").strip()


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_status_of_jobs_in_every_way_they_end(cluster):
    held = submit(cluster, "true", "--hold")
    sleeping, good, bad = (submit(cluster, word) for word in ("sleep 600", "true", "false"))
    wait_for(lambda: state(cluster, bad) == "FAILED" and state(cluster, good) == "COMPLETED")
    wait_for(lambda: state(cluster, sleeping) == "RUNNING")
    assert status(cluster, held) == status(cluster, sleeping) == "running"
    assert (status(cluster, good), status(cluster, bad)) == ("success", "failed")
    cluster.call("scancel", held, sleeping)
    wait_for(lambda: status(cluster, sleeping) == "failed")
    assert status(cluster, held) == "failed"
    assert status(cluster, "987654") == "failed"


def test_status_while_the_controller_is_away(cluster, tmp_path):
    conf = (cluster.folder / "slurm.conf").read_text()
    (tmp_path / "slurm.conf").write_text(conf.replace("SlurmctldPort=", "SlurmctldPort=1 #"))
    away = cluster.environment | {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    words = [sys.executable, str(STATUS), "1"]
    done = subprocess.run(words, env=away, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "running", done.stderr


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic"])
def test_a_job_that_slurm_kills_ends_the_run(cluster, tmp_path, profile):
    (tmp_path / "Snakefile").write_text(
        "rule sleep:\n    output: 'done'\n    resources: runtime=5, mem_mb=200\n"
        "    shell: 'touch started; sleep 600; touch {output}'\n"
    )
    profiles = ["--workflow-profile", str(PROFILES / profile)]
    if profile == "slurm":
        profiles += ["--profile", str(SITE), "--slurm-init-seconds-before-status-checks", "3"]
    command = [sys.executable, "-m", "snakemake", *profiles, *QUICKLY]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=cluster.environment, stdout=said, stderr=said
        )
        try:
            wait_for((tmp_path / "started").exists, 400)
            cluster.call("scancel", cluster.jobs()[-1]["JobId"])
            assert process.wait(timeout=120) == 1
        finally:
            process.kill()
    assert "Error in rule sleep" in (tmp_path / "said").read_text()


def test_a_run_outlives_a_node_that_dies(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(
        "rule sleep:\n    output: 'done'\n    resources: runtime=5, mem_mb=200\n"
        "    shell: 'test -e started || {{ touch started; sleep 600; }}; touch {output}'\n"
    )
    profiles = ["--workflow-profile", str(PROFILES / "slurm"), "--profile", str(SITE)]
    checks = ["--slurm-init-seconds-before-status-checks", "3"]
    command = [sys.executable, "-m", "snakemake", *profiles, *QUICKLY, *checks]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=cluster.environment, stdout=said, stderr=said
        )
        try:
            wait_for((tmp_path / "started").exists, 400)
            job = cluster.jobs()[-1]
            # It comes back by itself when its daemon registers again (ReturnToService).
            down = ("State=DOWN", "Reason=died")
            cluster.call("scontrol", "update", f"NodeName={job['NodeList']}", *down)
            assert process.wait(timeout=400) == 0, (tmp_path / "said").read_text()
        finally:
            process.kill()
    [again] = [each for each in cluster.jobs() if each["JobId"] == job["JobId"]]
    assert (again["Restarts"], again["JobState"]) == ("1", "COMPLETED")
