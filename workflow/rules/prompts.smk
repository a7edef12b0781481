# The class captions through the encoders' text towers.
# REQUIRED INPUTS: the vocabulary, the encoders' weights and tokenizers.
# OUTPUTS: results/features/{encoder}-{fingerprint}/prompts.safetensors


rule clip_prompts:
    """Embed the visual captions with CLIP."""
    input:
        vocabulary=VOCABULARY,
        weights=weights_of("clip"),
        tokenizer=tokenizer_of("clip"),
    output:
        f"{FOLDERS['clip']}/prompts.safetensors",
    log:
        "logs/clip_prompts.log",
    benchmark:
        "benchmarks/clip_prompts.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        encoder=encoder_arguments("clip"),
        running=running_arguments("clip"),
        fingerprint=FINGERPRINTS["clip"],
    shell:
        "python -m pipeline prompts {params.encoder} {params.running}"
        " --vocabulary {input.vocabulary:q} --fingerprint {params.fingerprint} --device cpu"
        " --out {output:q} 2>&1 | tee {log:q}"


use rule clip_prompts as clap_prompts with:
    input:
        vocabulary=VOCABULARY,
        weights=weights_of("clap"),
        tokenizer=tokenizer_of("clap"),
    output:
        f"{FOLDERS['clap']}/prompts.safetensors",
    log:
        "logs/clap_prompts.log",
    benchmark:
        "benchmarks/clap_prompts.tsv"
    params:
        encoder=encoder_arguments("clap"),
        running=running_arguments("clap"),
        fingerprint=FINGERPRINTS["clap"],
