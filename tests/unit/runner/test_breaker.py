"""When a model that failed may be started again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.runner import breaker
from spark_activator.runner.breaker import DAY, MOST_A_DAY, Cause, Failure, Open, Record

GIB = 1 << 30
NOW = 1.8e9


def failure(
    cause: Cause = Cause.OTHER, at: float = NOW, fingerprint: str = "same", enough: int = 0
) -> Failure:
    return Failure(at, cause, "start_failed", "words", fingerprint, enough)


CHEAP = {Cause.IMAGE: "image_missing", Cause.WEIGHTS: "weights_missing"}


def after(*failures: Failure) -> Record:
    record = Record()
    for one in failures:
        record = breaker.after_failure(record, one)
    return record


def test_one_failure_is_chance_and_two_are_a_minute() -> None:
    assert breaker.decide(after(failure()), NOW, 0, "same") is None
    opened = breaker.decide(after(failure(), failure()), NOW, 0, "same")
    assert opened is not None
    assert opened.until == NOW + 60
    assert breaker.decide(after(failure(), failure()), NOW + 60, 0, "same") is None


def test_pauses_double_to_six_hours() -> None:
    pauses = [breaker.pause(streak) for streak in range(2, 13)]

    assert pauses[:4] == [60, 120, 240, 480]
    assert pauses[-1] == breaker.pause(10**6) == 6 * 3600


def test_out_of_memory_waits_for_more_than_noise() -> None:
    enough = breaker.enough(10 * GIB, 32 * GIB)
    record = after(failure(Cause.MEMORY, enough=enough))

    assert enough == 12 * GIB
    assert breaker.enough(0, 0) == 256 << 20
    assert breaker.decide(record, NOW + 10 * DAY, enough - 1, "same") is not None
    assert breaker.decide(record, NOW, enough, "same") is None


@pytest.mark.parametrize("cause", breaker.LASTING)
def test_what_can_only_fail_again_waits_for_a_change(cause: Cause) -> None:
    record = after(failure(cause))

    opened = breaker.decide(record, NOW + 10 * DAY, 1 << 50, "same")
    assert opened is not None
    assert opened.until is None
    assert breaker.decide(record, NOW, 0, "changed") is None


def test_missing_image_is_no_failed_start_of_the_day() -> None:
    missing = [Failure(NOW, Cause.IMAGE, "image_missing", "words", f"state {n}") for n in range(9)]

    assert breaker.decide(after(*missing), NOW, 0, "there") is None


def test_success_forgets_all_but_the_count_of_the_day() -> None:
    record = breaker.after_success(after(*[failure()] * 5), NOW)

    assert breaker.decide(record, NOW, 0, "same") is None
    opened = breaker.decide(breaker.after_failure(record, failure()), NOW, 0, "other")
    assert opened is not None
    assert opened.of_day
    assert opened.until == NOW + DAY
    assert breaker.after_success(record, NOW + DAY).empty


def test_missing_images_do_not_push_out_what_counts() -> None:
    record = after(*[failure(at=NOW - 1, fingerprint="broken")] * (MOST_A_DAY - 1))
    for number in range(2 * MOST_A_DAY):
        missing = replace(failure(Cause.IMAGE, NOW), code="image_missing")
        record = breaker.after_failure(record, replace(missing, fingerprint=f"tag {number}"))
    record = breaker.after_failure(record, failure(at=NOW, fingerprint="broken"))

    opened = breaker.decide(record, NOW, 0, "mended")
    assert opened is not None
    assert opened.of_day


CAUSES = st.sampled_from(Cause)
FAILURES = st.builds(
    Failure,
    st.floats(min_value=0, max_value=4e9),
    CAUSES,
    st.sampled_from(["start_failed", "image_missing", "memory_short"]),
    st.text(max_size=5),
    st.sampled_from(["one", "two"]),
    st.integers(0, 1 << 40),
)
RECORDS = st.lists(FAILURES, max_size=12).map(lambda failures: after(*failures))


@given(
    st.lists(
        st.tuples(CAUSES, st.floats(0, 20000), st.booleans(), st.sampled_from(["one", "two"])),
        max_size=60,
    )
)
def test_never_more_than_six_failed_starts_a_day(
    tries: list[tuple[Cause, float, bool, str]],
) -> None:
    record, now, failed = Record(), NOW, []
    for cause, later, works, fingerprint in tries:
        now += later
        # Whoever asks has all the memory of the world, and changes what they like.
        if breaker.decide(record, now, 1 << 50, fingerprint) is not None:
            continue
        if works:
            record = breaker.after_success(record, now)
        else:
            code = CHEAP.get(cause, "start_failed")
            one = replace(failure(cause, now, fingerprint), code=code)
            record = breaker.after_failure(record, one)
            failed += [now] if one.counts else []
        record = breaker.from_json(breaker.to_json(record))

    assert all(sum(at <= one < at + DAY for one in failed) <= MOST_A_DAY for at in failed)


@given(RECORDS, st.floats(0, 4e9), st.integers(0, 1 << 41), st.sampled_from(["one", "two"]))
def test_clock_that_was_set_back_locks_for_a_day_at_most(
    record: Record, now: float, reachable: int, fingerprint: str
) -> None:
    mended = breaker.mend(record, now)

    opened = breaker.decide(mended, now, reachable, fingerprint)
    if isinstance(opened, Open) and opened.until is not None:
        assert now < opened.until <= now + DAY
        later = breaker.decide(mended, opened.until, 1 << 50, fingerprint)
        assert later is None or later.until is None or later.until > opened.until


@given(RECORDS, st.floats(0, 4e9), st.integers(0, 1 << 41))
def test_more_memory_and_more_time_never_close_the_way(
    record: Record, now: float, reachable: int
) -> None:
    if breaker.decide(record, now, reachable, "one") is None:
        assert breaker.decide(record, now, reachable + GIB, "one") is None
        assert breaker.decide(record, now + 60, reachable, "one") is None


@given(RECORDS)
def test_record_survives_its_file(record: Record) -> None:
    assert breaker.from_json(breaker.to_json(record)) == record


@given(RECORDS, st.integers(0, 5000))
def test_half_a_file_is_an_error_and_nothing_else(record: Record, length: int) -> None:
    text = breaker.to_json(record)
    half = text[: min(length, len(text) - 2)]

    with pytest.raises(ValueError):  # noqa: PT011  # any of its words
        breaker.from_json(half)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '{"failures":[],"streak":1}',
        '{"failures":[],"streak":true}',
        '{"failures":{},"streak":-1}',
        '{"failures":[{"time":NaN,"cause":"other","code":"","message":"","fingerprint":""}],"streak":1}',
        '{"failures":[{"time":1,"cause":"no","code":"","message":"","fingerprint":""}],"streak":1}',
        '{"failures":[{"time":1,"cause":"other","code":1,"message":"","fingerprint":""}],"streak":1}',
        '{"failures":[{"time":1,"enough":Infinity,"cause":"other"}],"streak":1}',
    ],
)
def test_what_is_no_record_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any of its words
        breaker.from_json(text)


def test_unreadable_record_is_a_pause() -> None:
    record = breaker.unreadable(NOW)
    fingerprint = record.failures[-1].fingerprint

    opened = breaker.decide(record, NOW, 0, fingerprint)
    assert opened is not None
    assert opened.until == NOW + 60
    assert breaker.decide(record, NOW + 60, 0, fingerprint) is None
