"""The example for TLS, with a certificate made for the test."""

import http.client
import json
import ssl
import subprocess
from pathlib import Path

from nginx_process import PATIENCE

UNITS = Path(__file__).parents[3] / "units/nginx"


def certificate(directory: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost",
         "-keyout", directory / "tls.key", "-out", directory / "tls.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


def test_example_serves_over_tls(make_nginx, make_entry, story, free_port, tmp_path):
    nginx = make_nginx(tmp_path)
    own = nginx.config / "nginx"
    own.mkdir()
    certificate(own)
    port = free_port()
    example = nginx.filled((UNITS / "tls.conf.example").read_text())
    (own / "tls.conf").write_text(example.replace("listen 8010", f"listen 127.0.0.1:{port}"))
    assert nginx.test().returncode == 0

    story.answer = None
    with nginx.running():
        nginx.route({"story": make_entry("story", story.port)})
        context = ssl.create_default_context(cafile=str(own / "tls.pem"))
        connection = http.client.HTTPSConnection(
            "localhost", port, context=context, timeout=PATIENCE
        )
        try:
            body = json.dumps({"model": "story"})
            connection.request("POST", "/v1/completions", body)
            response = connection.getresponse()
            assert (response.status, json.load(response)) == (200, {"served_by": "story"})
            connection.request("GET", "/nothing")
            assert json.load(connection.getresponse())["error"]["code"] == "path_not_allowed"
        finally:
            connection.close()
        # The other endpoint stays.
        assert nginx.ask("GET", "/healthz").status == 200
