"""`spark-model what-if NAME…`: what would come of a request for each, without asking for any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import trio

from spark_activator.catalog.frozen import config_hash
from spark_activator.cli import models, tables
from spark_activator.layout import Layout
from spark_activator.runner.plan import Ticket
from spark_activator.runner.queueing import ticket_of
from spark_activator.runner.refusals import refused, shown
from spark_activator.runner.view import View, look
from spark_activator.runner.what_if import Answer, Outlook, what_if


def run(layout: Layout, names: Sequence[str], *, as_json: bool) -> int:
    """Print a line for each of *names*.

    Raises:
        UserError: One of them is no model.
    """
    for name in names:
        models.require(layout, name)
    view = trio.run(look, layout)
    asked = [_ticket(layout, name, view.now) for name in names]
    outlooks = what_if(
        view.terms.budget, view.leases, view.tickets, view.terms.settings, view.now, asked
    )
    if as_json:
        print(json.dumps([asdict(outlook) for outlook in outlooks], indent=1))
        return 0
    for outlook, ticket in zip(outlooks, asked, strict=True):
        print(f"{outlook.model}: {sentence(outlook, ticket, view)}")
    return 0


def sentence(outlook: Outlook, ticket: Ticket, view: View) -> str:
    """Say *outlook* in words."""
    parts = [_answer(outlook, ticket, view)]
    if outlook.answer in (Answer.THERE, Answer.FITS, Answer.EVICTS):
        parts.append(f"beside {_list(outlook.beside)}" if outlook.beside else "alone")
    if outlook.answer not in (Answer.THERE, Answer.REFUSED):
        cold = "not measured yet" if outlook.cold is None else f"about {tables.span(outlook.cold)}"
        parts.append(f"cold start: {cold}")
    return "; ".join(parts)


def _answer(outlook: Outlook, ticket: Ticket, view: View) -> str:
    match outlook.answer:
        case Answer.THERE:
            return "has its memory already"
        case Answer.FITS:
            return "fits"
        case Answer.EVICTS:
            words = f"evicts {_list(outlook.evicts)}"
            assert outlook.within is not None
            after = tables.span(outlook.within)
            if outlook.busy:
                verb = "is" if len(outlook.busy) == 1 else "are"
                return f"{words}; {_list(outlook.busy)} {verb} busy and admits for {after} at most"
            return words if outlook.within < 1 else f"{words}, when idle for {after} more"
        case Answer.WAITS:
            return f"waits behind {_list(outlook.ahead)}"
        case Answer.REFUSED:
            assert outlook.refused is not None
            failure = refused(ticket, outlook.refused, budget=view.terms.budget, now=view.now)
            return f"refused: {failure.message}"


def _ticket(layout: Layout, name: str, now: float) -> Ticket:
    model = models.load(layout, name)
    return ticket_of(layout, model, config_hash(model), now)


def _list(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names)
