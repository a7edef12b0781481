"""What a process needs of its surroundings: standard streams, and a name for its user."""

import getpass
import os
import sys


def open_missing_streams() -> None:
    """Replace standard streams that are closed, as those of daemons may be, by the null device.

    Otherwise the next file that is opened would take a stream's number, and get its output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the stream's.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def accept_any_character() -> None:
    """Print ``?`` for characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")


def name_user() -> None:
    """Give a user without an entry in the password database a name.

    Containers run as such users; torch names its cache folder after the user when it is imported.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid{os.getuid()}"
