"""The configuration as nginx itself judges it."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_activator.catalog.model import Timeouts

UNITS = Path(__file__).parents[3] / "units/nginx"
PLACEHOLDERS = {"@SHARE@", "@RUN@", "@CONFIG@", "@STATE@", "@TEMP@", "@PORT@", "@USER@"}


def complaints(log: str) -> list[str]:
    """Leave out what njs 0.8 notes when it starts, whatever the log's level."""
    return [line for line in log.splitlines() if "[notice]" not in line]


def test_nginx_finds_nothing_to_say(make_nginx, tmp_path):
    result = make_nginx(tmp_path).test()

    assert (result.returncode, result.stdout, complaints(result.stderr)) == (0, "", [])


def test_placeholders_are_those_that_are_documented():
    text = "".join(file.read_text() for file in UNITS.iterdir())
    page = (UNITS.parents[1] / "docs/nginx.md").read_text()

    assert set(re.findall(r"@[A-Z_]+@", text)) == PLACEHOLDERS
    assert set(re.findall(r"@[A-Z_]+@", page)) == PLACEHOLDERS


def test_nginx_waits_longer_than_anything_that_it_waits_for():
    text = (UNITS / "proxy.conf").read_text()
    found = re.findall(r"proxy_(read|send)_timeout (\d+)h;", text)
    hours = {name: int(value) for name, value in found}
    patience = min(hours.values()) * 3600

    assert set(hours) == {"read", "send"}
    # A start may take as long as this, and then the answer as long as one that
    # fills a context of 131072 tokens at 2 a second.
    assert patience > Timeouts().start + 131072 / 2


def test_snippet_in_an_nginx_of_the_owner(make_nginx, make_entry, story, tmp_path):
    # Distribution-like defaults that must not leak into what we serve, beside
    # locations of the owner's own that we must not change.
    configuration = """
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
@USER@
pid @TEMP@/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    gzip on;
    gzip_types text/event-stream application/json;
    default_type text/html;
    client_body_temp_path @TEMP@/body;
    proxy_temp_path @TEMP@/proxy;
    fastcgi_temp_path @TEMP@/fastcgi;
    scgi_temp_path @TEMP@/scgi;
    uwsgi_temp_path @TEMP@/uwsgi;
    proxy_intercept_errors on;
    server {
        listen 127.0.0.1:@PORT@;
        include @SHARE@/spark.conf;
        location / { return 200 "the owner's"; }
    }
}
"""
    nginx = make_nginx(tmp_path, configuration=configuration)
    checked = nginx.test()
    assert (checked.returncode, complaints(checked.stderr)) == (0, [])

    with nginx.running():
        nginx.route({"story": make_entry("story", story.port), "gone": make_entry("gone", 1)})
        # A compressed stream would be a buffered one.
        answered = nginx.ask("GET", "/v1/story/models", headers={"Accept-Encoding": "gzip"})
        assert answered.json == {"served_by": "story"}
        assert "Content-Encoding" not in answered.headers
        assert [m["id"] for m in nginx.ask("GET", "/v1/models").json["data"]] == ["gone", "story"]
        assert nginx.ask("GET", "/v1/gone/models").error["code"] == "bad_gateway"
        assert nginx.ask("GET", "/index.html").body == b"the owner's"


def test_it_writes_nothing_outside_its_directory(make_nginx, tmp_path):
    # The unit runs it under ProtectSystem=strict: it may write below @TEMP@ alone.
    with make_nginx(tmp_path).running() as nginx:
        nginx.route({})
        assert nginx.ask("GET", "/v1/models").json["data"] == []
        opened = list(opened_by(*family(nginx.process.pid)))
        files = {path for path in opened if path.startswith("/") and "/dev/" not in path}

        assert files <= {str(nginx.log)}
        assert {path.name for path in (tmp_path / "temp").iterdir()} == {
            "nginx.pid", "body", "proxy", "fastcgi", "scgi", "uwsgi"
        }  # fmt: skip
    assert complaints(nginx.log.read_text()) == []


def opened_by(*pids: int) -> Iterator[str]:
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            # Those below came from us.
            if int(link.name) > 2:
                with contextlib.suppress(FileNotFoundError):  # a connection that has just ended
                    yield os.readlink(link)


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@pytest.mark.skipif(os.geteuid() != 0, reason="root is what it takes to become somebody else")
def test_it_runs_without_any_privilege(make_nginx, make_entry, tmp_path):
    # As the unit runs it: a user who owns @TEMP@ and may read the rest.
    tmp_path.chmod(0o755)
    nginx = make_nginx(tmp_path)
    text = nginx.conf.read_text().replace("user root;", "")
    nginx.conf.write_text(text)
    os.chown(tmp_path / "temp", 65534, 65534)
    nginx.route({"story": make_entry("story", 1)})

    result = subprocess.run(
        nginx.command("-t", "-q"), user=65534, group=65534, extra_groups=[],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (result.returncode, complaints(result.stderr)) == (0, [])
