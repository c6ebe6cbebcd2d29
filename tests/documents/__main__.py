"""Writes each document that is another one now, and says which."""

from tests.documents import DOCS, written

for name, text in written().items():
    path = DOCS / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(f"docs/{name}")
