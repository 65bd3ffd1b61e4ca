#!/usr/bin/env bash
# Runs every fuzz target of every module for the time given (default 15s).
set -euo pipefail
cd "$(dirname "$0")/.."
time="${1:-15s}"
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  dir="$(dirname "$file")"
  sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file" | while read -r target; do
    echo "== $dir $target"
    (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" .)
  done
done
