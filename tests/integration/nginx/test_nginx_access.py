"""Who may come in through nginx: keys, hosts, and the pages of browsers."""

import hashlib
import json
import socket

import pytest
from nginx_process import PATIENCE

from spark_activator.errors import Refusal
from spark_activator.http import keys as activators_keys
from spark_activator.http.head import parse
from spark_activator.http.hosts import EXPOSED, Hosts, machine_names

CHAT = "/v1/chat/completions"
ENTRIES = [
    ("GET", "/healthz"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/story"),
    ("GET", "/v1/models/nobody"),
    ("POST", CHAT),
    ("POST", "/v1/story/chat/completions"),
    ("POST", "/v1/nobody/completions"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/realtime?model=story"),
    ("PUT", CHAT),
    ("OPTIONS", CHAT),
    ("GET", "/debug/state"),
    ("POST", "/debug/warm/story"),
    ("GET", "/"),
    ("GET", "/_spark/502"),
    ("GET", "/_spark/ask"),
]


def line(name: str, secret: str, **values: object) -> str:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    entry = {"name": name, "sha256": digest, "models": None, "admin": False, "added": "2026-11-26"}
    return json.dumps({**entry, **values}) + "\n"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def keys(nginx):
    """Three keys: for one model, for all, and an admin's."""
    nginx.keys = nginx.config / "api-keys"
    nginx.keys.write_text(
        "# made by hand\n\n"
        + line("one", "sk-one", models=["story"])
        + line("all", "sk-all")
        + line("boss", "sk-boss", admin=True)
    )
    nginx.show("story", "ready")
    return nginx


def is_401(reply) -> bool:
    assert reply.error["code"] == "invalid_api_key"
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    return reply.status == 401


@pytest.mark.parametrize(("method", "target"), ENTRIES)
def test_nothing_is_told_without_a_key(keys, story, echo, method, target):
    body = {"model": "story"} if method == "POST" else None
    wrong = [
        {},
        bearer("sk-wrong"),
        {"X-Api-Key": "sk-wrong"},
        {"Authorization": "Basic c2stYWxs"},
        {"Authorization": "sk-all"},
        {"Authorization": "Bearer sk-all sk-one"},
    ]
    for headers in wrong:
        assert is_401(keys.ask(method, target, body, headers)), headers
    assert is_401(keys.ask(method, target, body, {"Host": "evil.example"}))
    assert is_401(keys.ask(method, target, body, {"Origin": "https://evil.example"}))
    assert story.arrived == echo.arrived == []


@pytest.mark.parametrize(
    "headers",
    [
        bearer("sk-all"),
        {"Authorization": "bearer  sk-all "},
        {"X-Api-Key": "sk-all"},
        {"Api-Key": "sk-all"},
        {"X-Api-Key": "sk-all", "Authorization": "Bearer placeholder"},
    ],
    ids=str,
)
def test_key_opens(keys, story, headers):
    assert keys.ask("POST", CHAT, {"model": "story"}, headers).status == 200
    # The activator checks it again, and takes it off.
    assert headers.items() <= dict(story.last.headers).items() or "  " in str(headers)
    assert keys.ask("GET", "/healthz", headers=headers).status == 200


def test_key_for_some_models_sees_and_reaches_only_these(keys, story, echo):
    listed = keys.ask("GET", "/v1/models", headers=bearer("sk-one")).json["data"]
    assert {item["root"] for item in listed} == {"story"}

    for method, target, body in (
        ("POST", CHAT, {"model": "echo"}),
        ("POST", "/v1/echo/completions", {}),
        ("GET", "/v1/models/echo", None),
    ):
        reply = keys.ask(method, target, body, bearer("sk-one"))
        assert (reply.status, reply.error["code"]) == (403, "model_not_permitted")
    unknown = keys.ask("POST", CHAT, {"model": "ecko"}, bearer("sk-one"))
    assert "did you mean" not in unknown.error["message"]
    assert echo.arrived == []
    assert keys.ask("POST", CHAT, {"model": "story-precise"}, bearer("sk-one")).status == 200


def test_only_admins_see_debug_once_there_are_keys(keys):
    for secret in ("sk-one", "sk-all"):
        reply = keys.ask("GET", "/debug/state", headers=bearer(secret))
        assert (reply.status, reply.error["code"]) == (403, "admin_required")
    assert keys.ask("GET", "/debug/state", headers=bearer("sk-boss")).status == 200


def test_keys_are_picked_up_live(keys):
    keys.keys.write_text(line("new", "sk-new"))

    assert is_401(keys.ask("GET", "/healthz", headers=bearer("sk-all")))
    assert keys.ask("GET", "/healthz", headers=bearer("sk-new")).status == 200
    keys.keys.write_text("# none\n")
    assert keys.ask("GET", "/healthz").status == 200
    keys.keys.unlink()
    assert keys.ask("GET", "/healthz", headers=bearer("anything")).status == 200


BROKEN = [
    "nonsense",
    "[]",
    "{}",
    "null",
    line("all", "sk-all").replace('"all"', "5"),
    line("all", "sk-all", models="story"),
    line("all", "sk-all", models=[5]),
    line("all", "sk-all", admin="yes"),
    line("all", "sk-all", only_on="sundays"),
    line("all", "sk-all")[:60],
    line("all", "sk-all").replace('"sha256": "', '"sha256": "0'),
    line("all", "sk-all", added="yesterday"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_line_that_is_no_key_opens_nothing(nginx, broken):
    (nginx.config / "api-keys").write_text(broken)
    assert is_401(nginx.ask("GET", "/healthz", headers=bearer("sk-all")))
    assert is_401(nginx.ask("GET", "/healthz", headers=bearer("")))

    # The others still open.
    (nginx.config / "api-keys").write_text(f"{broken}\n" + line("other", "sk-other"))
    assert nginx.ask("GET", "/healthz", headers=bearer("sk-other")).status == 200


@pytest.mark.parametrize("kind", ["a directory", "too large", "a loop"])
def test_key_file_that_cannot_be_read_keeps_everybody_out(nginx, tmp_path, kind):
    file = nginx.config / "api-keys"
    if kind == "a directory":
        file.mkdir()
    elif kind == "a loop":
        file.symlink_to(file)
    else:
        file.write_text(line("all", "sk-all") + "#" * 300_000)
    try:
        assert is_401(nginx.ask("GET", "/healthz", headers=bearer("sk-all")))
    finally:
        (file.rmdir if kind == "a directory" else file.unlink)()
    assert "nobody is let in" in nginx.log.read_text()


def test_refused_body_is_not_waited_for(keys, story):
    # 401 comes although none of the 64 MiB was sent.
    with socket.create_connection(("127.0.0.1", keys.port), timeout=PATIENCE) as client:
        client.sendall(
            b"POST /v1/story/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 67108864\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
    for length in (b"67108865", b"1000000000000"):
        with socket.create_connection(("127.0.0.1", keys.port), timeout=PATIENCE) as client:
            client.sendall(
                b"POST /v1/story/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: " + length + b"\r\n\r\n"
            )
            assert client.recv(65536).startswith(b"HTTP/1.1 401 ")


ELSEWHERE = """
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
@USER@
pid @TEMP@/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path @TEMP@/body;
    proxy_temp_path @TEMP@/proxy;
    fastcgi_temp_path @TEMP@/fastcgi;
    scgi_temp_path @TEMP@/scgi;
    uwsgi_temp_path @TEMP@/uwsgi;
    server {
        listen 127.0.0.1:@PORT@;
        # The client's address is what the test says.
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Test-Peer;
        include @SHARE@/spark.conf;
    }
}
"""


def test_without_keys_only_this_machine_is_served(make_nginx, make_entry, story, tmp_path):
    with make_nginx(tmp_path, configuration=ELSEWHERE).running() as nginx:
        nginx.route({"story": make_entry("story", story.port)})
        story.arrived.clear()
        for peer in ("192.168.1.7", "100.64.0.1", "fd00::1", "172.17.0.2", "::ffff:10.0.0.1"):
            for target in ("/healthz", "/v1/models", "/debug/state"):
                reply = nginx.ask("GET", target, headers={"X-Test-Peer": peer})
                assert (reply.status, reply.error["code"]) == (403, "key_required")
            headers = {"X-Test-Peer": peer, "X-Forwarded-For": "127.0.0.1"}
            assert nginx.ask("POST", CHAT, {"model": "story"}, headers).status == 403
        assert story.arrived == []

        (nginx.config / "api-keys").write_text(line("all", "sk-all"))
        headers = {"X-Test-Peer": "192.168.1.7", "X-Forwarded-For": "127.0.0.1"}
        assert nginx.ask("POST", CHAT, {"model": "story"}, headers | bearer("sk-all")).status == 200
        # The activator is told who it is, and nothing that the client says of that.
        assert story.last.headers["X-Forwarded-For"] == "192.168.1.7"


def test_script_that_fails_lets_nobody_in(make_nginx, make_entry, story, tmp_path):
    nginx = make_nginx(tmp_path)
    script = tmp_path / "share/access.js"
    script.write_text(
        script.read_text().replace("function admit(r) {", "function admit(r) { oops();")
    )
    with nginx.running():
        nginx.route({"story": make_entry("story", story.port)})
        story.arrived.clear()
        for method, target in ENTRIES:
            body = {"model": "story"} if method == "POST" else None
            assert nginx.ask(method, target, body).status == 500
    assert story.arrived == []


OURS = [
    "localhost",
    "LOCALHOST:8009",
    "localhost.",
    "open-webui.localhost",
    "127.0.0.1:8009",
    "192.168.1.7",
    "[::1]:8009",
    "[fd00::1]",
    "host.docker.internal:8009",
    socket.gethostname(),
    socket.gethostname().partition(".")[0] + ".local:8009",
]


@pytest.mark.parametrize("host", OURS)
def test_hosts_that_are_ours(nginx, story, host):
    assert nginx.ask("POST", "/v1/story/completions", {}, {"Host": host}).status == 200
    assert story.last.headers["Host"] == host


FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "1.2.3.4.5",
    "127.0.0.256",
    "2130706433",
    "hosts",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_hosts_that_are_not_ours(nginx, story, host):
    # A page that had its own name resolved to this machine (DNS rebinding).
    for method, target in ENTRIES:
        reply = nginx.ask(method, target, {} if method == "POST" else None, {"Host": host})
        assert (reply.status, reply.error["code"]) == (403, "invalid_host")
        assert f"sudo spark-model host add {host}" in reply.error["message"]
    assert story.arrived == []


def test_hosts_of_the_owner(nginx):
    (nginx.config / "hosts").write_text("# LAN\nspark.lan # the box\nModels.Example.org.\n")

    for host in ("spark.lan:8009", "models.example.org"):
        assert nginx.ask("GET", "/healthz", headers={"Host": host}).status == 200
    for host in ("lan", "the", "example.org", "#"):
        assert nginx.ask("GET", "/healthz", headers={"Host": host}).status in (400, 403)


def test_second_host_in_the_target_is_refused(nginx, story):
    for target in (b"http://evil.example/v1/models", b"http://localhost/v1/models"):
        answer = nginx.say(
            b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"invalid_request"' in answer


PAGES = [
    "http://localhost:3000",
    "https://localhost",
    "http://127.0.0.1:8080",
    "http://[::1]:5173",
    "vscode-webview://1k3j5h1k3j5h",
    "http://app.localhost:8000",
    "https://chat.example.org",
]
STRANGERS = [
    "https://evil.example",
    "http://localhost.evil.example",
    "http://localhost:3000.evil.example",
    "http://127.0.0.1.evil.example",
    "null",
    "file://",
    "https://chat.example.org:444",
    "http://chat.example.org",
    "chrome-extension://localhost",
]


@pytest.fixture
def pages(nginx, make_entry, story):
    """One page is in host.yaml."""
    nginx.route(
        {"story": make_entry("story", story.port), "gone": make_entry("gone", 1)},
        origins=["https://chat.example.org"],
    )
    return nginx


@pytest.mark.parametrize("origin", PAGES)
def test_pages_that_may_ask_read_answers_and_refusals(pages, story, origin):
    def answer(request):
        # As engines do that let anybody in: nothing of it may be there twice.
        request.send_response(200)
        request.send_header("Access-Control-Allow-Origin", "*")
        request.send_header("Access-Control-Expose-Headers", "Secret")
        request.send_header("X-Spark-Request-Id", "1")
        request.send_header("Content-Length", "0")
        request.end_headers()

    story.answer = answer
    for method, target, status in (
        ("POST", "/v1/story/completions", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/healthz", 200),
        ("GET", "/debug/state", 200),
        ("POST", "/v1/nobody/completions", 404),
        ("POST", "/v1/gone/completions", 502),
        ("GET", "/nothing", 404),
    ):
        body = b"{}" if method == "POST" else None
        reply = pages.ask(method, target, body, {"Origin": origin})
        assert reply.status == status
        names = [name.lower() for name in reply.headers]
        assert names.count("access-control-allow-origin") == 1
        assert reply.headers["Access-Control-Allow-Origin"] == origin
        assert reply.headers["Access-Control-Expose-Headers"] == EXPOSED
        assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", STRANGERS)
def test_pages_of_strangers_may_not_ask(pages, story, origin):
    for method, target in ENTRIES:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        reply = pages.ask(method, target, {} if method == "POST" else None, headers)
        assert (reply.status, reply.error["code"]) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in reply.headers
    assert story.arrived == []


def test_programs_get_no_headers_for_pages(pages):
    names = " ".join(pages.ask("GET", "/v1/models").headers)

    assert "Access-Control" not in names
    assert "Vary" not in names


@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize("target", [CHAT, "/v1/story/completions", "/healthz", "/debug/state", "/"])
def test_preflight_needs_no_key(pages, story, with_keys, target):
    if with_keys:
        (pages.config / "api-keys").write_text(line("all", "sk-all"))
    wanted = "authorization, content-type, x-stainless-os"
    preflight = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": wanted,
    }
    reply = pages.ask("OPTIONS", target, headers=preflight)

    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert reply.headers["Access-Control-Allow-Headers"] == wanted
    assert "POST" in reply.headers["Access-Control-Allow-Methods"].split(", ")
    assert story.arrived == []

    # The same head opens nothing else.
    if with_keys:
        assert is_401(pages.ask("GET", "/v1/models", headers=preflight))
        assert is_401(pages.ask("OPTIONS", target, headers=preflight | {"Origin": "https://x.y"}))
        assert is_401(pages.ask("OPTIONS", target, headers=preflight | {"Host": "evil.example"}))


def test_activators_decide_alike():
    # Two programs in two languages read the same files and heads.
    hosts = Hosts(machine_names(socket.gethostname()), frozenset({"https://chat.example.org"}))

    def head(**fields: str):
        lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **fields}.items()]
        return parse("\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode())

    for origin in PAGES:
        hosts.check_origin(head(Origin=origin))
    for origin in STRANGERS:
        with pytest.raises(Refusal):
            hosts.check_origin(head(Origin=origin))
    for host in OURS:
        hosts.check_host(head(Host=host), "127.0.0.1")
    for host in FOREIGN:
        with pytest.raises(Refusal):
            hosts.check_host(head(Host=host), "127.0.0.1")
    for broken in BROKEN:
        assert activators_keys.read_line(broken) is None
    assert activators_keys.read_line(line("all", "sk-all")) is not None


def test_line_that_the_command_writes_is_read(nginx):
    digest = activators_keys.digest_of("sk-1")
    key = activators_keys.Key("laptop", digest, frozenset({"story"}), admin=True)
    (nginx.config / "api-keys").write_text(key.line())

    assert nginx.ask("GET", "/debug/state", headers=bearer("sk-1")).status == 200
