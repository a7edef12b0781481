# Segment pseudo-labels: similarities of segments and captions, thresholded.
# INPUTS: every feature shard of CLIP and CLAP, the prompts, the annotation tables; masked labels that
# were released with imported features.
# OUTPUTS: results/pseudo_labels/labels.safetensors, thresholds.tsv, quality.json
from pipeline.core.vocabulary import EventClass
from pipeline.labels.pseudo_labels import LABELS_VERSION

# A teacher's labels are made by rule teacher_labels.
LABEL_OPTIONS = CONFIG.pseudo_labels.deciding() | {"teacher": None}


rule pseudo_labels:
    """Label every segment, with and without the weak labels' mask, and score the labels."""
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        prompts=PROMPTS,
        masked=MASKED_LABELS,
        tables=TABLES,
        checked=usable_dataset,
    output:
        labels="results/pseudo_labels/labels.safetensors",
        thresholds="results/pseudo_labels/thresholds.tsv",
        quality="results/pseudo_labels/quality.json",
    log:
        "logs/pseudo_labels.log",
    benchmark:
        "benchmarks/pseudo_labels.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        version=LABELS_VERSION,
        clip=folder_of("clip"),
        clap=folder_of("clap"),
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        tables=table_contents(*SPLIT_TABLES),
        classes=class_contents(*EventClass.model_fields),
        options=command_words(
            LABEL_OPTIONS | {"masked_labels": next(iter(MASKED_LABELS), None)}
        ),
        out=own_folder(),
    shell:
        "python -m pipeline pseudo-labels --clip {params.clip:q} --clap {params.clap:q}"
        " --annotations {params.annotations:q} --vocabulary {params.vocabulary:q}"
        " {params.options} --out {params.out:q} > {log:q} 2>&1"
