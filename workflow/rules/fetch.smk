# Downloads, each once and with its checksum; everything after works without a network.
# INPUTS: none.
# OUTPUTS: resources/annotations/*.csv, resources/weights/{encoder}/*, resources/hub/{owner}/{name}/*


rule fetch_annotations:
    """Download one annotation table."""
    output:
        "resources/annotations/{table}",
    log:
        "logs/fetch_annotations/{table}.log",
    benchmark:
        "benchmarks/fetch_annotations/{table}.tsv"
    localrule: True
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        url=lambda wildcards: table_source(wildcards).url,
        sha256=lambda wildcards: table_source(wildcards).sha256,
    shell:
        "python -m pipeline fetch {params.url:q} --sha256 {params.sha256}"
        " --out {output:q} > {log:q} 2>&1"


rule fetch_weights:
    """Download an encoder's weights."""
    output:
        "resources/weights/{encoder}/{file}",
    log:
        "logs/fetch_weights/{encoder}/{file}.log",
    benchmark:
        "benchmarks/fetch_weights/{encoder}/{file}.tsv"
    localrule: True
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        url=lambda wildcards: weights_source(wildcards).url,
        sha256=lambda wildcards: weights_source(wildcards).sha256,
    shell:
        "python -m pipeline fetch {params.url:q} --sha256 {params.sha256}"
        " --out {output:q} > {log:q} 2>&1"


# The commit and checksum are recorded beside the file, which later downloads must match; the record
# is not an output, so that Snakemake never deletes it.
rule fetch_hub_file:
    """Download a file from the Hugging Face Hub."""
    output:
        "resources/hub/{owner}/{name}/{file}",
    log:
        "logs/fetch_hub_file/{owner}/{name}/{file}.log",
    benchmark:
        "benchmarks/fetch_hub_file/{owner}/{name}/{file}.tsv"
    wildcard_constraints:
        owner="[^/]+",
        name="[^/]+",
    localrule: True
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        source=hub_source,
    shell:
        "python -m pipeline fetch {params.source:q} --out {output:q} > {log:q} 2>&1"
