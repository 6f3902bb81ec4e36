"""Prompt lists that programs write: CSV with a header, and JSONL, one object a line."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import CODE, MAX_LINE_CHARACTERS, Line
from pixart_cli.core.option_words import check_option
from pixart_cli.core.options import BY_SETTING, PICTURE_SETTINGS
from pixart_cli.core.prompt_template import Place
from pixart_cli.core.request import refuse_unknown
from pixart_cli.core.table_places import in_csv, in_json

PROMPT: Final = "prompt"
_COLUMNS: Final = dict.fromkeys((PROMPT, *PICTURE_SETTINGS))
_ENDLESS: Final = "a quote that is never closed, or a cell as long as no prompt is"
_QUOTES: Final = 'Put text in quotes, and write "" for a quote inside them.'
_DELIMITERS: Final = (",", "\t", ";")
_OBJECT: Final = re.compile(r'\s*\{\s*"[^"]*"\s*:')
_BY_ENDING: Final[Mapping[str, Literal["text", "csv", "jsonl"]]] = {
    "txt": "text", "csv": "csv", "tsv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl",
}  # fmt: skip


@dataclass
class Row:
    """What one prompt of a list says: its text, options by key, and the number of its line."""

    prompt: Place
    number: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One value's text; `locate` says on which line, and where on it, one of its characters stands."""

    name: str
    text: str
    locate: Callable[[int], tuple[int, int]]

    @property
    def place(self) -> str:
        """ "jobs.csv:3:7" for its first character."""
        return self._place(0)

    def _place(self, index: int) -> str:
        number, column = self.locate(index)
        return f"{self.name}:{number}:{column + 1}"

    def wrong(self, index: int | None, what: str, hint: str) -> PixartError:
        """The error which says that `what` is wrong at the character `index`."""
        return PixartError(CODE, f"{self._place(index or 0)}: {what}", hint)


def detect(first: Line, name: str) -> Literal["text", "csv", "jsonl"]:
    """How a list is written, by the ending of its `name`, else by its `first` line that says anything.

    Only a list that begins with its header is taken for CSV.
    """
    known = _BY_ENDING.get(name.rpartition(".")[2].lower()) if "." in name else None
    if known is not None:
        return known
    if _OBJECT.match(first.text):
        return "jsonl"
    names = [_key(cell) for cell in _cells(first)]
    return "csv" if first.number == 1 and len(names) > 1 and PROMPT in names else "text"


def _key(name: str) -> str:
    """The key of a setting from the name of a column, as people write those."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _cells(line: Line) -> list[str]:
    try:
        return next(csv.reader([line.text], delimiter=_delimiter(line)), [])
    except csv.Error:
        return []


def _delimiter(header: Line) -> str:
    """A comma, unless the header has none but tabs or semicolons, as spreadsheets write in some countries."""
    return next((mark for mark in _DELIMITERS if mark in header.text), ",")


def csv_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """The rows of a CSV list; empty cells say nothing.

    Raises:
        PixartError: "prompt-list-invalid" naming line and column.
    """
    records = _records(iter(lines))
    first = next(records, None)
    if first is None:  # nothing but commas
        return
    header, delimiter = first
    keys = [_column(cell) for cell in header]
    for number, key in enumerate(keys):
        if key and key in keys[:number]:
            raise header[number].wrong(None, f"a second column named {key}", "Remove one of them.")
    if PROMPT not in keys:
        raise header[0].wrong(None, "no column is named prompt", "Name the columns in the first line.")
    for cells, _ in records:
        if len(cells) > len(keys):
            what = f"{len(cells)} cells, and the header names {len(keys)} columns"
            raise cells[len(keys)].wrong(None, what, f"Put text that holds a {delimiter!r} in quotes.")
        yield _csv_row(dict(zip(keys, cells, strict=False)), cells[0])


def _records(lines: Iterator[Line]) -> Iterator[tuple[list[Cell], str]]:
    """The cells of each record, which may be several lines long, and what parts them."""
    taken: list[Line] = []
    first = next(lines)
    delimiter = _delimiter(first)
    texts = _texts(chain([first], lines), taken)
    reader = csv.reader(texts, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        try:
            texts_of_cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            endless = "end of data" in str(error) or "field limit" in str(error)
            what = _ENDLESS if endless else f"not CSV: {error}"
            raise taken[0].wrong(0, what, _QUOTES) from None
        if any(texts_of_cells):
            yield _located(texts_of_cells, tuple(taken), delimiter), delimiter
        taken.clear()


def _texts(lines: Iterable[Line], taken: list[Line]) -> Iterator[str]:
    """The text of each line, put down in `taken` until its record is whole."""
    length = 0
    for line in lines:
        length = len(line.text) + 1 + (length if taken else 0)
        taken.append(line)
        if length > MAX_LINE_CHARACTERS:
            raise taken[0].wrong(0, _ENDLESS, _QUOTES)
        yield line.text + "\n"


def _located(texts: list[str], lines: tuple[Line, ...], delimiter: str) -> list[Cell]:
    def cell(number: int, text: str) -> Cell:
        return Cell(lines[0].name, text, lambda index: in_csv(lines, delimiter, number, index))

    return [cell(number, text) for number, text in enumerate(texts)]


def _column(cell: Cell) -> str:
    """The key that a column's name stands for; a column without a name, or with one after #, says nothing."""
    key = _key(cell.text)
    if not key or key.startswith("#"):
        return ""
    return _known(key, cell)


