# Parsers, trained on the cached features. A run is `models/{method}` or `ablation/{variant}`; the same
# rules train, predict and score both. A job trains one seed of a run, or all (training.seeds_at_once).
# INPUTS: features, prompts, pseudo-labels or the teacher's labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/checkpoint.safetensors, curve.csv
from pipeline.parsers.registry import PARSERS_VERSION

IS_TOGETHER = CONFIG.training.seeds_at_once is not None
JOB = "{run}" if IS_TOGETHER else "{run}-seed{seed}"
JOB_SEEDS = CONFIG.training.seeds if IS_TOGETHER else ["{seed}"]
SEEDS_AT_ONCE = min(CONFIG.training.seeds_at_once or 1, len(JOB_SEEDS))
IS_BATCHED = CONFIG.training.batch_seeds and SEEDS_AT_ONCE < len(JOB_SEEDS)


rule train_parser:
    """Train a run; a killed job resumes from its last epoch and trains no seed twice."""
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        motion=motion_shards,
        prompts=run_prompts,
        labels=training_labels,
        tables=TABLES,
    output:
        checkpoints=of_job("checkpoint.safetensors"),
        curves=of_job("curve.csv"),
    log:
        f"logs/train_parser/{JOB}.log",
    benchmark:
        f"benchmarks/train_parser/{JOB}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: SEEDS_AT_ONCE
    resources:
        mem_mb=growing(8000 * SEEDS_AT_ONCE),
        runtime=growing(240 * -(-len(JOB_SEEDS) // SEEDS_AT_ONCE)),
        gpu=SEEDS_AT_ONCE,
    params:
        version=PARSERS_VERSION,
        method=method_arguments,
        features=feature_arguments,
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        tables=table_contents("train", "val"),
        classes=class_contents("name"),
        seeds=job_seeds,
        batching="--batch-seeds" if IS_BATCHED else "",
        out=own_folder(levels=2),
    shell:
        "python -m pipeline train {params.method} {params.features}"
        " --annotations {params.annotations:q} --vocabulary {params.vocabulary:q}"
        " --seeds {params.seeds} --processes {threads} --gpus {threads} {params.batching}"
        " --fit-only --out {params.out:q} > {log:q} 2>&1"
