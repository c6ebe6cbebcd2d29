"""The documents that are written from the code: `./dev docs` writes them, and a test holds them to it."""

from pathlib import Path

from api.openapi import document_text
from stream.ingest import schema
from tests.documents import metrics, settings
from tests.simulation import mutants

DOCS = Path(__file__).parents[2] / "docs"


def written() -> dict[str, str]:
    """Each document by its name in docs/, as it is to be."""
    guarantees = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    return {
        "settings.md": settings.page(),
        "metrics.md": metrics.page(),
        "openapi.json": document_text(),
        **schema.documents(),
        "guarantees.md": mutants.in_page(guarantees),
    }
