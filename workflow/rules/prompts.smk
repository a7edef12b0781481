# The class captions through the encoders' text towers.
# INPUTS: the vocabulary, the encoder's weights and tokenizer.
# OUTPUTS: results/features/{encoder}-{fingerprint}/prompts.safetensors


rule encode_prompts:
    """Embed the captions of an encoder's modality."""
    input:
        weights=lambda wildcards: weights_files(wildcards.encoder),
        tokenizer=tokenizer_files,
    output:
        "results/features/{encoder}-{fingerprint}/prompts.safetensors",
    log:
        "logs/encode_prompts/{encoder}-{fingerprint}.log",
    benchmark:
        "benchmarks/encode_prompts/{encoder}-{fingerprint}.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        vocabulary=not_recorded(VOCABULARY),
        captions=captions_of,
        tokenizer=tokenizer_contents,
        encoder=encoder_arguments,
        runtime=encoder_runtime,
    shell:
        "python -m pipeline prompts --encoder {wildcards.encoder} {params.encoder}"
        " {params.runtime} --vocabulary {params.vocabulary:q}"
        " --fingerprint {wildcards.fingerprint} --device cpu --out {output:q} > {log:q} 2>&1"
