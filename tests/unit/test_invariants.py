"""The checker of the e2e tests notices each thing that must not be, and nothing else."""

from __future__ import annotations

import json

from invariants import Checker, Event, read_lines

from spark_activator.facts import Fact

# A life as it should be: two leases within the budget, one after the other up,
# a request served, one refused, a drain that ended, a stop.
GOOD = [
    (1.0, "runner", "a", "lease taken", {"memory": "6", "budget": "10", "lifecycle": "normal"}),
    (1.1, "runner", "a", "initialises", {}),
    (2.0, "runner", "a", "initialised", {}),
    (2.1, "runner", "b", "lease taken", {"memory": "4", "budget": "10", "lifecycle": "normal"}),
    (2.2, "runner", "b", "initialises", {}),
    (3.0, "runner", "b", "initialised", {}),
    (4.0, "model", "a", "request ended", {
        "id": "1", "outcome": "answered", "code": "200", "activation": "aa",
        "served": "1.5", "until": "3.9"}),
    (4.1, "model", "a", "request ended", {
        "id": "2", "outcome": "refused", "code": "model_loading", "activation": "",
        "served": "0.0", "until": "0.0"}),
    (4.2, "model", "a", "leaves", {"requests": "2", "ended": "2"}),
    (4.2, "runner", "a", "drains", {"in_flight": "1", "limit": "5"}),
    (4.3, "runner", "a", "stops the engine", {"activation": "aa", "why": "yield"}),
    (4.5, "runner", "a", "lease freed", {}),
    (4.6, "runner", "c", "lease taken", {"memory": "6", "budget": "10", "lifecycle": "normal"}),
]  # fmt: skip


def events(*lines: tuple) -> list[Event]:
    return [
        Event(at, part, model, ord(model), Fact(what, values, at))
        for at, part, model, what, values in sorted(lines, key=lambda line: line[0])
    ]


def wrong(*lines: tuple, without: tuple[int, ...] = ()) -> list[str]:
    kept = [line for index, line in enumerate(GOOD) if index not in without]
    return Checker().take_in(events(*kept, *lines))


def request(at: float, name: str, served: float, until: float, outcome: str = "answered"):
    values = {
        "id": name, "outcome": outcome, "code": "200", "activation": "aa",
        "served": str(served), "until": str(until),
    }  # fmt: skip
    return (at, "model", "z", "request ended", values)


def test_a_good_history_is_good() -> None:
    assert wrong() == []


def test_over_the_budget() -> None:
    taken = {"memory": "1", "budget": "10", "lifecycle": "normal"}
    [said] = wrong((2.15, "runner", "d", "lease taken", taken), without=(12,))
    assert "11 of 10 bytes" in said


def test_over_the_budget_by_one_that_came_back() -> None:
    [said] = wrong((3.5, "runner", "d", "lease kept", {"memory": "1"}), without=(12,))
    assert "11 of 10 bytes" in said


def test_exclusive_is_alone() -> None:
    taken = {"memory": "1", "budget": "10", "lifecycle": "exclusive"}
    [said] = wrong((1.5, "runner", "e", "lease taken", taken), without=(3, 4, 5, 12))
    assert "not alone" in said


def test_two_initialise_at_once() -> None:
    [said] = wrong(without=(2,))
    assert "b initialises beside ['a']" in said


def test_death_and_failure_end_an_initialisation_and_a_lease() -> None:
    assert wrong((1.5, "runner", "a", "exited", {}), without=(2,)) == []
    assert wrong((1.5, "runner", "a", "lease freed", {}), without=(2,)) == []
    # The dead one's lease is not counted until it says that it has kept it.
    again = (2.05, "runner", "a", "lease kept", {"memory": "6"})
    assert wrong((1.5, "runner", "a", "exited", {}), again, without=(2,)) == []


def test_stopped_with_a_request_in_flight() -> None:
    [said] = wrong(request(4.4, "3", served=1.0, until=4.35))
    assert "before the drain's deadline" in said


