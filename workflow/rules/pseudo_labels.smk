# Similarities of segments and captions to segment labels.
# REQUIRED INPUTS: every feature shard, the prompts, the annotation tables.
# OUTPUTS: results/pseudo_labels/labels.safetensors, thresholds.tsv, quality.json


rule pseudo_labels:
    """Label every segment, with and without the weak labels' mask, and score the labels."""
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        prompts=[rules.clip_prompts.output, rules.clap_prompts.output],
        tables=TABLES,
        vocabulary=VOCABULARY,
    output:
        labels="results/pseudo_labels/labels.safetensors",
        thresholds="results/pseudo_labels/thresholds.tsv",
        quality="results/pseudo_labels/quality.json",
    log:
        "logs/pseudo_labels.log",
    benchmark:
        "benchmarks/pseudo_labels.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        version=LABELS_VERSION,
        clip=folder_of("clip"),
        clap=folder_of("clap"),
        annotations=folder_of("tables"),
        out=own_folder(),
        thresholds=CONFIG.pseudo_labels.thresholds,
    shell:
        "python -m pipeline pseudo-labels --clip {params.clip:q} --clap {params.clap:q}"
        " --annotations {params.annotations:q} --vocabulary {input.vocabulary:q}"
        " --thresholds {params.thresholds} --out {params.out:q} 2>&1 | tee {log:q}"
