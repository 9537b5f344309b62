# shellcheck shell=sh
# What tests need before they can run: sourced by tests/run.
#
# Each step looks first and says what it does; a second run finds everything done.
# `setup_undo` ends what was started, and removes nothing that was installed.

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/spark-activator-tests
VENV=$PWD/.venv
OWN_DOCKERD=
export CACHE

say() { printf 'tests/run: %s\n' "$*"; }

die() {
    printf 'tests/run: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  (%s)\n' "$2" >&2
    exit 1
}

# What a test calls, with the Debian package that has it.
NEEDED='
git git
curl curl
ip iproute2
ps procps
nsenter util-linux
setpriv util-linux
iptables iptables
nginx nginx-light
debootstrap debootstrap
/lib/systemd/systemd systemd
/usr/lib/nginx/modules/ngx_http_js_module.so libnginx-mod-http-js
/usr/sbin/dockerd docker.io
'

setup_packages() {
    missing=
    while read -r thing package; do
        [ -n "$thing" ] || continue
        # A dockerd that answers is enough, wherever it is.
        if [ "$package" = docker.io ] && docker info >/dev/null 2>&1; then
            continue
        fi
        PATH=$PATH:/usr/sbin:/sbin command -v "$thing" >/dev/null 2>&1 ||
            [ -e "$thing" ] || missing="$missing $package"
    done <<LIST
$NEEDED
LIST
    PATH=$PATH:/usr/sbin:/sbin command -v docker >/dev/null || missing="$missing $(docker_client)"
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    /usr/bin/python3 -c 'import systemd.daemon' 2>/dev/null || missing="$missing python3-systemd"
    [ -s /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086  # a list of words
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    [ "$(id -u)" = 0 ] || die "packages are missing: $missing" \
        "run: sudo apt-get install --no-install-recommends $missing"
    command -v apt-get >/dev/null || die "packages are missing: $missing" \
        "this is no Debian or Ubuntu: install them by hand"
    say "installing the packages $missing"
    apt_install "$missing"
}

# Debian 13 has the client in a package of its own.
docker_client() {
    if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi
}

apt_install() {
    # Nothing that the tests install may start by itself: a test starts what it
    # needs, with its own configuration.
    policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    failed=no
    # shellcheck disable=SC2086  # a list of words
    {
        DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $1
    } >"${TMPDIR:-/tmp}/spark-tests-apt.log" 2>&1 || failed=yes
    [ -z "$policy" ] || rm -f "$policy"
    if [ "$failed" = yes ]; then
        tail -n 15 "${TMPDIR:-/tmp}/spark-tests-apt.log" >&2
        die 'apt-get could not install them' "the whole log: ${TMPDIR:-/tmp}/spark-tests-apt.log"
    fi
}

# Print a python3 of at least 3.11.  The distribution's own comes first: no other
# one can import its python3-systemd.
find_python() {
    for python in /usr/bin/python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    die 'there is no /usr/bin/python3 of version 3.11 or newer' 'Debian 12, Ubuntu 24.04 or newer has one'
}

setup_environment() {
    python=$(find_python)
    stamp=$VENV/.set-up
    wanted=$("$python" --version; pwd; cat pyproject.toml)
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "making the environment $VENV"
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        rm -rf "$VENV"
        "$python" -m venv --system-site-packages "$VENV"
    fi
    # pip before 25.1 does not know dependency groups, and Debian's is older.
    "$VENV/bin/python" - >"$VENV/dev-requirements.txt" <<'PYTHON'
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")
PYTHON
    "$VENV/bin/python" -m pip install --quiet --editable . -r "$VENV/dev-requirements.txt" \
        >"$VENV/pip.log" 2>&1 || {
        tail -n 15 "$VENV/pip.log" >&2
        die 'pip could not install what the tests import' \
            'pip takes its index and proxy from pip.conf and PIP_* as always'
    }
    printf '%s\n' "$wanted" >"$stamp"
}

# Use the engine that answers, or start one for the time of this run.
setup_docker() {
    docker info >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] || die 'no Docker engine answers' 'start it, or join the group docker'
    mkdir -p "$CACHE/docker" "$CACHE/docker-run"
    say 'no Docker engine answers: starting one for this run'
    DOCKER_HOST=unix://$CACHE/docker-run/docker.sock
    export DOCKER_HOST
    setup_cgroups
    rm -f "$CACHE/docker-run/docker.pid"
    PATH=$PATH:/usr/sbin:/sbin setsid dockerd --host "$DOCKER_HOST" \
        --data-root "$CACHE/docker" --exec-root "$CACHE/docker-run/exec" \
        --pidfile "$CACHE/docker-run/docker.pid" >"$CACHE/dockerd.log" 2>&1 </dev/null &
    OWN_DOCKERD=$!
    tries=0
    until docker info >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 60 ] || ! kill -0 "$OWN_DOCKERD" 2>/dev/null; then
            tail -n 15 "$CACHE/dockerd.log" >&2
            die 'dockerd does not come up' "its log: $CACHE/dockerd.log"
        fi
        sleep 0.5
    done
}

# A bare container may have no cgroup tree to write to.
setup_cgroups() {
    if [ ! -e /sys/fs/cgroup/cgroup.procs ] && ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup || true
    fi
}

setup_vllm() {
    [ -x tests/setup_vllm.sh ] || die 'tests/setup_vllm.sh is missing'
    SPARK_VLLM=$(tests/setup_vllm.sh | tail -n 1)
    export SPARK_VLLM
}

setup_undo() {
    [ -n "$OWN_DOCKERD" ] || return 0
    kill "$OWN_DOCKERD" 2>/dev/null || true
    wait "$OWN_DOCKERD" 2>/dev/null || true
    OWN_DOCKERD=
}
