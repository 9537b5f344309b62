"""The least that could do the activator's first step: trio, h11, and no check of anything."""

import os
import socket

import h11
import trio


async def main() -> None:
    listener = trio.socket.from_stdlib_socket(socket.socket(fileno=3))
    client, _ = await listener.accept()
    head = h11.Connection(h11.SERVER)
    while not isinstance(head.next_event(), h11.Request):
        head.receive_data(await client.recv(65536))
    runner = await trio.open_unix_socket(os.environ["SPARK_RUN"] + "/runner/bench.sock")
    await runner.send_all(b'{"role": "demand", "protocol": 1}\n')
    await trio.sleep_forever()


trio.run(main)
