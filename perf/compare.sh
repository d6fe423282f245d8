#!/usr/bin/env bash
# Compares what a tick costs in two commits: builds both, runs them in turn, and prints the ratio of the medians.
#
#   perf/compare.sh BASE [NEW] [-- ARGUMENTS OF sim-bench tick]
#
# NEW is the working tree's HEAD if it is not given. Both commits must have the package sim-bench. Settings:
#   ROUNDS=9      how often each of the two is run
#   CPU=          pins both to this core, with taskset
#   CARGO_TARGET_DIR=   where to build; by default where it is removed at the end
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

[[ $# -ge 1 && $1 != -* ]] || usage
base=$1
shift
new=HEAD
if [[ $# -ge 1 && $1 != -- ]]; then
    new=$1
    shift
fi
if [[ $# -ge 1 ]]; then
    [[ $1 == -- ]] || usage
    shift
fi
arguments=("$@")
rounds=${ROUNDS:-9}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || { echo "ROUNDS=$rounds is no number of rounds" >&2; exit 2; }
pin=()
[[ -z ${CPU:-} ]] || pin=(taskset -c "$CPU")

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
folder=$(mktemp -d)
target=${CARGO_TARGET_DIR:-$folder/target}
cleanup() {
    for side in base new; do
        git -C "$root" worktree remove --force "$folder/$side" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap cleanup EXIT

for side in base new; do
    commit=$(git -C "$root" rev-parse --verify --quiet "${!side}^{commit}") || {
        echo "${!side} is no commit here" >&2
        exit 2
    }
    git -C "$root" worktree add --quiet --detach "$folder/$side" "$commit"
    echo "building $side: $(git -C "$root" log -1 --format='%h %s' "$commit")" >&2
    # One target folder: what both have in common is built once. The programs are kept apart.
    (cd "$folder/$side" && CARGO_TARGET_DIR=$target cargo build --quiet --release --locked -p sim-bench)
    cp "$target/release/sim-bench" "$folder/sim-bench-$side"
done

# A line for each median: side, name, nanoseconds an entity.
run() {
    "${pin[@]}" "$folder/sim-bench-$1" tick --json "${arguments[@]}" 2>/dev/null | tail -n 1 |
        sed 's/"passes"/\n/; s/{"name"/\n{"name"/g' |
        sed -nE "1s/.*\"ns_per_entity\":([0-9.]+).*/$1 whole \1/p;
                 s/^\{\"name\":\"([a-z_]+)\",\"ns_per_entity\":([0-9.]+).*/$1 \1 \2/p" >>"$folder/results"
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    # Every other round the other way round, so that neither always follows the same.
    if ((round % 2)); then order=(base new); else order=(new base); fi
    for side in "${order[@]}"; do run "$side"; done
done

echo "$(uname -m), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), load $(cut -d' ' -f1-3 /proc/loadavg)"
echo "ns an entity, median of $rounds runs: base $base, new $new"
awk '
    # The values of a key are kept in order as they come.
    function add(key, value,    at) {
        for (at = ++count[key]; at > 1 && values[key, at - 1] > value; at--) values[key, at] = values[key, at - 1]
        values[key, at] = value
    }
    function median(key,    n) {
        n = count[key]
        return n % 2 ? values[key, (n + 1) / 2] : (values[key, n / 2] + values[key, n / 2 + 1]) / 2
    }
    !($2 in known) { known[$2] = 1; names[++last] = $2 }
    { add($1 " " $2, $3 + 0) }
    END {
        printf "%-12s %10s %10s %8s\n", "", "base", "new", "new/base"
        for (at = 1; at <= last; at++) {
            name = names[at]
            if (!(("base " name) in count) || !(("new " name) in count)) {
                printf "%-12s only in one of the two\n", name
                continue
            }
            base = median("base " name); fresh = median("new " name)
            ratio = "-"
            if (base > 0) ratio = sprintf("%.3f", fresh / base)
            printf "%-12s %10.3f %10.3f %8s\n", name, base, fresh, ratio
        }
    }' "$folder/results"
