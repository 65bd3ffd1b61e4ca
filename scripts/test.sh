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
        echo "$target" >>"$out/passed"
      else
        printf '== %s FAILED in %d s\n' "$target" $((SECONDS - begun))
        echo "$target" >>"$out/failed"
      fi
    } 9>"$out/lock"
    [ "$code" = 0 ] || return 1
  done
}

touch "$out/passed"
# Each stream is a group of processes of its own, so that who interrupts this ends all of them.
set -m
trap 'for group in $(jobs -p); do kill -TERM -- "-$group" 2>/dev/null || true; done; exit 130' INT TERM
if [ "${TEST_STREAMS:-2}" = 1 ]; then
  stream "$*" & # like the others: what counts is what passed
else
  for targets in "$@"; do stream "$targets" & done
fi
wait
# All that was asked for has to have passed: a stream that ended in any other way has not.
missing="$(comm -23 <(printf '%s\n' $* | sort) <(sort "$out/passed"))"
if [ -n "$missing" ]; then
  echo "FAILED or not run: $(echo $missing)"
  exit 1
fi
