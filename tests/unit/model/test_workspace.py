"""What a workspace's id may be: one rule for the publisher, the API's addresses and the schemas."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.openapi import openapi
from stream.ingest.schema import event_schema
from stream.model.workspace import WORKSPACE_LENGTH, WORKSPACE_PATTERN, is_workspace


@pytest.mark.parametrize(
    ("workspace_id", "possible"),
    [("w", True), ("A-z0.9_~:@", True), ("w" * 128, True), ("w" * 129, False), ("", False), (".", False), ("..", False),
     ("...", True), (".w", True), ("a b", False), ("ä", False), ("a/b", False), ("a\n", False)],
)  # fmt: skip
def test_which_ids_a_workspace_can_have(workspace_id: str, possible: bool) -> None:
    assert is_workspace(workspace_id) is possible


@given(st.text(alphabet="aZ9._~:@- /\n", max_size=6))
def test_the_pattern_says_the_same(text: str) -> None:
    assert (re.fullmatch(WORKSPACE_PATTERN, text) is not None) is is_workspace(text)


def test_both_schemas_tell_the_rule() -> None:
    expected = (1, WORKSPACE_LENGTH, WORKSPACE_PATTERN)
    event = event_schema()["properties"]["workspace_id"]
    (path,) = (one for one in openapi()["components"]["parameters"].values() if one["name"] == "workspace_id")
    assert [(of["minLength"], of["maxLength"], of["pattern"]) for of in (event, path["schema"])] == [expected] * 2