def _known(key: str, cell: Cell) -> str:
    if key in _COLUMNS:
        return key
    setting = BY_SETTING.get(key)
    if setting is not None and setting.whole_batch:
        what = f"{key} cannot be said of one picture: {setting.whole_batch}"
        raise cell.wrong(None, what, "Say it on the command line, for the whole batch.")
    refuse_unknown(key, _COLUMNS, source=cell.place, code=CODE)
    return key


def _checked(key: str, read: Callable[..., Any], value: Any, cell: Cell) -> Any:
    """What `read`, of the setting `key`, makes of `value`; the place of `cell` is found if it is wrong."""
    try:
        return check_option(PICTURE_SETTINGS[key], read(value, source=cell.name, code=CODE), cell.name)
    except PixartError:
        place = cell.place
    return check_option(PICTURE_SETTINGS[key], read(value, source=place, code=CODE), place)


def _csv_row(cells: dict[str, Cell], first: Cell) -> Row:
    cells.pop("", None)
    prompt = cells.pop(PROMPT, None)
    if prompt is None or not prompt.text.strip():
        raise (prompt or first).wrong(None, "a row without a prompt", "Say what to draw.")
    options = {}
    for key, cell in cells.items():
        if cell.text.strip():
            options[key] = _checked(key, PICTURE_SETTINGS[key].read, cell.text, cell)
    return Row(prompt, prompt.locate(0)[0], options)


def jsonl_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """The rows of a JSONL list; blank lines and ``#`` comments are passed over, null says nothing.

    Raises:
        PixartError: "prompt-list-invalid" naming line and column.
    """
    for line in lines:
        bare = line.stripped()
        if bare.text and not bare.text.startswith("#"):
            yield _json_row(bare, _object(bare))


def _object(line: Line) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            double = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise line.wrong(in_json(line.text, double, 0), f"the key {double[:40]!r} twice", "Remove one.")
        return values

    try:
        value = json.loads(line.text, object_pairs_hook=unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise line.wrong(error.pos, f"not JSON: {error.msg}", 'Write {"prompt": "..."}.') from None
    except (ValueError, RecursionError):
        raise line.wrong(0, "not JSON that can be read", "Write text and numbers alone.") from None
    if not isinstance(value, dict):
        hint = "Write one object a line, not a list of them: jq -c '.[]' makes the one of the other."
        raise line.wrong(0, "not an object", hint)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _json_row(line: Line, values: dict[str, Any]) -> Row:
    def cell(written: str, text: str) -> Cell:
        return Cell(
            line.name, text, lambda index: (line.number, line.start + in_json(line.text, written, index))
        )

    options: dict[str, Any] = {}
    prompt: Cell | None = None
    for written, value in values.items():
        if value is None or written.startswith("#"):
            continue
        here = cell(written, value if isinstance(value, str) else "")
        key = _known(_key(written), here)
        if key in options or (key == PROMPT and prompt is not None):
            raise here.wrong(None, f"{key} is set twice", "Remove one of them.")
        if key == PROMPT:
            prompt = _text(here, value)
        else:
            options[key] = _checked(key, PICTURE_SETTINGS[key].check, value, here)
    if prompt is None or not prompt.text.strip():
        raise (prompt or line).wrong(0, "an object without a prompt", "Say what to draw.")
    return Row(prompt, line.number, options)


def _text(cell: Cell, value: Any) -> Cell:
    if isinstance(value, str):
        return cell
    raise cell.wrong(None, "the prompt is not text", "Put it in quotes.")
