#!/bin/sh
# Install the clients that the long tests run unchanged, once, in the tests' cache.
#
# usage: tests/setup_clients.sh
#
# It makes
#   clients/  a virtual environment with LiteLLM
#   npm/      OpenCode, Codex and Claude Code, about 1 GB
# What cannot be had is said, and its tests are skipped.
set -eu

cache="${XDG_CACHE_HOME:-$HOME/.cache}/spark-activator-tests"
# Without tenacity its `num_retries` does nothing for Anthropic's way.
LITELLM=1.110.2
PACKAGES='opencode-ai@1.18.33 @openai/codex@0.169.0 @anthropic-ai/claude-code@2.1.197'

say() { printf 'setup_clients: %s\n' "$*" >&2; }

python_clients() {
    [ "$(cat "$cache/clients/done" 2>/dev/null)" != "$LITELLM" ] || return 0
    say "installing LiteLLM $LITELLM"
    rm -rf "$cache/clients"
    /usr/bin/python3 -m venv "$cache/clients"
    "$cache/clients/bin/pip" install --quiet "litellm==$LITELLM" tenacity >"$cache/clients/pip.log" 2>&1 || {
        tail -n 5 "$cache/clients/pip.log" >&2
        say "no LiteLLM: its tests are skipped"
        rm -rf "$cache/clients"
        return 0
    }
    echo "$LITELLM" >"$cache/clients/done"
}

npm_clients() {
    [ "$(cat "$cache/npm/done" 2>/dev/null)" != "$PACKAGES" ] || return 0
    if ! command -v npm >/dev/null; then
        say "there is no npm: the tests of OpenCode, Codex and Claude Code are skipped"
        return 0
    fi
    say "installing $PACKAGES (about 1 GB)"
    mkdir -p "$cache/npm"
    # Their install scripts only save start time, and are left alone.
    # shellcheck disable=SC2086  # a list of words
    npm install --prefix "$cache/npm" --ignore-scripts --no-audit --no-fund --save-exact \
        $PACKAGES >"$cache/npm/npm.log" 2>&1 || {
        tail -n 5 "$cache/npm/npm.log" >&2
        say "npm could not install them: their tests are skipped"
        return 0
    }
    echo "$PACKAGES" >"$cache/npm/done"
}

mkdir -p "$cache"
python_clients
npm_clients
