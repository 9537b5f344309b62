"""What has to be written, and how it reads."""

from spark_activator.render.changes import Change, changes, diff


def test_what_is_as_it_should_be_is_no_change() -> None:
    assert changes({"a": "1\n", "b": None}, {"a": "1\n", "b": None}) == ()


def test_each_way_of_being_different_has_its_verb() -> None:
    found = changes({"a": "1\n", "b": "1\n"}, {"a": "2\n", "b": None, "c": "3\n"})

    assert [(change.path, change.verb) for change in found] == [
        ("a", "change"),
        ("b", "remove"),
        ("c", "create"),
    ]


def test_paths_that_nobody_asked_for_are_left_alone() -> None:
    assert changes({"override.conf": "mine\n"}, {}) == ()


def test_diff_reads_as_git_writes_it() -> None:
    text = diff(
        [Change("a", "1\n2\n", "1\n3\n"), Change("b", None, "x\n"), Change("c", "y\n", None)]
    )

    assert text == (
        "--- a\n+++ a\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n"
        "--- /dev/null\n+++ b\n@@ -0,0 +1 @@\n+x\n"
        "--- c\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n"
    )
