# Parsers, trained on the cached features, one job a run (a method or a variant) and seed.
# REQUIRED INPUTS: features, prompts, pseudo-labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/checkpoint.safetensors, curve.csv


rule train_parser:
    """Train one run with one seed; a killed job carries on from its last epoch."""
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        motion=motion_shards,
        prompts=[rules.clip_prompts.output, rules.clap_prompts.output],
        labels=rules.pseudo_labels.output.labels,
        tables=TABLES,
        vocabulary=VOCABULARY,
    output:
        checkpoint=f"{MODEL}/checkpoint.safetensors",
        curve=f"{MODEL}/curve.csv",
    log:
        "logs/train_parser/{run}-seed{seed}.log",
    benchmark:
        "benchmarks/train_parser/{run}-seed{seed}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=1,
    params:
        version=PARSERS_VERSION,
        features=feature_arguments(),
        annotations=folder_of("tables"),
        method=method_of,
        options=method_options,
        folder=model_folder,
    shell:
        "python -m pipeline train --method {params.method} {params.features}"
        " --annotations {params.annotations:q} --vocabulary {input.vocabulary:q}"
        " --seed {wildcards.seed} {params.options} --fit-only --gpus 1"
        " --out {params.folder:q} 2>&1 | tee {log:q}"
