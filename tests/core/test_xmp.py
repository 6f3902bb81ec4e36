from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixart_cli.core import xmp
from pixart_cli.core.png import encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def described(packet: str) -> dict[str, Any]:
    """The rdf:Description of `packet`, as Pillow reads it out of a PNG."""
    data = encode(Image.new("RGB", (2, 2)), [(xmp.KEY, packet)], dpi=None)
    with Image.open(io.BytesIO(data)) as image:
        found: dict[str, Any] = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    return found


def test_says_that_a_trained_algorithm_made_it() -> None:
    found = described(
        xmp.packet(
            creator_tool="pixart 1.2.3",
            description="a <sun> & sea",
            prompt="p",
            system="s",
            system_version="v",
        )
    )
    assert found["CreatorTool"] == "pixart 1.2.3"
    assert found["DigitalSourceType"] == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert found["description"]["Alt"]["li"] == {"lang": "x-default", "text": "a <sun> & sea"}
    assert (found["AISystemUsed"], found["AISystemVersionUsed"]) == ("s", "v")
    assert found["AIPromptInformation"] == "p"


def test_properties_are_in_the_namespaces_of_the_standards() -> None:
    text = xmp.packet(creator_tool="t", prompt="p")
    assert "<Iptc4xmpExt:AIPromptInformation>p</Iptc4xmpExt:AIPromptInformation>" in text
    assert 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"' in text
    assert 'xmlns:xmp="http://ns.adobe.com/xap/1.0/"' in text


def test_empty_values_leave_their_property_out() -> None:
    found = described(xmp.packet(creator_tool="t"))
    assert {key for key in found if key[0].isupper()} == {"CreatorTool", "DigitalSourceType"}


@given(TEXT.filter(str.strip))
def test_any_prompt_gives_xml_that_reads_back_without_its_illegal_characters(prompt: str) -> None:
    found = described(xmp.packet(creator_tool="t", prompt=prompt))
    legal = "".join(
        c if c in "\t\n\r" or (ord(c) >= 0x20 and c not in "\ufffe\uffff") else "\ufffd" for c in prompt
    )
    assert found["AIPromptInformation"].strip() == legal.strip()
