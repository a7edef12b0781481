# Downloads, each once and with its checksum; everything after works with no network.
# REQUIRED INPUTS: none.
# OUTPUTS: resources/annotations/*.csv, resources/weights/{encoder}/*


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
        url=table_url,
        sha256=table_sha256,
    shell:
        "python -m pipeline fetch --url {params.url:q} --sha256 {params.sha256}"
        " --out {output:q} 2>&1 | tee {log:q}"


rule fetch_weights:
    """Download an encoder's weights."""
    output:
        "resources/weights/{encoder}/{file}",
    log:
        "logs/fetch_weights/{encoder}/{file}.log",
    benchmark:
        "benchmarks/fetch_weights/{encoder}/{file}.tsv"
    wildcard_constraints:
        encoder="|".join(ENCODERS),
    localrule: True
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        url=weights_url,
        sha256=weights_sha256,
    shell:
        "python -m pipeline fetch --url {params.url:q} --sha256 {params.sha256}"
        " --out {output:q} 2>&1 | tee {log:q}"
