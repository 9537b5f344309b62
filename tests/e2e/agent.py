"""Coding agents in closed loops that do what a script says, one JSON object a call.

Runs inside the node, on the standard library alone.  Reads the scripts from standard
input; `asked` and `began` are CLOCK_BOOTTIME, as in the history files.  An agent waits
for the first event of an answer for `patience` seconds, and asks for the same again
`retry` seconds after it gave up, was refused, or was cut.
"""

import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

# An answer that has begun goes on, or is cut at the end of a drain.
SILENCE = 60.0
LOCK = threading.Lock()


def now():
    """Seconds as the history files have them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def attempt(script, tokens):
    """Send one request; return how it ended and when its first event came."""
    parts = urllib.parse.urlsplit(script["url"])
    body = json.dumps({
        "model": script["model"], "stream": True, "max_tokens": tokens, "ignore_eos": True,
        "messages": [{"role": "user", "content": "go on"}],
    })  # fmt: skip
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=script["patience"])
    began, done = None, False
    try:
        connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
        sock = connection.sock
        answer = connection.getresponse()
        if answer.status != 200:
            return json.loads(answer.read())["error"]["code"], None
        while line := answer.readline():
            if line.startswith(b"data: ") and began is None:
                began = now()
                sock.settimeout(SILENCE)
            done = done or line.strip() == b"data: [DONE]"
    except TimeoutError:
        return ("left" if began is None else "silent"), began
    except (OSError, http.client.HTTPException) as error:
        return ("cut" if began is not None else f"lost: {error!r}"), began
    finally:
        connection.close()
    return ("served" if done else "cut"), began


def live(script):
    """Make all calls of one script."""
    pause = threading.Event().wait
    pause(script["first"])
    for index, (tokens, rest) in enumerate(script["calls"]):
        asked, ended = now(), collections.Counter()
        while True:
            how, began = attempt(script, tokens)
            ended[how] += 1
            if how == "served":
                break
            pause(script["retry"])
        told = {
            "model": script["model"], "call": index, "asked": asked, "began": began,
            "done": now(), "ended": ended,
        }  # fmt: skip
        with LOCK:
            print(json.dumps(told), flush=True)
        if index + 1 < len(script["calls"]):
            pause(rest)


def main():
    """Let all agents live side by side."""
    scripts = json.load(sys.stdin)
    print(json.dumps({"began": now()}), flush=True)
    threads = [threading.Thread(target=live, args=(script,)) for script in scripts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
