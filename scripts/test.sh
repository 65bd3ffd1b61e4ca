#!/usr/bin/env bash
# Runs targets of the Makefile in two streams at once: those that keep a processor busy, and those that mostly wait
# for servers. What a target says comes when it has ended, in one piece, with the time it took. The first that fails
# ends its stream, and the other one after the target that is running there. With TEST_STREAMS=1 all run in one
# stream.
#
#   scripts/test.sh "unit sim" "e2e oracle"
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT

stream() {
  local target begun code
  for target in $1; do
    [ ! -e "$out/failed" ] || return 1
    begun=$SECONDS
    code=0
    "${MAKE:-make}" --no-print-directory "$target" >"$out/$target" 2>&1 || code=$?
    {
      flock 9
      printf '== %s\n' "$target"
      cat "$out/$target"
      if [ "$code" = 0 ]; then
        printf '== %s passed in %d s\n' "$target" $((SECONDS - begun))
      else
        printf '== %s FAILED in %d s\n' "$target" $((SECONDS - begun))
        echo "$target" >>"$out/failed"
      fi
    } 9>"$out/lock"
    [ "$code" = 0 ] || return 1
  done
}

if [ "${TEST_STREAMS:-2}" = 1 ]; then
  stream "$*" || true
else
  for targets in "$@"; do stream "$targets" & done
  wait
fi
if [ -e "$out/failed" ]; then
  echo "FAILED: $(paste -sd ' ' "$out/failed")"
  exit 1
fi
