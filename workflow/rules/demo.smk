# The embedded demo: a synthetic LLP of real mp4 files, drawn and sounded from a seed.
# REQUIRED INPUTS: none.
# OUTPUTS: resources/demo/videos/, resources/demo/annotations/*.csv


rule demo_corpus:
    """Render the videos and write their annotation tables in LLP's formats."""
    output:
        videos=directory("resources/demo/videos"),
        annotations=expand(
            "resources/demo/annotations/{table}",
            table=[*SPLIT_TABLES.values(), *EVENT_TABLES.values()],
        ),
    log:
        "logs/demo_corpus.log",
    benchmark:
        "benchmarks/demo_corpus.tsv"
    conda:
        "../../envs/media.yaml"
    threads: 64
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        out=own_folder(),
        version=CORPUS_VERSION,
        seed=DATASET.demo.seed,
        train=DATASET.demo.train,
        val=DATASET.demo.val,
        test=DATASET.demo.test,
    shell:
        "python -m pipeline demo --seed {params.seed} --train {params.train} --val {params.val}"
        " --test {params.test} --workers {threads} --out {params.out:q} 2>&1 | tee {log:q}"
