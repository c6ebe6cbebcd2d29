"""The documents that are written from the code are what it writes now."""

import pytest

from tests.documents import DOCS, written

WRITTEN = written()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_document_is_what_the_code_writes(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == WRITTEN[name], "run: ./dev docs"
