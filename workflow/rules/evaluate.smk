# Event tables scored with the published LLP metrics.
# INPUTS: predictions of validation and test, the annotation tables, corrections of them.
# OUTPUTS: results/{run}/seed{seed}/metrics.json


rule evaluate_parser:
    """Score a trained parser on validation and test."""
    input:
        events=expand("results/{{run}}/seed{{seed}}/{file}", file=PREDICTIONS),
        videos=expand("results/{{run}}/seed{{seed}}/{file}", file=PROBABILITIES),
        tables=TABLES,
    output:
        "results/{run}/seed{seed}/metrics.json",
    log:
        "logs/evaluate_parser/{run}-seed{seed}.log",
    benchmark:
        "benchmarks/evaluate_parser/{run}-seed{seed}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        tables=table_contents(*SCORED_SPLITS),
        classes=class_contents("name"),
        corrected=contents(CORRECTIONS),
        corrections=not_recorded(command_words({"corrections": DATASET.corrections})),
        folder=own_folder(),
    shell:
        "python -m pipeline evaluate-model --model {params.folder:q}"
        " --annotations {params.annotations:q} --vocabulary {params.vocabulary:q}"
        " {params.corrections} > {log:q} 2>&1"
