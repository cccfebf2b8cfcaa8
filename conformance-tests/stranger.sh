#!/usr/bin/env bash
# Runs the suite as a third party does: in a repository outside of this one, on its own provider,
# from the packaged crates.
#
# usage: conformance-tests/stranger.sh
set -euo pipefail
cd "$(dirname "$0")/.."

repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
say() { printf 'stranger.sh: %s\n' "$*" >&2; }

# Runs a command, and shows its output only if it fails.
quietly() { "$@" >"$repository/log" 2>&1 || { cat "$repository/log" >&2; return 1; }; }

# The providers are optional dependencies of the suite. Its lock file needs their packages.
quietly cargo package --no-verify --allow-dirty \
    -p pymq-core -p pymq-rpc-over-topics -p pymq-conformance \
    -p pymq-provider-memory -p pymq-provider-redis
target=$(cargo metadata --no-deps --format-version 1 |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cp -r conformance-tests/stranger/. "$repository"
# The versions that this repository is tested with.
cp Cargo.lock "$repository"
{
    echo
    echo '[patch.crates-io]'
    for crate in pymq-core pymq-rpc-over-topics pymq-conformance; do
        file=$(ls -t "$target/package/$crate"-[0-9]*.crate | head -n 1)
        # -m: with the current time. Times in a package never change, and cargo compares times.
        tar -xmzf "$file" -C "$repository"
        echo "$crate = { path = \"$(basename "$file" .crate)\" }"
    done
} >>"$repository/Cargo.toml"

cd "$repository"
# Built where the next run finds it.
export CARGO_TARGET_DIR=$target/stranger
if cargo tree --quiet --edges normal,dev | grep pymq-provider >&2; then
    say "the suite depends on a provider"
    exit 1
fi
cargo test --test suite
say "a broken provider has to fail"
if cargo test --test suite --features broken queues::batch_keeps_its_order >log 2>&1; then
    say "the suite did not notice that the provider is broken"
    exit 1
fi
if ! grep -q '^test queues::batch_keeps_its_order \.\.\. FAILED' log; then
    cat log >&2
    say "the broken provider failed in another way"
    exit 1
fi
say "passed"
