# Checks of the annotation tables: nothing is repaired, every finding is listed once.
# INPUTS: the annotation tables (local folder, download or demo).
# OUTPUTS: results/annotations/check.tsv


rule annotations:
    """Check the annotation tables."""
    input:
        tables=TABLES,
        vocabulary=VOCABULARY,
    output:
        "results/annotations/check.tsv",
    log:
        "logs/annotations.log",
    benchmark:
        "benchmarks/annotations.tsv"
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        annotations=folder_of("tables"),
        segments=DATASET.segments,
    shell:
        "python -m pipeline annotations --annotations {params.annotations:q}"
        " --vocabulary {input.vocabulary:q} --segments {params.segments} --out {output:q}"
        " > {log:q} 2>&1"
