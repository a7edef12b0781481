# Downloads, each once and with its checksum; everything after works without a network.
# INPUTS: none.
# OUTPUTS: resources/annotations/*.csv, resources/weights/{encoder}/*, resources/hub/{owner}/{name}/*


def table_source(wildcards):
    """Return the configured download of an annotation table."""
    if wildcards.table not in DATASET.tables:
        raise WorkflowError(
            f"dataset.tables has no '{wildcards.table}'; add its url and sha256, or name a folder"
            " in dataset.annotations."
        )
    return DATASET.tables[wildcards.table]


def weights_source(wildcards):
    """Return the options of the encoder whose weights are downloaded."""
    options = ENCODERS[wildcards.encoder]
    if options.url is None:
        raise WorkflowError(
            f"encoders.{wildcards.encoder}.weights is '{options.weights}', which does not exist;"
            " put the file there or set encoders."
            f"{wildcards.encoder}.url."
        )
    return options


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
        "python -m pipeline fetch --url {params.url:q} --sha256 {params.sha256}"
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
        "python -m pipeline fetch --url {params.url:q} --sha256 {params.sha256}"
        " --out {output:q} > {log:q} 2>&1"
