# The demo: a synthetic LLP of real mp4 files, rendered from a seed.
# INPUTS: none.
# OUTPUTS: resources/demo/videos/, resources/demo/annotations/*.csv
from pipeline.demo import CORPUS_VERSION


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
        version=CORPUS_VERSION,
        options=command_words(DATASET.demo.model_dump()),
        out=own_folder(),
    shell:
        "python -m pipeline demo {params.options} --workers {threads} --out {params.out:q}"
        " > {log:q} 2>&1"
