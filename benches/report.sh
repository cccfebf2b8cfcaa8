#!/usr/bin/env bash
# Measures everything and writes the numbers into README.md, docs/PERFORMANCE.md and docs/*.svg.
# It takes some minutes. Run it on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

json=$PWD/target/speed.json
rm -f "$json"
cargo bench --locked -p pymq-benches --benches -- --json "$json"
cargo bench --locked -p pymq-benches --bench speed -- --report "$json" --growth
