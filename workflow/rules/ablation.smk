# What each component of a method contributes. A target of its own.
# INPUTS: checkpoint, curve, scores and test predictions of every variant and seed.
# OUTPUTS: results/ablation/ablation.md, ablation.csv


rule ablation:
    """Tabulate the trained variants of one method."""
    input:
        models=trained(COMPARED, "ablation"),
        tables=TABLES,
        checked=usable_dataset,
    output:
        page="results/ablation/ablation.md",
        table="results/ablation/ablation.csv",
    log:
        "logs/ablation.log",
    benchmark:
        "benchmarks/ablation.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        models=folders_of("models"),
        annotations=annotations_folder,
        tables=table_contents(*SPLIT_TABLES),
        dataset=DATASET.name,
        out=own_folder(),
    shell:
        "python -m pipeline ablation --models {params.models:q}"
        " --annotations {params.annotations:q} --dataset {params.dataset}"
        " --out {params.out:q} > {log:q} 2>&1"
