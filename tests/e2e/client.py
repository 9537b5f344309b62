"""A client of the OpenAI API that tells how each of its requests ended, one JSON object a line.

Runs inside the node, on the standard library alone.  How a request ended is one of
`complete` (the stream's terminator came), `cut` (it did not), `refused` (an error
answer) and `lost` (no answer at all).
"""

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.parse

TOLD = "/root/told.jsonl"


def ask(url, options, index):
    """Send one request and return how it ended."""
    began = time.monotonic()
    told = {"index": index, "model": options.model, "first": None, "events": 0, "text": ""}
    body = {
        "model": options.model,
        "stream": not options.whole,
        "max_tokens": options.max_tokens,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": options.prompt}],
    }
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=options.timeout)
    try:
        connection.request(
            "POST", parts.path, json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        told["status"] = answer.status
        told["id"] = answer.getheader("X-Spark-Request-Id")
        if answer.status != 200:
            told["ended"] = "refused"
            told["error"] = json.loads(answer.read())["error"]
            told["retry_after"] = answer.getheader("Retry-After")
        elif options.whole:
            told["text"] = json.loads(answer.read())["choices"][0]["message"]["content"]
            told["ended"] = "complete"
        else:
            read_stream(answer, told, began, options)
    except http.client.IncompleteRead:
        told["ended"] = "cut"
    except (OSError, http.client.HTTPException, ValueError) as error:
        told["ended"] = "cut" if told.get("status") == 200 else "lost"
        told["why"] = repr(error)
    finally:
        connection.close()
    told["took"] = time.monotonic() - began
    told["at"] = time.time()
    return told


def read_stream(answer, told, began, options):
    """Read events until the stream's end; http.client raises when it is cut."""
    done = False
    while line := answer.readline():
        if not line.startswith(b"data: "):
            continue
        if told["first"] is None:
            told["first"] = time.monotonic() - began
        if line.strip() == b"data: [DONE]":
            done = True
            continue
        told["events"] += 1
        choices = json.loads(line[6:])["choices"]
        told["text"] += (choices[0]["delta"].get("content") or "") if choices else ""
        if options.leave_after and told["events"] >= options.leave_after:
            told["ended"] = "left"
            return
        if options.tell and told["events"] == 1:
            print(json.dumps({"streaming": told["index"]}), flush=True)
    told["ended"] = "complete" if done else "cut"


def main():
    """Send all requests, at once or spread out, and print how they ended."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url")
    options.add_argument("model")
    options.add_argument("--prompt", default="Tell me a story")
    options.add_argument("--count", type=int, default=1)
    options.add_argument("--every", type=float, default=0.0, help="seconds between two starts")
    options.add_argument("--at", type=float, default=0.0, help="when to begin, seconds since 1970")
    options.add_argument("--max-tokens", type=int, default=16)
    options.add_argument("--leave-after", type=int, default=0, help="events")
    options.add_argument("--timeout", type=float, default=120.0)
    options.add_argument("--whole", action="store_true", help="do not stream")
    options.add_argument("--tell", action="store_true", help="print when a stream begins")
    options = options.parse_args()
    # 1,000 of them at once: the default stack would be 8 MiB of address space each.
    threading.stack_size(256 * 1024)
    if options.at:
        threading.Event().wait(options.at - time.time())
    began, lock, threads = time.monotonic(), threading.Lock(), []

    def run(index):
        told = ask(options.url, options, index)
        with lock:
            print(json.dumps(told), flush=True)
            # For whoever compares it with the journal afterwards.
            with open(TOLD, "a") as file:
                file.write(json.dumps({"id": told.get("id"), "ended": told["ended"]}) + "\n")

    for index in range(options.count):
        wait = began + index * options.every - time.monotonic()
        if wait > 0:
            threading.Event().wait(wait)
        threads.append(threading.Thread(target=run, args=(index,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    sys.stdout.flush()


main()
