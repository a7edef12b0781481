# Videos that the folder lacks, from YouTube, one after the other. Nothing else depends on it: the
# folder may as well be filled by hand, and what is in it is never asked for.
# REQUIRED INPUTS: the annotation tables.
# OUTPUTS, beside the folder's clips: results/videos/missing.tsv, coverage.tsv


# One job, so that one pace holds; on the machine that runs Snakemake, which has a network. It
# declares no output: it runs whenever it is asked for, and what it has got stays when it is stopped.
rule videos:
    """Download what the folder of videos lacks, and list what is missing."""
    input:
        tables=TABLES,
    log:
        "logs/videos.log",
    retries: 0  # where it stops because a site blocks, a profile's retries would only knock again
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
