"""The tour of `./install.sh --demo`: one model from cold to answer to nothing running.

Runs below a systemd user manager, the user's own or a private one.  Every line
that it prints was observed: at systemd, in the process table and at the socket.
A step that was not observed ends the tour with 1 and the end of the units' output.

Only the standard library: this belongs to the installer, not to the package.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from manager import (
    NotObserved,
    Process,
    expect,
    listens,
    processes,
    state,
    states,
    status_text,
    unit,
)
from model import IDLE, Model

SERVING = ("model", "runner", "engine")
# Idle time, the engine's own end, and systemd noticing.
GONE = IDLE + 30.0
# The model says back what it is told: long enough for a stream to be one.
QUESTION = "Please say this back to me one word after the other so that I see it stream."
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(label: str, text: str) -> None:
    """Print one line of the tour."""
    print(f"    {label:<12}{text}", flush=True)


def names(found: list[Process]) -> str:
    """Name processes as docs/architecture.md does."""
    words = {"model": "activator"}
    return ", ".join(f"{words.get(p.kind, p.kind)} {p.pid}" for p in found) or "nothing"


def show(model: Model) -> None:
    """Go through the tour, step by step."""
    expect_nothing_running(model, within=5)
    say("listening", f"127.0.0.1:{model.port}: systemd has the socket, no process of ours runs")
    running = show_cold(model)
    show_warm(model, running)
    began = time.monotonic()
    expect_nothing_running(model, within=GONE)
    gone = time.monotonic() - began
    say("idle exit", f"nobody asked for {gone:.1f} s: activator, runner and engine have left")
    say("nothing", "no process of ours runs, and systemd listens again")


def show_cold(model: Model) -> list[Process]:
    """Ask a model that does not run, and return the processes that answered."""
    done = threading.Event()
    watching = threading.Thread(target=tell_progress, args=(done,))
    watching.start()
    try:
        cold = model.ask(QUESTION)
    finally:
        done.set()
        watching.join()
    running = processes(model.prefix)
    if not set(SERVING) <= {process.kind for process in running}:
        raise NotObserved(f"expected activator, runner and engine, found: {names(running)}")
    # Asked for at once: the model is idle by now, and has to be there for the next question.
    services = [unit(kind) for kind in SERVING]
    expect(f"active: {', '.join(services)}", lambda: states(*services) == ["active"] * 3)
    if cold.pieces < 2:
        raise NotObserved(f"expected a stream, got {cold.pieces} piece of text")
    say("cold start", f"{cold.first:.1f} s from the connection to the first token")
    resident = sum(process.kib for process in running) / 1024
    say("running", f"{names(running)} ({resident:.0f} MiB together)")
    say("streamed", f"{cold.pieces} pieces in {cold.took - cold.first:.1f} s: {cold.text.strip()}")
    return running


def tell_progress(done: threading.Event) -> None:
    """Print what systemd knows about the cold start, as it changes."""
    last = ""
    while not done.wait(0.1):
        text = status_text(unit("runner"))
        if text and text != last:
            say("starting", text)
            last = text


def show_warm(model: Model, running: list[Process]) -> None:
    """Ask again, and look that nothing was started for it."""
    before = {process.pid for process in running}
    warm = model.ask("And again?")
    again = processes(model.prefix)
    if {process.pid for process in again} - before:
        raise NotObserved(f"expected the same processes, found: {names(again)}")
    say("warm", f"{warm.first * 1000:.0f} ms to the first token, by the same processes")


def expect_nothing_running(model: Model, *, within: float) -> None:
    """Wait until systemd, process table and socket agree that only the socket is left."""
    deadline = time.monotonic() + within
    for kind in SERVING:
        expect_state(kind, "inactive", within=deadline - time.monotonic())
    expect("no process of ours", lambda: not processes(model.prefix), within=5)
    expect(f"a listener on port {model.port}", lambda: listens(model.port))
    expect("an active socket", lambda: state(unit("model", "socket")) == "active")


def expect_state(kind: str, word: str, *, within: float = 0.0) -> None:
    """Wait until systemd says *word* of one of the services."""
    expect(f"{unit(kind)} {word}", lambda: state(unit(kind)) == word, within=within)


def stay(model: Model) -> None:
    """Leave the model to whoever wants to ask it, until a signal comes."""
    # Whoever reads the last line may be faster than we are: from here on a signal is
    # kept until we wait for it, and a second one changes nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    print(
        f"\n    Try it:  curl -N http://127.0.0.1:{model.port}/v1/chat/completions -d \\\n"
        """      '{"stream": true, "messages": [{"role": "user", "content": "Hello"}]}'\n"""
        "    Ctrl-C ends it.",
        flush=True,
    )
    signal.sigwait(SIGNALS)
    print(flush=True)


def leave(_number: int, _frame: FrameType | None) -> None:
    """End by an exception, so that what was set up is taken away."""
    raise KeyboardInterrupt


def tour(model: Model, *, once: bool) -> int:
    """Set up, show, stay; say the exit status."""
    for number in SIGNALS:
        signal.signal(number, leave)
    try:
        model.set_up()
        show(model)
        if not once:
            stay(model)
        return 0
    except NotObserved as error:
        print(f"demo: {error}\n{model.last_words()}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("demo: ended by a signal before its end", file=sys.stderr)
    finally:
        # A second Ctrl-C must not leave half of it behind.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return 1


def main() -> int:
    """Run the tour and take it away, whatever happens."""
    parser = argparse.ArgumentParser(description="The tour of ./install.sh --demo")
    parser.add_argument("source", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    model = Model(options.source, options.data)
    try:
        status = tour(model, once=options.once)
    finally:
        try:
            model.take_away()
        except NotObserved as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    if model.ours:
        say("ended", "no process, unit or socket of the tour is left")
    return status


if __name__ == "__main__":
    sys.exit(main())
