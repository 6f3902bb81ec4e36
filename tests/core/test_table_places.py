"""Places in tables: the character found is the character meant."""

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.list_lines import Line
from pixart_cli.core.table_places import in_csv, in_json

CELLS = st.lists(st.text(st.sampled_from('ab ",;\n{é'), max_size=6), min_size=1, max_size=4)


@given(CELLS, st.sampled_from(",;\t"), st.data())
def test_every_character_of_a_csv_record_is_found(cells, delimiter, data):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_ALL).writerow(cells)
    lines = [Line("x", 7 + n, text) for n, text in enumerate(out.getvalue().split("\n"))]
    cell = data.draw(st.integers(0, len(cells) - 1))
    for index, character in enumerate(cells[cell]):
        number, column = in_csv(lines, delimiter, cell, index)
        assert (lines[number - 7].text + "\n")[column] == character


def test_cells_without_quotes_and_with_spaces_before_them():
    lines = [Line("x", 1, 'a,  b, "c, ""d"" e",f')]
    assert [in_csv(lines, ",", cell, 0)[1] for cell in range(4)] == [0, 4, 8, 20]
    assert lines[0].text[in_csv(lines, ",", 2, 4)[1]] == "d" or in_csv(lines, ",", 2, 3)[1] == 11


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=5), min_size=1), st.booleans(), st.data())
def test_every_value_of_a_json_object_is_found(values, ascii_only, data):
    text = json.dumps(values, ensure_ascii=ascii_only)
    key = data.draw(st.sampled_from(sorted(values)))
    if key.isalnum() and key.isascii():
        assert text[in_json(text, key, 0) :].startswith(json.dumps(values[key], ensure_ascii=ascii_only)[1:])


def test_escapes_count_as_one_character():
    text = '{"a": 1, "prompt": "\\u00e9\\ud83c\\udf07\\n{"}'
    assert text[in_json(text, "prompt", 3)] == "{"
    assert text[in_json(text, "a", 0)] == "1"
    assert in_json(text, "b", 0) == 0
