"""A start that used to work fails unchanged: the refusal offers the remedy, and it works."""

from __future__ import annotations

from stack import Demo, Stack

# As a compile cache that went bad: what one start leaves there makes the next one fail.
SPOILED = """
if [ -e /root/.cache/ran ]; then echo 'cannot load the compiled graph'; exit 1; fi
touch /root/.cache/ran
exec python3 -m spark_activator.demo "$@"
"""
MODEL = Demo(
    "spoiled", 18386, extra={"container": {"entrypoint": ["sh", "-c", SPOILED, "sh"]}}, idle=600
)


def test_a_cache_that_went_bad_is_named_and_removed(stack: Stack) -> None:
    node = stack.node

    def warm() -> str:
        done = node.exec(f"spark-model warm {MODEL.name}", check=False)
        return "" if done.rc == 0 else done.err

    with stack.enabled(MODEL):
        assert warm() == ""
        node.exec(f"spark-model stop {MODEL.name}")
        for _ in range(2):
            assert "exited with status 1" in warm()
        assert f"sudo spark-model reset {MODEL.name} --cache" in warm()
        # Who waited was told before what is left of it was removed.
        stack.wait_for_no_container(MODEL.name)

        node.exec(f"spark-model reset {MODEL.name} --cache")

        assert warm() == ""
        refused = node.exec(f"spark-model reset {MODEL.name} --cache", check=False)
        assert refused.rc == 1
        assert MODEL.name in refused.err  # it runs on that image
        node.exec(f"spark-model stop {MODEL.name}")
        # What it left behind would meet the next test's engines of the same image.
        node.exec(f"spark-model reset {MODEL.name} --cache")
