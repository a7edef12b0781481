"""Words that messages and pages share."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 class`` or ``1,200 classes``."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
