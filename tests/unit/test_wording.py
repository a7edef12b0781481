"""Words that messages and pages share."""

import pytest

from pipeline.core.wording import counted, first_line


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (0, "video", "0 videos"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (1200, "test video", "1,200 test videos"),
    ],
)
def test_a_number_has_its_noun_in_the_right_form(number: int, noun: str, expected: str) -> None:
    assert counted(number, noun) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("\n one\ntwo"), "one"), (KeyError(), "KeyError"), (OSError(" "), "OSError")],
)
def test_an_error_without_a_message_is_named(error: Exception, expected: str) -> None:
    assert first_line(error) == expected
