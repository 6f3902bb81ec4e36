"""Lists that a prompt draws from: ``{_colour_}`` is any line of ``colour.txt`` in a folder of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Final

from pixart_cli.core import paths
from pixart_cli.core.list_lines import Line, open_list, read_lines
from pixart_cli.core.prompt_template import MAX_DEPTH, Choice, Place, Template, parse_template

SUFFIX: Final = ".txt"
FOLDER: Final = "wildcards"
MAX_ENTRIES: Final = 1_000_000
_MOST_NAMES: Final = 10_000


def default_folders(prompt_list: Path | None, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where lists are looked for: ``wildcards/`` beside the prompt list, or here for one from standard input,
    then ``wildcards/`` in the user's configuration folder. They need not exist.
    """
    beside = paths.here() if prompt_list is None else prompt_list.parent
    return beside / FOLDER, paths.config_dir(environ) / FOLDER


class Wildcards:
    """The lists in `folders`, each read once when it is first named; the first folder that has one counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._read: dict[str, Template] = {}
        self._reading: list[str] = []

    def __call__(self, name: str, place: Place, index: int) -> Template:
        """One of the lines of the list `name`, which `place` names at `index`.

        Raises:
            PixartError: "prompt-list-invalid" when there is no such list, it is empty, longer than a million
                lines or draws from itself, or one of its lines is wrong; "disk" when it cannot be read.
        """
        if name in self._reading:
            chain = " -> ".join([*self._reading[self._reading.index(name) :], name])
            raise place.wrong(index, f"the list {name!r} draws from itself: {chain}", "Break the circle.")
        if len(self._reading) >= MAX_DEPTH:
            raise place.wrong(index, f"more than {MAX_DEPTH} lists within each other", "Use fewer.")
        if name not in self._read:
            path = self._find(name, place, index)
            self._reading.append(name)
            try:
                self._read[name] = self._template(path)
            finally:
                self._reading.pop()
        return self._read[name]

    def _find(self, name: str, place: Place, index: int) -> Path:
        for folder in self.folders:
            path = folder / f"{name}{SUFFIX}"
            if path.is_file():
                return path
        close = get_close_matches(name, list(self._names()), n=2)
        if close:
            hint = "Did you mean " + " or ".join(f"{{_{each}_}}" for each in close) + "?"
        else:
            hint = (
                f"Put {name}{SUFFIX} in " + (" or ".join(map(str, self.folders)) or "a folder of lists") + "."
            )
        raise place.wrong(index, f"no list is named {name!r}", hint)

    def _names(self) -> Iterator[str]:
        for folder in self.folders:
            for path in islice(folder.rglob(f"*{SUFFIX}"), _MOST_NAMES):
                yield path.relative_to(folder).with_suffix("").as_posix()

    def _template(self, path: Path) -> Template:
        with open_list(path) as file:
            found = [parse_template(line, self) for line in islice(_entries(file, path), MAX_ENTRIES + 1)]
        whole = Line(str(path), 1, "")
        if not found:
            raise whole.wrong(None, "a list without entries", "Write one a line.")
        if len(found) > MAX_ENTRIES:
            raise whole.wrong(None, f"a list of more than {MAX_ENTRIES} entries", "Use a shorter one.")
        return found[0] if len(found) == 1 else Choice(found)


def _entries(file: Iterator[str], path: Path) -> Iterator[Line]:
    """The lines that are neither blank nor comments, without white space around."""
    for line in read_lines(file, name=str(path)):
        bare = line.text.strip(" \t")
        if bare and not bare.startswith("#"):
            yield line.stripped()
