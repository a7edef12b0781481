# All trained parsers in one leaderboard. A target of its own.
# INPUTS: checkpoint, curve, scores and test predictions of every method and seed; the pseudo-labels.
# OUTPUTS: results/compare/compare.html, compare.md, compare.csv, compare_pairs.csv, plots as .svg with their .csv

COMPARED = [
    "checkpoint.safetensors",
    "curve.csv",
    "thresholds.json",
    "metrics.json",
    "predicted_test_audio.csv",
    "predicted_test_visual.csv",
    "probabilities_test.safetensors",
]


rule compare:
    """Rank every configured method and test its difference to the reference."""
    input:
        models=trained(COMPARED),
        labels="results/pseudo_labels/labels.safetensors",
        tables=TABLES,
        checked=usable_dataset,
    output:
        page=report(
            "results/compare/compare.html",
            caption="../report/compare.rst",
            category="Results",
        ),
        markdown="results/compare/compare.md",
        table="results/compare/compare.csv",
        pairs="results/compare/compare_pairs.csv",
    log:
        "logs/compare.log",
    benchmark:
        "benchmarks/compare.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        models=folders_of("models"),
        labels=folder_of("labels"),
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        published=not_recorded(PUBLISHED),
        known=contents([Path(PUBLISHED)]),
        tables=table_contents(*SPLIT_TABLES),
        classes=class_contents("name"),
        reference=CONFIG.reference,
        dataset=DATASET.name,
        out=own_folder(),
    shell:
        "python -m pipeline compare --models {params.models:q} --reference {params.reference}"
        " --annotations {params.annotations:q} --pseudo-labels {params.labels:q}"
        " --vocabulary {params.vocabulary:q} --published {params.published:q}"
        " --dataset {params.dataset} --out {params.out:q} > {log:q} 2>&1"
