"""The parser of the command line: what is mistyped is one sentence, with what was meant."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pipeline.core.errors import one_of

CHOICE = re.compile(r"(argument .+): invalid choice: (.+) \(choose from (.+)\)", re.DOTALL)
TYPE = re.compile(r"(argument .+): invalid (\w+) value: (.+)", re.DOTALL)
# What a value must be, by the name of the function that reads it.
TYPES = {"int": "a whole number", "float": "a number", "loads": "JSON"}


class CommandParser(argparse.ArgumentParser):
    """A parser that says a mistake in one sentence, without the usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words; what is unknown is refused by the parser that knows its neighbours."""
        self._check_options(args or ())
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and unknown[0].startswith("-"):
            self.error(f"option '{unknown[0]}' is unknown")
        if unknown:
            self.error(f"'{unknown[0]}' is one argument too many; put names with spaces in quotes")
        return found, unknown

    def _check_options(self, words: Sequence[str]) -> None:
        """Refuse an unknown option; argparse would first ask for what it was to give."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            name = word.partition("=")[0]
            if name == "--" or (self._subparsers and not name.startswith("-")):
                return  # the rest are values, or a command's
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                self.error(f"option '{name}' is unknown; it {one_of(name, known)}")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one sentence."""
        if match := CHOICE.fullmatch(message):
            given = match[2].strip("'\"")
            known = re.findall(r"'([^']*)'", match[3])
            message = f"{match[1]}: {match[2]} is given; it {one_of(given, known)}"
        elif match := TYPE.fullmatch(message):
            must = TYPES.get(match[2], f"a {match[2]}")
            message = f"{match[1]}: {match[3]} is given; it must be {must}"
        self.exit(2, f"error: {message}; see `{self.prog} --help`.\n")
