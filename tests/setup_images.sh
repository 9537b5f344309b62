#!/bin/sh
# Build the images of the tests' machines, once, from Debian's own packages.
#
# usage: tests/setup_images.sh [SUITE]       (bookworm, the default, or trixie)
#
# Makes spark-test-base:SUITE (debootstrap's smallest Debian) and
# spark-test-node:SUITE (the same with systemd, Docker and nginx).  The root file
# system is kept in the cache; an image is built again when its recipe changes.
set -eu

suite=${1:-bookworm}
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spark-activator-tests
recipe=$here/e2e/image/Dockerfile
tarball=$cache/rootfs-$suite.tar
began=$(date +%s)

say() { printf 'setup_images: %s\n' "$*"; }

inputs=$(cksum <"$recipe" | tr ' ' '-')
label() { docker image inspect --format '{{index .Config.Labels "inputs"}}' "$1" 2>/dev/null || true; }

if [ "$(label "spark-test-node:$suite")" = "$inputs" ]; then
    exit 0
fi

mkdir -p "$cache"
if [ ! -s "$tarball" ]; then
    [ "$(id -u)" = 0 ] || {
        say 'debootstrap needs root (run: sudo -E tests/setup_images.sh)' >&2
        exit 1
    }
    say "debootstrap of Debian $suite (about a minute)"
    tree=$(mktemp -d "$cache/debootstrap.XXXXXX")
    trap 'rm -rf "$tree"' EXIT
    # The distribution's own script may be older than the suite: they are all the same.
    script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase "$suite" "$tree" \
        http://deb.debian.org/debian "$script" >"$cache/debootstrap-$suite.log" 2>&1 || {
        tail -n 10 "$cache/debootstrap-$suite.log" >&2
        say "debootstrap failed (its log: $cache/debootstrap-$suite.log)" >&2
        exit 1
    }
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
    tar -C "$tree" -cf "$tarball.new" .
    mv "$tarball.new" "$tarball"
fi
docker image inspect "spark-test-base:$suite" >/dev/null 2>&1 ||
    docker import "$tarball" "spark-test-base:$suite" >/dev/null

say "building spark-test-node:$suite"
# The classic builder: BuildKit is a plugin that Debian does not ship.
DOCKER_BUILDKIT=0 docker build --quiet --label "inputs=$inputs" --build-arg "SUITE=$suite" \
    --tag "spark-test-node:$suite" "$here/e2e/image" >"$cache/build-$suite.log" 2>&1 || {
    tail -n 20 "$cache/build-$suite.log" >&2
    say "the build failed (its log: $cache/build-$suite.log)" >&2
    exit 1
}
say "images for $suite took $(($(date +%s) - began)) s"
