"""What `run` can be told together."""

import argparse

import pytest

from cli.run import add_arguments


@pytest.mark.parametrize("words", [["--events", "f", "--no-samples"], ["--no-samples", "--events", "-"]])
def test_a_file_and_no_samples_are_what_people_write_together(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(words)
    assert args.events is not None
    assert args.no_samples