def test_stopped_after_the_deadline_of_the_drain_is_allowed() -> None:
    late = (9.3, "runner", "a", "stops the engine", {"activation": "aa", "why": "yield"})
    cut = request(9.4, "3", served=6.0, until=9.35, outcome="cut")
    assert wrong(cut, late, without=(10,)) == []


def test_stopped_without_a_drain() -> None:
    why = {"activation": "aa", "why": "nobody"}
    stop = (4.3, "runner", "a", "stops the engine", why)
    assert wrong(request(4.4, "3", served=1.0, until=4.35), stop, without=(9, 10)) != []
    # An engine that ended by itself was stopped by nobody.
    stop = (4.3, "runner", "a", "stops the engine", why | {"why": "exited"})
    assert wrong(request(4.4, "3", served=1.0, until=4.35), stop, without=(9, 10)) == []


def test_a_request_that_is_told_of_later_is_judged_all_the_same() -> None:
    checker = Checker()
    assert checker.take_in(events(*GOOD)) == []
    assert len(checker.take_in(events(request(6.0, "3", served=1.0, until=4.35)))) == 1
    assert checker.take_in([]) == []


def test_a_request_without_an_outcome_with_two_and_with_an_undeclared_one() -> None:
    [lost] = wrong((4.15, "model", "a", "leaves", {"requests": "3", "ended": "2"}), without=(8,))
    assert "after 3 requests, and 2 have ended" in lost
    [twice] = wrong(request(5.0, "1", served=0.1, until=3.0))
    assert "ended twice" in twice
    [unknown] = wrong(request(5.0, "4", served=0.1, until=3.0, outcome="none"))
    assert "ended as 'none'" in unknown
    refused = request(5.0, "5", served=0.0, until=0.0, outcome="refused")
    [code] = wrong(refused)
    assert "was refused for '200'" in code


def test_clients_and_journal_agree() -> None:
    checker = Checker()
    checker.take_in(events(*GOOD))
    good = [{"id": "1", "ended": "complete"}, {"id": "2", "ended": "refused"}, {"ended": "lost"}]
    assert checker.compare(good) == []
    assert len(checker.compare([{"id": "1", "ended": "cut"}])) == 1
    assert len(checker.compare([{"id": "9", "ended": "complete"}])) == 1


def test_a_client_may_see_that_an_engine_died_where_the_activator_does_not() -> None:
    cut = {"id": "1", "ended": "cut"}
    for why, wrong in (("exited", 0), ("yield", 1)):
        checker = Checker()
        stop = (4.3, "runner", "a", "stops the engine", {"activation": "aa", "why": why})
        checker.take_in(events(*GOOD[:9], stop))
        assert len(checker.compare([cut])) == wrong


def test_reads_the_journal_in_the_order_of_the_writers_stamps() -> None:
    lines = [
        {"_SYSTEMD_UNIT": "spark-runner@b.service", "MESSAGE": "lease taken: memory=1 at=7.200000",
         "_PID": "4"},
        {"_SYSTEMD_UNIT": "spark-runner@a.service", "MESSAGE": "lease freed: at=7.100000",
         "_PID": "3"},
        {"_SYSTEMD_UNIT": "init.scope", "UNIT": "spark-runner@a.service", "MESSAGE": "…",
         "MESSAGE_ID": "98e322203f7a4ed290d09fe03c09fe15",
         "_SOURCE_REALTIME_TIMESTAMP": "1000000007300000"},
        {"_SYSTEMD_UNIT": "spark-model@a.service", "MESSAGE": [1, 2]},
        {"_SYSTEMD_UNIT": "ssh.service", "MESSAGE": "lease freed: at=7.400000"},
    ]  # fmt: skip
    found = read_lines("\n".join(json.dumps(line) for line in lines), offset=-1e9)
    said = [(event.model, event.fact.what, round(event.at, 3)) for event in found]
    assert said == [("a", "lease freed", 7.1), ("b", "lease taken", 7.2), ("a", "exited", 7.3)]
