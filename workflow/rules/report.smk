# Tables, plots and the page of a run.
# INPUTS: checkpoints, metrics, curves and predictions of every parser, pseudo-labels, status tables.
# OUTPUTS: results/report/index.html, results.md, results.csv, tables of every method, plots as .svg with their .csv


rule report:
    """Draw the result tables, the plots and the page."""
    input:
        models=trained(
            [
                "checkpoint.safetensors",
                "curve.csv",
                "metrics.json",
                *PREDICTIONS,
                *PROBABILITIES,
            ]
        ),
        labels=rules.pseudo_labels.output,
        statuses=[feature_statuses(encoder) for encoder in FINGERPRINTS],
        check="results/annotations/check.tsv",
        tables=TABLES,
        vocabulary=VOCABULARY,
        published=from_package("package:published.yaml"),
    output:
        page=report(
            "results/report/index.html",
            caption="../report/page.rst",
            category="Results",
        ),
        table=report(
            "results/report/results.csv",
            caption="../report/results.rst",
            category="Results",
        ),
        markdown="results/report/results.md",
        provenance="results/report/provenance.json",
        timeline="results/report/timeline.svg",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        models=folder_of("models", levels=3),
        labels=folder_of("labels"),
        annotations=folder_of("tables"),
        dataset=DATASET.name,
        deciding=lambda wildcards: run_settings(CONFIG.deciding()),
        videos=not_recorded(command_words({"videos": VIDEOS})),
        settings=lambda wildcards, threads: run_settings(CONFIG.model_dump(mode="json")),
        out=own_folder(),
    shell:
        "python -m pipeline report --models {params.models:q} --pseudo-labels {params.labels:q}"
        " --annotations {params.annotations:q} --statuses {input.statuses:q} --check {input.check:q}"
        " {params.videos} --benchmarks benchmarks --vocabulary {input.vocabulary:q}"
        " --published {input.published:q} --dataset {params.dataset}"
        " --settings {params.settings:q} --out {params.out:q} > {log:q} 2>&1"
