# Trained parsers to event tables.
# REQUIRED INPUTS: a checkpoint, features, prompts, pseudo-labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/predicted_{split}_{modality}.csv, probabilities_{split}.safetensors


rule predict_parser:
    """Parse the videos of validation and test."""
    input:
        checkpoint=f"{MODEL}/checkpoint.safetensors",
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        motion=motion_shards,
        labels=rules.pseudo_labels.output.labels,
        tables=TABLES,
        vocabulary=VOCABULARY,
    output:
        events=[f"{MODEL}/{file}" for file in PREDICTIONS],
        probabilities=[f"{MODEL}/{file}" for file in PROBABILITIES],
    log:
        "logs/predict_parser/{run}-seed{seed}.log",
    benchmark:
        "benchmarks/predict_parser/{run}-seed{seed}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        features=feature_arguments(),
        annotations=folder_of("tables"),
        folder=model_folder,
    shell:
        "python -m pipeline predict --checkpoint {params.folder:q} {params.features}"
        " --annotations {params.annotations:q} --vocabulary {input.vocabulary:q}"
        " --split val test --device cpu --out {params.folder:q} 2>&1 | tee {log:q}"
