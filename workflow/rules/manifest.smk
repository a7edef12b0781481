# The videos of the dataset: split, file, shard and window.
# INPUTS: the split tables, the folder of videos.
# OUTPUTS: results/manifest.tsv


rule manifest:
    """List every video of the tables with its split, file and shard."""
    input:
        tables=SPLITS,
        videos=MADE_VIDEOS,
        checked=videos_folder,
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
        annotations=annotations_folder,
        videos=videos_path,
        options=command_words(
            {
                "shards": DATASET.shards,
                "untrimmed": DATASET.untrimmed,
                "follow_links": DATASET.follow_links,
            }
        ),
        digest=lambda wildcards: "" if IS_DEMO else checked(SOURCE.digest),
    shell:
        "python -m pipeline manifest --annotations {params.annotations:q} --videos {params.videos:q}"
        " {params.options} --out {output:q} > {log:q} 2>&1"
