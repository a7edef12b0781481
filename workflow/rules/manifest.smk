# Which videos are there: split, file, shard.
# REQUIRED INPUTS: the annotation tables, the folder of videos.
# OUTPUTS: results/manifest.tsv


rule manifest:
    """List every video of the tables with its split, file and shard."""
    input:
        tables=LISTED,
        videos=CLIPS,
    output:
        "results/manifest.tsv",
    log:
        "logs/manifest.log",
    benchmark:
        "benchmarks/manifest.tsv"
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        annotations=folder_of("tables"),
        shards=DATASET.shards,
        rows=all_rows,
        untrimmed="--untrimmed" if DATASET.untrimmed else "",
    shell:
        "python -m pipeline manifest --annotations {params.annotations:q} --videos {input.videos:q}"
        " --shards {params.shards} {params.untrimmed} --out {output:q} 2>&1 | tee {log:q}"
