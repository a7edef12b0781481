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


@pytest.mark.parametrize("content", [b"classes: \xff\xfe", b"classes: [", b"[]", b""])
def test_a_file_that_is_no_vocabulary_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "classes.yaml"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=r"classes\.yaml' is malformed"):
        read_vocabulary(path)
