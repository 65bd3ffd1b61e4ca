#!/usr/bin/env bash
# Tries new inputs on every fuzz target of every module: fuzz.sh [TIME [PATTERN]].
# Each target gets TIME (default 15s) on one core, and as many run side by side as
# there are cores. PATTERN is a part of "folder Target". An input that fails is kept in
# the package's testdata/fuzz/, where the ordinary tests run it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
export time="${1:-15s}"
pattern="${2:-}"
work="$(mktemp -d)"
export work
trap 'rm -rf "$work"' EXIT

# One binary a package, with the coverage that guides the fuzzer.
targets="$work/targets"
while read -r dir; do
  name="$(tr / _ <<<"${dir#./}")"
  found="$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$dir"/*_test.go | awk -v d="$dir" '{print d, $1}' | grep -F -- "$pattern" || true)"
  [ -n "$found" ] || continue
  (cd "$dir" && go test -c -fuzz=Fuzz -o "$work/$name.test" .)
  sed "s|\$| $name|" <<<"$found" >>"$targets"
done < <(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u)
[ -s "$targets" ] || { echo "no fuzz target matches \"$pattern\"" >&2; exit 1; }

run() {
  read -r dir target name <<<"$1"
  out="$work/$name.$target.out"
  cache="$(go env GOCACHE)/fuzz/zkcore/$name"
  mkdir -p "$cache"
  if (cd "$dir" && GOMAXPROCS=2 "$work/$name.test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" \
      -test.fuzzminimizetime=2s -test.parallel=1 -test.fuzzcachedir="$cache" >"$out" 2>&1); then
    echo "ok   $dir $target $(grep -oE 'execs: [0-9]+' "$out" | tail -n 1) $(grep -oE 'total: [0-9]+' "$out" | tail -n 1)"
    return
  fi
  if ! grep -q 'testdata/fuzz/' "$out" && [ "$(grep -cE '^ +context deadline exceeded$|^--- FAIL|^FAIL$' "$out")" -eq 3 ]; then
    # The fuzzer of Go 1.26 says so when its time ends in a bad moment; nothing failed.
    echo "ok   $dir $target $(grep -oE 'execs: [0-9]+' "$out" | tail -n 1)"
    return
  fi
  echo "FAIL $dir $target"
  sed 's/^/     /' "$out"
  if input="$(grep -oE "testdata/fuzz/$target/[0-9a-f]+" "$out" | tail -n 1)" && [ -n "$input" ]; then
    echo "     kept as $dir/$input; replay it with:"
    echo "     (cd $dir && go test -run='^$target\$/^${input##*/}\$' .)"
  fi
  return 1
}
export -f run
xargs -d '\n' -P "$(nproc)" -I{} bash -c 'run "$1"' _ {} <"$targets" || { echo "a fuzz target failed" >&2; exit 1; }
echo "$(wc -l <"$targets") targets, $time each"
