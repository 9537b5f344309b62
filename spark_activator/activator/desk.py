"""What all connections of one activation share, and what is answered without the engine."""

from __future__ import annotations

import urllib.parse

import trio

from spark_activator.activator.demand import Demand
from spark_activator.activator.gate import Gate
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.intake import Intake
from spark_activator.activator.opened import Herald
from spark_activator.activator.presence import Presence
from spark_activator.activator.reach import Engines
from spark_activator.activator.relay import Relay
from spark_activator.activator.words import phase, sentence, situation
from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.answers import empty_answer, json_answer, text_answer
from spark_activator.http.head import Head
from spark_activator.http.paths import FOR_ADMINS, Route, allowed
from spark_activator.protocol import Ready

# The text format that Prometheus has read since 2014.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counts:
    """What `/metrics` says, since this process began."""

    def __init__(self) -> None:
        self.requests = 0
        self.ended = 0
        self._refusals: dict[str, int] = {}

    def refused(self, code: str) -> None:
        """Count a refusal."""
        self._refusals[code] = self._refusals.get(code, 0) + 1

    def render(self, model: str, *, in_flight: int, held: int, ready: bool) -> str:
        """Write them in Prometheus' text format."""
        label = f'{{model="{model}"}}'
        lines = [
            "# HELP spark_activator_requests_total Requests that need the engine.",
            "# TYPE spark_activator_requests_total counter",
            f"spark_activator_requests_total{label} {self.requests}",
            "# HELP spark_activator_refusals_total Requests that were answered with an error.",
            "# TYPE spark_activator_refusals_total counter",
        ]
        lines += [
            f'spark_activator_refusals_total{{model="{model}",code="{code}"}} {count}'
            for code, count in sorted(self._refusals.items())
        ]
        gauges = {
            "in_flight": ("Requests that are held or served.", in_flight),
            "held": ("Requests that wait for the engine.", held),
            "ready": ("Whether the engine can generate.", int(ready)),
        }
        for name, (text, value) in gauges.items():
            lines += [
                f"# HELP spark_activator_{name} {text}",
                f"# TYPE spark_activator_{name} gauge",
                f"spark_activator_{name}{label} {value}",
            ]
        return "\n".join(lines) + "\n"


class Desk:
    """One activation, seen from its connections.

    Attributes:
        broken: Why nothing can be served, or None.
        model: What is served; None where *broken* says why not.
        engines: Know how to reach the model's engine.
    """

    def __init__(
        self,
        model: Model | Refusal,
        engines: Engines,
        *,
        clock: IdleClock,
        demand: Demand,
        presence: Presence,
        relay: Relay,
        gate: Gate,
    ) -> None:
        self.model = None if isinstance(model, Refusal) else model
        self.broken = model if isinstance(model, Refusal) else None
        self.engines = engines
        self._clock = clock
        self.demand = demand
        self.presence = presence
        self.relay = relay
        self.gate = gate
        self.intake = Intake(self.model)
        self.herald = Herald(lambda: demand.line)
        self.counts = Counts()

    def sentence(self) -> str:
        """Say how things are, for `systemctl status`."""
        if self.broken is not None:
            return self.broken.message
        demand = self.demand
        return sentence(demand.line, in_flight=self._clock.in_flight, waiting=demand.waiting)

    def check_room(self) -> None:
        """See whether there is room for one request more.

        Raises:
            Refusal: As many wait as may, or as many are served as may be.
        """
        assert self.model is not None
        most = self.model.requests
        if self.demand.ready:
            if self.demand.full:
                raise Refusal("concurrency_limit", f"{most.most_served} requests are being served")
        elif self.demand.waiting >= most.most_held:
            raise Refusal("queue_full", f"{most.most_held} requests wait for this model")

    def answer(self, route: Route, head: Head, request_id: str) -> bytes:
        """Answer a request that needs no engine.

        Raises:
            Refusal: There is no such model, or its state does not allow it.
        """
        if route is Route.OPTIONS:
            return empty_answer(request_id, {"Allow": allowed(head.path)})
        head_only = head.method == "HEAD"
        if route is Route.METRICS:
            return text_answer(
                self._metrics(), request_id, content_type=METRICS_TYPE, head_only=head_only
            )
        return json_answer(self._describe(route, head), request_id, head_only=head_only)

    def _metrics(self) -> str:
        assert self.model is not None
        return self.counts.render(
            self.model.name,
            in_flight=self._clock.in_flight,
            held=self.demand.waiting,
            ready=isinstance(self.demand.line, Ready),
        )

    def _describe(self, route: Route, head: Head) -> object:
        assert self.model is not None
        if route is Route.TOUCH:
            self._touch()
        elif route is Route.STOP:
            self._stop()
        if route in FOR_ADMINS:
            return {"ok": True, "model": self.model.name, "state": situation(self.demand.line)}
        if route is Route.HEALTH:
            return {"status": "ok", "model": self.model.name, "state": self.sentence()}
        entries = {name: self._entry(name) for name in self.model.names}
        if route is Route.MODELS:
            return {"object": "list", "data": list(entries.values())}
        name = urllib.parse.unquote(head.path.removeprefix("/v1/models/"))
        if name not in entries:
            raise Refusal("path_not_allowed", f"this is '{self.model.name}', there is no '{name}'")
        return entries[name]

    def _touch(self) -> None:
        """Restart the idle time."""
        if not self.demand.ready:
            raise Refusal("model_not_loaded", "the model is not loaded")
        self._clock.touched(trio.current_time())

    def _stop(self) -> None:
        """Have the activator leave: the model goes with it."""
        if not self._clock.demanded:
            raise Refusal("model_not_loaded", "the model is not loaded")
        if self._clock.in_flight:
            raise Refusal("model_busy", f"the model has {self._clock.in_flight} requests in flight")
        self._clock.dismissed()

    def _entry(self, name: str) -> dict[str, object]:
        assert self.model is not None
        return {
            "id": name,
            "object": "model",
            # OpenAI's clients want one; when a model was made nobody knows.
            "created": 0,
            "owned_by": "spark-activator",
            # Aliases and presets are names of one engine.
            "root": self.model.name,
            "parent": None if name == self.model.name else self.model.name,
            "max_model_len": self.model.context,
            "capabilities": self.model.capabilities.known(),
            "state": phase(self.demand.line),
        }
