"""How a line names partitions."""

from stream.model.words import name_partitions


def test_one_is_one_and_several_are_listed() -> None:
    assert name_partitions([3]) == "partition 3"
    assert name_partitions((0, 1, 10)) == "partitions 0, 1, 10"


def test_of_many_the_first_are_named() -> None:
    assert name_partitions(range(3), most=3) == "partitions 0, 1, 2"
    assert name_partitions(range(4), most=3) == "partitions 0, 1, 2, …"
