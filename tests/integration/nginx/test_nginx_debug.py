"""`/debug/`: what runs and what it took, from files; and what the activators do."""

import json
import time

import pytest

from spark_activator.runner import history


def kept(nginx, name: str, **values: object) -> None:
    """Record one activation as the runner does."""
    entry = {
        "activation": "0badcafe",
        "config": "c",
        "time": 1_790_000_000,
        "start": 60.0,
        "memory": 20 << 30,
        "phases": {"memory": 90.0, "container": 100.0, "ready": 160.0},
        "ended": 400.0,
        "why": "idle",
    }
    history.append(nginx.history / f"{name}.jsonl", entry | values)


@pytest.fixture
def debug(nginx, make_entry, story, echo):
    nginx.route(
        {
            "story": make_entry("story", story.port, "tale", utility=False, idle=1200),
            "echo": make_entry("echo", echo.port, utility=True, idle=None),
            "big": make_entry("big", echo.port, exclusive=True, idle=60),
            "resting": make_entry("resting", 1, enabled=False),
        }
    )
    return nginx


def test_state_with_nothing_loaded(debug, story):
    state = debug.ask("GET", "/debug/state").json

    assert (state["busyWith"], state["running"]) == (None, [])
    assert abs(state["now"] / 1000 - time.time()) < 60
    assert state["modelsConfig"] == {
        "utilityContainer": "echo",
        "exclusiveContainers": ["big"],
        "modelMap": {"story": "story", "tale": "story", "echo": "echo", "big": "big",
                     "resting": "resting"},
    }  # fmt: skip
    assert state["startAtMs"] == state["lastSeenMs"] == state["lastStopMs"] == {}
    assert story.arrived == []


def test_state_of_a_model_that_is_idle(debug, story):
    kept(debug, "story")
    debug.show("story", "ready", since=time.clock_gettime(time.CLOCK_BOOTTIME) - 100)
    state = debug.ask("GET", "/debug/state").json
    one = state["busyWith"]

    assert state["running"] == [one]
    assert (one["name"], one["state"]) == ("story", "ready")
    assert 100 <= one["uptimeSec"] < 130
    assert 0 <= one["idleSec"] < 30
    assert 1170 < one["timeUntilReleaseSec"] <= 1200
    assert one["willAutoStop"] is True
    assert one["healthUrl"] == f"http://127.0.0.1:{story.port}/health"
    assert one["startedAtISO"].endswith("Z")
    assert state["startAtMs"]["story"] == one["startedAt"]
    assert state["lastSeenMs"]["story"] == one["lastSeen"]
    assert state["lastStopMs"] == {"story": 1_790_000_000_000}


def test_state_of_models_that_are_busy_kept_or_on_their_way(debug):
    debug.show("story", "ready", in_flight=2)
    debug.show("echo", "ready")
    debug.show("big", "queued", position=1, ahead=("story",), waiting_for="the GPU")
    running = {one["name"]: one for one in debug.ask("GET", "/debug/state").json["running"]}

    assert (running["story"]["inFlight"], running["story"]["idleSec"]) == (2, 0)
    assert (running["echo"]["willAutoStop"], running["echo"]["timeUntilReleaseSec"]) == (
        False,
        None,
    )
    assert (running["big"]["startedAt"], running["big"]["willAutoStop"]) == (None, False)
    assert (running["big"]["position"], running["big"]["waitingFor"]) == (1, "the GPU")


def test_statistics_of_what_was_recorded(debug):
    kept(debug, "story", memory=20 << 30)
    kept(debug, "story", memory=None, ended=500.4)
    kept(debug, "story", memory=30 << 30, phases={}, time=1_790_001_000)
    with (debug.history / "story.jsonl").open("a") as file:
        file.write('[]\n{"torn')
    expected = {
        "sessions": 3,
        "total_duration_sec": 700,
        "min_mb": 20480,
        "max_mb": 30720,
        "mean_mb": 25600,
        "last_used": "2026-09-21T14:30:00.000Z",
    }

    assert debug.ask("GET", "/debug/gpu-stats").json == {"stats": {"story": expected}}
    for name in ("story", "tale", "vllm-story"):
        reply = debug.ask("GET", f"/debug/gpu-stats/{name}")
        assert reply.json == {"model": "story", "stats": expected}


