"""What dry runs of the workflow print."""

import re


def planned_jobs(text: str) -> dict[str, int]:
    """Return how many jobs of each rule the output of a dry run plans."""
    if "Nothing to be done" in text:
        return {}
    table = text.split("job ", 1)[1].split("total", 1)[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
