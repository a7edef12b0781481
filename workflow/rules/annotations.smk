# Checks of the annotation tables: nothing is repaired, every finding is listed once.
# INPUTS: the annotation tables (yours, downloaded or the demo's), the vocabulary.
# OUTPUTS: results/annotations/check.tsv


rule annotations:
    """Check the annotation tables."""
    input:
        tables=TABLES,
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
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        tables=table_contents(*SPLIT_TABLES),
        classes=class_contents("name"),
        segments=DATASET.segments,
    shell:
        "python -m pipeline annotations --annotations {params.annotations:q}"
        " --vocabulary {params.vocabulary:q} --segments {params.segments} --out {output:q}"
        " > {log:q} 2>&1"
