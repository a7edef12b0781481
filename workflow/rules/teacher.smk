# UWAV's teacher: a network that learns from densely labelled videos and labels those of the dataset.
# Methods with `labels: teacher` train on its labels, all others on results/pseudo_labels/.
# INPUTS: features and annotations of densely labelled videos; the inputs of rule pseudo_labels.
# OUTPUTS: results/teacher/teacher.safetensors, curve.csv; results/teacher_labels/ as pseudo_labels/
from pipeline.labels.teacher_options import TEACHER_VERSION


rule train_teacher:
    """Train the teacher; a killed job resumes from its last epoch."""
    input:
        clip=dense_features("clip"),
        clap=dense_features("clap"),
        annotations=dense_annotations,
    output:
        teacher="results/teacher/teacher.safetensors",
        curve="results/teacher/curve.csv",
    log:
        "logs/train_teacher.log",
    benchmark:
        "benchmarks/train_teacher.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=1,
    params:
        version=TEACHER_VERSION,
        digest=dense_digest,
        options=teacher_arguments,
        annotations=dense_file,
        clip=dense_source("clip"),
        clap=dense_source("clap"),
        out=own_folder(),
    shell:
        "python -m pipeline teacher --clip {params.clip:q} --clap {params.clap:q}"
        " --annotations {params.annotations:q} {params.options} --gpus 1"
        " --out {params.out:q} > {log:q} 2>&1"


use rule pseudo_labels as teacher_labels with:
    input:
        clip=feature_shards("clip"),
        clap=feature_shards("clap"),
        prompts=PROMPTS,
        teacher=trained_teacher,
        tables=TABLES,
    output:
        labels="results/teacher_labels/labels.safetensors",
        thresholds="results/teacher_labels/thresholds.tsv",
        quality="results/teacher_labels/quality.json",
    log:
        "logs/teacher_labels.log",
    benchmark:
        "benchmarks/teacher_labels.tsv"
    params:
        digest=teacher_digest,
        options=teacher_label_arguments,
