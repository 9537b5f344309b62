"""One connection to the runner: an activator's claim, or one control command."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from spark_activator.errors import SparkError
from spark_activator.protocol import MAX_LINE, PROTOCOL, Answer, Busy, Bye, Control, Failed, Yielded
from spark_activator.protocol_json import (
    decode_control,
    decode_from_activator,
    decode_hello,
    encode,
)
from spark_activator.runner.demand import CLOSE_LIMIT, Claim, Demand
from spark_activator.runner.lines import LineReader, LineTooLong

logger = logging.getLogger(__name__)

OnControl = Callable[[Control], Awaitable[Answer]]

# Who connects says who it is in the same breath.
HELLO_LIMIT = 5.0


async def serve(stream: trio.SocketStream, demand: Demand, control: OnControl) -> None:
    """Serve one connection to its end; a bad line ends it, never the process."""
    async with stream:
        reader = LineReader(stream, MAX_LINE)
        try:
            with trio.fail_after(HELLO_LIMIT):
                first = await reader.read()
            if first is None:
                return
            hello = decode_hello(first)
            if hello.protocol > PROTOCOL + 1:
                refusal = Failed("restart_needed", "the runner is older than the activator")
                await stream.send_all(encode(refusal))
            elif hello.role == "control":
                await _serve_control(stream, reader, control)
            else:
                await _serve_claim(stream, reader, demand)
        except (SparkError, LineTooLong) as error:
            logger.warning("Closed a connection after a bad line: %s", error)
        except trio.TooSlowError:
            logger.warning("Closed a connection that did not say who it is")
        except trio.BrokenResourceError:
            pass  # the peer has gone, which is an end like any other


async def _serve_control(
    stream: trio.SocketStream,
    reader: LineReader,
    control: OnControl,
) -> None:
    with trio.fail_after(HELLO_LIMIT):
        line = await reader.read()
    if line is not None:
        answer = await control(decode_control(line))
        with trio.fail_after(CLOSE_LIMIT):
            await stream.send_all(encode(answer))


async def _serve_claim(stream: trio.SocketStream, reader: LineReader, demand: Demand) -> None:
    claim = Claim()
    demand.join(claim)
    lost = True
    try:
        with claim.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_lines, stream, claim)
                lost = await _hear(reader, claim, demand)
                nursery.cancel_scope.cancel()
    finally:
        demand.leave(claim, lost=lost)


async def _hear(reader: LineReader, claim: Claim, demand: Demand) -> bool:
    """Take in what the activator says until its connection ends; True without a `bye`."""
    try:
        while (line := await reader.read()) is not None:
            match decode_from_activator(line):
                case Busy(in_flight, held, usage):
                    claim.busy(in_flight, held)
                    demand.notify()
                    if usage:
                        demand.count(usage)
                case Yielded():
                    claim.dismiss()
                    demand.notify()
                case Bye():
                    return False
    except (SparkError, LineTooLong) as error:
        logger.warning("Closed an activator's connection after a bad line: %s", error)
    except trio.BrokenResourceError:
        pass
    return True


async def _send_lines(stream: trio.SocketStream, claim: Claim) -> None:
    try:
        async for line in claim.lines:
            # A peer that does not read would keep its connection open for ever.
            with trio.fail_after(CLOSE_LIMIT):
                await stream.send_all(encode(line))
    except (trio.BrokenResourceError, trio.TooSlowError):
        claim.scope.cancel()
