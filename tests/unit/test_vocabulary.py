"""LLP's classes, VALOR's captions and thresholds, row by row as they were published."""

from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary

# What follows "A photo of " (VALOR's spelling), what follows "This is a sound of ", and the
# thresholds on the scale of CLIP's and CLAP's logits. Source: VALOR's code (NeurIPS 2023).
PUBLISHED = """
Speech                 | people talking.           | speech                 | 20 | 0
Car                    | a car.                    | car                    | 15 | 0
Cheering               | people cheering.          | cheering               | 18 | 1
Dog                    | a dog.                    | dog                    | 14 | 4
Cat                    | a cat.                    | cat                    | 15 | 6
Frying_(food)          | frying food.              | frying (food)          | 18 | -2
Basketball_bounce      | people playing basketball.| basketball bounce      | 18 | 4
Fire_alarm             | a fire alarm.             | fire alarm             | 15 | 4
Chainsaw               | a chainsaw.               | chainsaw               | 15 | 2
Cello                  | a cello.                  | cello                  | 15 | 2
Banjo                  | a banjo.                  | banjo                  | 15 | 2
Singing                | people singing.           | singing                | 18 | 1
Chicken_rooster        | a chicken or a rooster.   | chicken, rooster       | 15 | 2
Violin_fiddle          | a violin.                 | violin fiddle          | 15 | 3
Vacuum_cleaner         | a vaccum cleaner.         | vacuum cleaner         | 15 | 0
Baby_laughter          | a laughing baby.          | baby laughter          | 15 | 2
Accordion              | an accordion.             | accordion              | 15 | 2
Lawn_mower             | a lawnmower.              | lawn mower             | 15 | 2
Motorcycle             | a motorcycle.             | motorcycle             | 15 | 0
Helicopter             | a helicopter.             | helicopter             | 16 | 2
Acoustic_guitar        | a acoustic guiter.        | acoustic guitar        | 14 | -1
Telephone_bell_ringing | a ringing telephone.      | telephone bell ringing | 15 | 2
Baby_cry_infant_cry    | a crying baby.            | baby cry, infant cry   | 15 | 3
Blender                | a blender.                | blender                | 15 | 3
Clapping               | hands clapping.           | clapping               | 18 | 0
"""


def test_every_class_has_its_published_place_captions_and_thresholds() -> None:
    published = [
        [field.strip() for field in line.split("|")] for line in PUBLISHED.strip().splitlines()
    ]
    ours = [
        [
            event_class.name,
            event_class.visual_caption.removeprefix("A photo of "),
            event_class.audio_caption.removeprefix("This is a sound of "),
            f"{event_class.visual_threshold:g}",
            f"{event_class.audio_threshold:g}",
        ]
        for event_class in read_vocabulary().classes
    ]
    assert ours == published


ONE_CLASS = (
    "{name: Dog, visual_caption: a dog, audio_caption: bark, visual_threshold: 1,"
    " audio_threshold: 2}"
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"classes: \xff\xfe", "is not YAML: it is not UTF-8"),
        (b"classes: [", "is not YAML: expected the node content"),
        (b"classes: 'a\x07'", "it has the control character U\\+0007; remove it"),
        (b"classes: []\nclasses: []", "key 'classes' is there twice, in line 1 and in line 2"),
        (b"[]", "it must map names to options, .* not \\[\\]"),
        (b"", "it must map names to options, .* not empty"),
        (b"classes: []", "'classes' is \\[\\]; it must not be empty"),
        (b"clases: []", "'clases' is unknown; it must be classes"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "classes.yaml"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=rf"^the vocabulary '{path}'.*{sentence}.*\.$"):
        read_vocabulary(path)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("Dog", "No", r"'classes\.0\.name' is false; it must be text: put it in quotes"),
        ("Dog", "2024-01-01", r"it must be text: put it in quotes"),
        ("Dog", "7", r"'classes\.0\.name' is 7; it must be text: put it in quotes"),
        ("Dog", "a dog", r"name' is 'a dog'; it must be one word without commas"),
        ("a dog", '"a\\x1bdog"', r"visual_caption': 'a\\x1bdog' has a control character"),
        ("visual_threshold: 1", "visual_threshold: .nan", "is nan; it must be a finite number"),
        ("audio_threshold: 2", "audio_threshold: .inf", "is inf; it must be a finite number"),
        ("audio_threshold: 2", "audio_threshold: yes", "is true; it must be a number, not true"),
        ("audio_threshold: 2", "audio_threshold: 010", "YAML reads 010 as 8"),
        ("audio_threshold: 2", "audio_treshold: 2", r"unknown; .*\(did you mean 'audio_threshold'"),
        ("name: Dog", "name: Dog, name: Cat", "key 'name' is there twice"),
    ],
)
def test_a_value_that_yaml_reads_otherwise_is_one_sentence(
    before: str, after: str, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(f"classes: [{ONE_CLASS.replace(before, after)}]")
    with pytest.raises(PipelineError, match=f"^[^\n]*{sentence}[^\n]*\\.$"):
        read_vocabulary(path)


def test_a_class_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(f"classes: [{ONE_CLASS}, {ONE_CLASS}]")
    with pytest.raises(PipelineError, match="has the class 'Dog' twice"):
        read_vocabulary(path)


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(f"classes: [{ONE_CLASS.replace(': 1,', ': 1e-3,')}]")
    assert read_vocabulary(path).thresholds("visual") == (1e-3,)
