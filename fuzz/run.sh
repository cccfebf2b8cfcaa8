#!/usr/bin/env bash
# Runs every fuzz target for a while, with the stable compiler. Needs a C++ compiler.
#
# usage: fuzz/run.sh [SECONDS FOR EACH, default 60]
set -euo pipefail
cd "$(dirname "$0")"

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
# Without a sanitizer, because nothing here is unsafe. With this variable the stable compiler measures
# coverage.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --fuzz-dir . -s none
for target in fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    printf '\n== %s\n' "$target"
    cargo fuzz run --fuzz-dir . -s none "$target" -- \
        -max_total_time="${1:-60}" -max_len=4096 -verbosity=0
done
