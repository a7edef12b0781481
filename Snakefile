# Raw videos in, parsed and evaluated events out. The rules are in workflow/rules, one file per stage,
# in this order; all logic is in pipeline/, reached through `python -m pipeline COMMAND`.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")


if Path("config.yaml").is_file():

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/functions.smk"


scattergather:
    shard=CONFIG.dataset.shards,


wildcard_constraints:
    scatteritem=r"\d+-of-\d+",
    encoder="|".join(ENCODERS),
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
include: "workflow/rules/manifest.smk"
include: "workflow/rules/segments.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/pseudo_labels.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/parse.smk"


rule all:
    """Everything, up to the report."""
    default_target: True
    input:
        "results/report/index.html",
        "results/parsing.json",


rule features:
    """The cached features of every encoder."""
    input:
        [feature_shards(encoder) for encoder in ENCODERS],


rule prompts:
    """The text embeddings of the class captions."""
    input:
        PROMPTS,


rule train:
    """Every configured method, with every configured seed."""
    input:
        trained("checkpoint.safetensors"),


rule predict:
    """Event tables of validation and test."""
    input:
        trained(PREDICTIONS),


rule evaluate:
    """The published metrics of every trained parser."""
    input:
        trained("metrics.json"),
