# Parsers, trained on the cached features: a job for each run (a method or a variant) and seed, or
# one for all seeds of a run.
# REQUIRED INPUTS: features, prompts, pseudo-labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/checkpoint.safetensors, curve.csv


rule train_parser:
    """Train a run; a killed job carries on from its last epoch and trains no seed twice."""
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        motion=motion_shards,
        prompts=[rules.clip_prompts.output, rules.clap_prompts.output],
        labels=rules.pseudo_labels.output.labels,
        tables=TABLES,
        vocabulary=VOCABULARY,
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
        features=feature_arguments,
        annotations=folder_of("tables"),
        method=method_of,
        options=method_options,
        seeds=JOB_SEEDS,
        folder=own_folder(levels=2),
    shell:
        "python -m pipeline train --method {params.method} {params.features}"
        " --annotations {params.annotations:q} --vocabulary {input.vocabulary:q}"
        " --seeds {params.seeds} --processes {threads} --gpus {threads} {params.options}"
        " --fit-only --out {params.folder:q} 2>&1 | tee {log:q}"