@pytest.mark.parametrize("name", ["echo", "nobody"])
def test_statistics_of_what_never_ran(debug, name):
    reply = debug.ask("GET", f"/debug/gpu-stats/{name}")

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert debug.ask("GET", "/debug/gpu-stats").json == {"stats": {}}


def test_long_history_is_read_from_its_end(debug):
    for number in range(400):
        kept(debug, "story", time=1_790_000_000 + number)
    size = (debug.history / "story.jsonl").stat().st_size
    one = debug.ask("GET", "/debug/gpu-stats/story").json["stats"]
    all_ = debug.ask("GET", "/debug/gpu-stats").json["stats"]["story"]

    assert size > 65536
    assert 50 <= all_["sessions"] < one["sessions"] < 400
    assert one["last_used"] == all_["last_used"]


@pytest.mark.parametrize("what", ["touch", "warm", "stop"])
def test_what_the_activator_does(debug, story, what):
    story.answer = None
    debug.show("story", "ready")
    names = ("story", "tale", "vllm-story")

    for name in names:
        assert debug.ask("POST", f"/debug/{what}/{name}").status == 200
    assert [(r.method, r.target) for r in story.arrived] == [("POST", f"/debug/{what}")] * 3
    assert debug.ask("GET", f"/debug/{what}/story").error["code"] == "method_not_allowed"


@pytest.mark.parametrize("what", ["touch", "stop"])
def test_what_is_not_loaded_is_not_woken(debug, story, what):
    reply = debug.ask("POST", f"/debug/{what}/story")

    assert (reply.status, reply.error["code"]) == (404, "model_not_loaded")
    assert story.arrived == []


def test_warming_wakes(debug, story):
    assert debug.ask("POST", "/debug/warm/story").status == 200
    assert len(story.arrived) == 1
    assert debug.ask("POST", "/debug/warm/resting").error["code"] == "model_not_enabled"
    assert debug.ask("POST", "/debug/warm/nobody").error["code"] == "model_not_found"


@pytest.mark.parametrize(
    "target", ["/debug/", "/debug/x", "/debug/touch", "/debug/touch/", "/debug/state/x", "/debug"]
)
def test_what_is_not_there(debug, target):
    for method in ("GET", "POST"):
        reply = debug.ask(method, target)
        assert (reply.status, reply.error["code"]) == (404, "path_not_allowed")


def test_page_may_not_stop_a_model(debug, story):
    # A form of any page can be sent to us; its browser says whose it is.
    debug.show("story", "ready")
    reply = debug.ask("POST", "/debug/stop/story", b"", {"Origin": "https://evil.example"})

    assert (reply.status, reply.error["code"]) == (403, "origin_not_allowed")
    assert story.arrived == []


def test_history_that_cannot_be_read_is_none(debug):
    (debug.history / "story.jsonl").symlink_to(debug.history / "story.jsonl")

    assert debug.ask("GET", "/debug/gpu-stats").json == {"stats": {}}
    assert debug.ask("GET", "/debug/state").json["lastStopMs"] == {}


def test_statistics_of_sixty_models_are_bounded(debug, make_entry):
    names = [f"model-{number}" for number in range(60)]
    debug.route({name: make_entry(name, 1) for name in names})
    kept(debug, names[0])
    line = (debug.history / f"{names[0]}.jsonl").read_text()
    for name in names:
        (debug.history / f"{name}.jsonl").write_text(line * 200)
        debug.show(name, "queued")

    began = time.perf_counter()
    stats = debug.ask("GET", "/debug/gpu-stats").json["stats"]
    took = time.perf_counter() - began
    state = debug.ask("GET", "/debug/state").json
    print(f"statistics of 60 models took {took * 1000:.0f} ms")
    assert (len(stats), len(state["running"])) == (60, 60)
    assert len(json.dumps(state)) < 100_000
