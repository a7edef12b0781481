# Raw videos in, parsed and evaluated events out. The rules are in workflow/rules, one file per stage,
# in this order; all logic is in pipeline/, reached through `python -m pipeline COMMAND`.
import time
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/functions.smk"


scattergather:
    shard=CONFIG.dataset.shards,


wildcard_constraints:
    scatteritem=r"\d+-of-\d+",
    encoder="|".join(FINGERPRINTS),
    decoding=r"[0-9a-f]{10}",
    fingerprint=r"[0-9a-f]{10}",
    run=r"(?:models|ablation)/[a-z0-9_]+",
    seed=r"\d+",


localrules:
    all,
    features,
    prompts,
    train,
    predict,
    evaluate,


include: "workflow/rules/fetch.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/videos.smk"
include: "workflow/rules/annotations.smk"


# Features are made of videos, or imported where others released them.
if IMPORTED:

    include: "workflow/rules/import.smk"

else:

    include: "workflow/rules/manifest.smk"
    include: "workflow/rules/segments.smk"
    include: "workflow/rules/features.smk"

    if DATASET.encode_while_decoding:

        include: "workflow/rules/encode_videos.smk"
    include: "workflow/rules/prompts.smk"


# A second synthetic corpus for the teacher.
if CONFIG.teacher is not None and CONFIG.teacher.demo is not None:

    include: "workflow/rules/dense_demo.smk"


include: "workflow/rules/pseudo_labels.smk"
include: "workflow/rules/teacher.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/parse.smk"


STARTED = time.time()
is_read = True


# What a run was started for: the tables and pages that it has just written.
onsuccess:
    for name in ("report", "compare", "ablation", "parse"):
        path = Path(f"logs/{name}.log")
        if path.is_file() and path.stat().st_mtime >= STARTED:
            print(path.read_text(encoding="utf-8", errors="replace"))


rule all:
    """Everything, up to the report."""
    default_target: True
    input:
        usable_dataset,
        [] if IMPORTED else "results/manifest.tsv",
        "results/report/index.html",
        "results/parsing.json",
        # Imported features are of a dataset with published results: the leaderboard shows both.
        ["results/compare/compare.md"] if IMPORTED else [],


rule features:
    """The cached features of every encoder."""
    input:
        videos_folder,
        [feature_shards(encoder) for encoder in FINGERPRINTS],


rule prompts:
    """The text embeddings of the class captions."""
    input:
        PROMPTS,


rule train:
    """Every configured method, with every configured seed."""
    input:
        usable_dataset,
        trained("checkpoint.safetensors"),


rule predict:
    """Event tables of validation and test."""
    input:
        usable_dataset,
        trained(PREDICTIONS),


rule evaluate:
    """The published metrics of every trained parser."""
    input:
        usable_dataset,
        trained("metrics.json"),
