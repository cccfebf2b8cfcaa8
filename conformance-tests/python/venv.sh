#!/usr/bin/env bash
# Makes the virtual environment of the Python peer, .venv at the root of the project.
#
# usage: conformance-tests/python/venv.sh
#
# Does nothing when it is there and its requirements have not changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'venv.sh: %s\n' "$*" >&2; }
die() { say "$*"; say "or set PYMQ_TEST_PYTHON=off to test without a Python peer"; exit 1; }

requirements=conformance-tests/python/requirements.txt
venv=.venv
# Written last, so that an environment that was not finished is made anew.
made_from=$venv/requirements.txt
cmp -s "$requirements" "$made_from" && "$venv/bin/python" -c 'import pymq, redis' 2>/dev/null && exit 0

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
if ! has_venv; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        die "the Python peer of the tests needs python3 with its venv module: apt-get install python3-venv"
    say "installing python3-venv"
    apt-get update -q >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-venv >&2 || true
    has_venv || die "python3-venv could not be installed"
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$(python3 --version) is too old for the Python peer of the tests: it needs 3.10 or later"

say "making $venv"
python3 -m venv --clear "$venv" >&2 || die "python3 -m venv failed"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2 ||
    die "pip could not install $requirements"
cp "$requirements" "$made_from"
