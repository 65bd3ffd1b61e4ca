#!/usr/bin/env bash
# Tries new inputs on every decoder, then hurts ensembles for the time given, e.g. 8h: half of
# it simulated ones, half of it real processes. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."
total="${1:-1h}"
case "$total" in
  *h) seconds=$(( ${total%h} * 3600 )) ;;
  *m) seconds=$(( ${total%m} * 60 )) ;;
  *s) seconds="${total%s}" ;;
  *) echo "soak.sh: $total is no time such as 8h, 30m or 90s" >&2; exit 2 ;;
esac
scripts/fuzz.sh 4s
half=$(( seconds / 2 ))
go test -count=1 -timeout 0 -v -run '^TestSoak$' ./test/sim -sim.for="${half}s"
for consensus in zab raft; do
  go test -count=1 -timeout 0 -v -run '^TestSoak$' ./test/nemesis -nemesis.for="$(( half / 2 ))s" -nemesis.consensus="$consensus"
done
