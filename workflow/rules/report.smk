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
                "thresholds.json",
                "metrics.json",
                *PREDICTIONS,
                *PROBABILITIES,
            ]
        ),
        labels=rules.pseudo_labels.output,
        statuses=[feature_statuses(encoder) for encoder in FINGERPRINTS],
        check="results/annotations/check.tsv",
        tables=TABLES,
        checked=usable_dataset,
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
        models=folders_of("models"),
        labels=folder_of("labels"),
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        published=not_recorded(PUBLISHED),
        known=contents([Path(PUBLISHED)]),
        tables=table_contents(*SPLIT_TABLES),
        classes=class_contents("name"),
        dataset=DATASET.name,
        identity=run_identity,
        videos=not_recorded(command_words({"videos": VIDEOS})),
        settings=run_settings,
        benchmarks=run_benchmarks,
        out=own_folder(),
    shell:
        "python -m pipeline report --models {params.models:q} --pseudo-labels {params.labels:q}"
        " --annotations {params.annotations:q} --statuses {input.statuses:q} --check {input.check:q}"
        " {params.videos} --benchmarks {params.benchmarks:q} --vocabulary {params.vocabulary:q}"
        " --published {params.published:q} --dataset {params.dataset}"
        " --settings {params.settings:q} --out {params.out:q} > {log:q} 2>&1"
