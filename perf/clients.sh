#!/usr/bin/env bash
# What clients cost that do nothing, come back or attack: starts a node of its own for each, on ports and data of its own.
#
#   perf/clients.sh memory [CHARACTERS [CONNECTIONS]]   bytes of the node for an idle character, and for a connection that says nothing
#   perf/clients.sh idle [CHARACTERS]                   idle characters on one shard (20000): how many, how late its ticks are
#   perf/clients.sh reconnects [PER_SECOND [BOTS]]      sessions taken up again in a second (1000), for a minute
#   perf/clients.sh attack [ATTACKERS]                  200 bots with and without attackers (1000), in turn
#
# Each ends with one JSON object. Settings: SECONDS_MEASURED= (60), TICK_HZ= (30), CARGO_TARGET_DIR=. Node and bots each open a
# file a client: `ulimit -Hn` bounds them.
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
target=${CARGO_TARGET_DIR:-$root/target}
seconds=${SECONDS_MEASURED:-60}
folder=$(mktemp -d)
node=
cleanup() {
    [[ -z $node ]] || { kill "$node" 2>/dev/null && wait "$node" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap cleanup EXIT

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

ulimit -n "$(ulimit -Hn)"
(cd "$root" && cargo build --release --quiet --package vyuha --package vyuha-bots)

# Starts a node with these flags; sets node, listen and admin.
start() {
    rm -rf "$folder/data"
    "$target/release/vyuha" serve --data-dir "$folder/data" --listen-address 127.0.0.1:0 --admin-address 127.0.0.1:0 \
        --web-address 127.0.0.1:0 --shard-count 1 --accounts-hash-memory 64KiB --accounts-hash-iterations 1 \
        --log-level warn "$@" >"$folder/ready" &
    node=$!
    until grep -q ready "$folder/ready"; do sleep 0.1; kill -0 "$node"; done
    listen=$(sed 's/.*"listen":"\([^"]*\)".*/\1/' "$folder/ready")
    admin=$(sed 's/.*"admin":"\([^"]*\)".*/\1/' "$folder/ready")
}

stop() {
    kill "$node" && wait "$node" || true
    node=
}

# Bytes of the node's memory.
rss() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$node/status"; }

# The sum of a figure of the node.
metric() {
    exec 3<>"/dev/tcp/${admin%:*}/${admin##*:}"
    printf 'GET /metrics HTTP/1.0\r\nHost: %s\r\n\r\n' "$admin" >&3
    awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { printf "%d\n", sum }' <&3
    exec 3>&-
}

bots() { "$target/release/vyuha-bots" --target "$listen" "$@"; }

# Waits until a figure of the node is this, or for so many seconds.
await() {
    for ((waited = 0; waited < $3; waited++)); do
        [[ $(metric "$1") -lt $2 ]] || return 0
        sleep 1
    done
}

memory() {
    local characters=${1:-5000} connections=${2:-15000} before after bots
    start --net-connections-max 100000 --net-handshakes-max 65536 --session-afk-kick 0s
    # Once before, so that what the first clients make grow for good is not counted.
    bots --roles idle=1 --clients 200 --prefix warm --seconds 1 >/dev/null 2>&1
    before=$(rss)
    bots --roles idle=1 --clients "$characters" --sign-ins 256 >/dev/null 2>"$folder/bots" &
    bots=$!
    await vyuha_sessions $((characters * 99 / 100)) 600
    sleep 5
    local playing
    playing=$(metric vyuha_sessions)
    after=$(rss)
    kill "$bots" && wait "$bots" || true
    local character=$(((after - before) / playing))
    stop
    start --net-connections-max 100000 --net-handshakes-max 65536 --net-handshake-timeout 5m
    before=$(rss)
    "$target/release/vyuha-bots" attack --target "$listen" --kinds half-open --attackers "$connections" >/dev/null &
    bots=$!
    await vyuha_handshakes_in_progress "$connections" 60
    sleep 2
    local open
    open=$(metric vyuha_handshakes_in_progress)
    after=$(rss)
    kill "$bots" && wait "$bots" || true
    echo "{\"characters\":$playing,\"bytes_per_character\":$character,\"connections\":$open,\"bytes_per_connection\":$(((after - before) / open))}"
}

idle() {
    local characters=${1:-20000} bots
    start --net-connections-max 100000 --net-handshakes-max 65536 --session-afk-kick 0s --shard-tick-hz "${TICK_HZ:-30}"
    bots --roles idle=1 --clients "$characters" --sign-ins 256 >/dev/null 2>"$folder/bots" &
    bots=$!
    await vyuha_sessions $((characters * 99 / 100)) 1200
    local ticks late shed playing
    playing=$(metric vyuha_sessions)
    ticks=$(metric vyuha_ticks_total) late=$(metric vyuha_late_ticks_total) shed=$(metric vyuha_shed_ticks_total)
    sleep "$seconds"
    echo "{\"characters\":$playing,\"after_s\":$seconds,\"characters_then\":$(metric vyuha_sessions),\"ticks\":$(($(metric vyuha_ticks_total) - ticks)),\"late_ticks\":$(($(metric vyuha_late_ticks_total) - late)),\"shed_ticks\":$(($(metric vyuha_shed_ticks_total) - shed)),\"rss_bytes\":$(rss)}"
    kill "$bots" && wait "$bots" || true
}

reconnects() {
    local per_second=${1:-1000} clients=${2:-2000}
    start --net-connections-max 20000 --net-handshakes-max 4096
    bots --roles resumer=1 --clients "$clients" --reconnects-per-second "$per_second" --seconds "$seconds" --sign-ins 256 --json |
        tail -1
}

attack() {
    "$target/release/vyuha" demo --clients 200 --attackers "${1:-1000}" --seconds $((seconds / 20 * 20 + 1)) --port 0 --shards 1 \
        --admin-address 127.0.0.1:0 --web-address 127.0.0.1:0 --log-level warn --json | tail -1
}

what=${1:-}
case $what in
memory | idle | reconnects | attack)
    shift
    "$what" "$@"
    ;;
*) usage ;;
esac
