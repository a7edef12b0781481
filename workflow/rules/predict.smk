# Trained parsers to event tables.
# REQUIRED INPUTS: a checkpoint, features, prompts, pseudo-labels, the annotation tables.
# OUTPUTS: results/{run}/seed{seed}/predicted_{split}_{audio,visual}.csv


rule predict_split:
    """Parse the videos of validation or test."""
    input:
        checkpoint=rules.train_parser.output.checkpoint,
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        labels=rules.pseudo_labels.output.labels,
        tables=TABLES,
        vocabulary=VOCABULARY,
    output:
        audio=f"{MODEL}/predicted_{{split}}_audio.csv",
        visual=f"{MODEL}/predicted_{{split}}_visual.csv",
        probabilities=f"{MODEL}/probabilities_{{split}}.safetensors",
    log:
        "logs/predict_split/{run}-seed{seed}-{split}.log",
    benchmark:
        "benchmarks/predict_split/{run}-seed{seed}-{split}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        features=feature_arguments(),
        annotations=folder_of("tables"),
        folder=model_folder,
    shell:
        "python -m pipeline predict --checkpoint {params.folder:q} {params.features}"
        " --annotations {params.annotations:q} --vocabulary {input.vocabulary:q}"
        " --split {wildcards.split} --out {params.folder:q} 2>&1 | tee {log:q}"
