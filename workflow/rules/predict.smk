# Trained parsers to event tables.
# INPUTS: checkpoints, features, prompts, pseudo-labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/predicted_{split}_{modality}.csv, probabilities_{split}.safetensors,
# thresholds.json

PREDICTIONS = expand(
    "predicted_{split}_{modality}.csv", split=SCORED_SPLITS, modality=EVENT_TABLES
)
PROBABILITIES = expand("probabilities_{split}.safetensors", split=SCORED_SPLITS)


rule predict_parser:
    """Parse the videos of validation and test."""
    input:
        checkpoints=of_job("checkpoint.safetensors"),
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        motion=motion_shards,
        prompts=run_prompts,
        labels=prior_labels,
        tables=TABLES,
    output:
        events=of_job(PREDICTIONS),
        thresholds=of_job(["thresholds.json"]),
        probabilities=of_job(PROBABILITIES),
    log:
        f"logs/predict_parser/{JOB}.log",
    benchmark:
        f"benchmarks/predict_parser/{JOB}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30 * len(JOB_SEEDS)),
    params:
        thresholds=decision_arguments,
        features=feature_arguments,
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        tables=table_contents(*SCORED_SPLITS, events=False),
        classes=class_contents("name"),
        seeds=job_seeds,
        folder=own_folder(levels=2),
    shell:
        "python -m pipeline predict --checkpoint {params.folder:q} {params.thresholds}"
        " {params.features}"
        " --annotations {params.annotations:q} --vocabulary {params.vocabulary:q}"
        " --seeds {params.seeds} --split val test --device cpu"
        " --out {params.folder:q} > {log:q} 2>&1"
