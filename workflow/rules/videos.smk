# Videos that the folder lacks, downloaded from YouTube one after the other. Nothing depends on it:
# the folder can as well be filled by hand.
# INPUTS: the annotation tables.
# OUTPUTS: clips in the folder of videos; results/videos/missing.tsv, coverage.tsv


# One job with one pace, on the machine that runs Snakemake, which has a network. It declares no
# output: it runs whenever it is asked for, and keeps what it has when it is stopped.
rule videos:
    """Download the videos that the folder lacks, and list what is missing."""
    input:
        tables=TABLES,
    log:
        "logs/videos.log",
    retries: 0  # when a site blocks, a profile's retries would only make it worse
    localrule: True
    conda:
        "../../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10080,
    params:
        annotations=folder_of("tables"),
        download=download_arguments,
    shell:
        "python -m pipeline videos --annotations {params.annotations:q} {params.download}"
        " --out results/videos 2>&1 | tee {log:q}"
