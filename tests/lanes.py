"""Which tests run side by side where `tests/run` asks pytest-xdist for several workers.

Most tests wait, so that three workers keep two cores busy.  A test runs beside any
other, unless its path stands here: the tests of one lane run one after another, and
those of the last lane while nothing else runs.
"""

from __future__ import annotations

import os
from typing import Any

from xdist.scheduler import LoadScopeScheduling

# What measures: seconds that a load beside it would stretch, or what is left of the
# machine's memory.
ALONE = "alone"
# Installing and taking away again.  The tour looks for its remains anywhere on the
# machine, those of a tour in a node as well.
TOUR = "tour"
# One node, one GPU to share, and a witness of all that happens there.  Most of their
# time they wait for a start or an idle exit, so that there is a second node.
NODE = "node"
NODE_2 = NODE if "SPARK_TEST_NODE" in os.environ else "second node"
# One nginx, stack or image for all tests of a module.
MODULE = "module"

# By the beginning of a test's path; the longest that fits decides.
LANES = {
    "tests/bare/": ALONE,
    "tests/clients/": MODULE,
    "tests/e2e/": NODE,
    "tests/e2e/test_agents.py": ALONE,
    "tests/e2e/test_drop_caches.py": ALONE,
    "tests/e2e/test_idle.py::test_connects_around_idle_exits_lose_none": ALONE,
    "tests/e2e/test_kills.py": NODE_2,
    "tests/e2e/test_phases.py": ALONE,
    "tests/e2e/test_process.py": NODE_2,
    "tests/e2e/test_reload.py": NODE_2,
    "tests/e2e/test_sharing.py::test_a_hot_model_keeps_serving": ALONE,
    "tests/e2e/test_sharing.py::test_a_model_that_is_always_kept": ALONE,
    "tests/e2e/test_sharing.py::test_an_idle_model_goes_after": ALONE,
    "tests/e2e/test_sharing.py::test_the_next_start_waits": ALONE,
    "tests/e2e/test_install.py": TOUR,
    "tests/e2e/test_tour.py": TOUR,
    "tests/e2e/test_vllm.py": ALONE,
    # Its engine takes all the time there is, and others are to be answered in a second.
    "tests/integration/test_activator_attacks.py::test_engine_that_answers_early": ALONE,
    "tests/integration/nginx/": MODULE,
    "tests/integration/test_demo_image.py": MODULE,
    "tests/integration/test_runner_guard": ALONE,
}


def lane(nodeid: str) -> str:
    """Return the lane of a test; one that is not named has a lane of its own."""
    fitting = [path for path in LANES if nodeid.startswith(path)]
    where = LANES[max(fitting, key=len)] if fitting else nodeid
    return nodeid.partition("::")[0] if where == MODULE else where


def turn(nodeid: str) -> int:
    """Return when a test's lane begins: the long ones first, the last one last."""
    where = lane(nodeid)
    if where == ALONE:
        return 3
    return {NODE: 0, NODE_2: 0, TOUR: 1}.get(where, 2)


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands lanes to workers, in the order in which tests were collected.

    The last lane needs the node too: it goes to the worker that has booted the first.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.config.option.loadscopereorder = False
        self._last: Any = None

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        begins = next(iter(self.workqueue))
        if begins == NODE:
            self._last = node
        elif begins == ALONE and self._last not in (None, node):
            # There is so little to do that not everybody gets some.
            node.shutdown()
            node = self._last
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        """Give *node* more to do, or let it end with what it has, or let it wait."""
        if list(self.workqueue) != [ALONE] or len(self.nodes) == 1:
            super()._reschedule(node)
            return
        if self._last not in self.nodes:
            self._last = node
        others = [other for other in self.nodes if other is not self._last]
        if node is not self._last:
            if not node.shutting_down:
                node.shutdown()
        elif not any(self._pending_of(self.assigned_work[other]) for other in others):
            super()._reschedule(node)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        if list(self.workqueue) == [ALONE]:
            for one in self.nodes:
                self._reschedule(one)
