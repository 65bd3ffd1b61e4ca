#!/usr/bin/env bash
# Tidies every module of the workspace.
#
# go mod tidy ignores go.work, and no go.mod here may carry a replace (a module
# with one can't be installed by go install). So each is tidied through a copy
# that has the replaces, which are taken out again.
set -euo pipefail
cd "$(dirname "$0")/.."
base=github.com/zkcore/zkcore
siblings=(consensus-raft consensus-zab core plugins plugins/process storage-bolt storage-mem)
for dir in . "${siblings[@]}" examples/storage-pebble; do
  (
    cd "$dir"
    case "$dir" in .) root=. ;; */*) root=../.. ;; *) root=.. ;; esac
    cp go.mod tidy.mod
    [ ! -f go.sum ] || cp go.sum tidy.sum
    for s in "${siblings[@]}"; do
      [ "$s" = "$dir" ] || go mod edit -modfile=tidy.mod -replace="$base/$s=$root/$s" tidy.mod 2>/dev/null ||
        go mod edit -replace="$base/$s=$root/$s" tidy.mod
    done
    GOWORK=off GOFLAGS=-mod=mod go mod tidy -modfile=tidy.mod
    for s in "${siblings[@]}"; do go mod edit -dropreplace="$base/$s" tidy.mod; done
    mv tidy.mod go.mod
    if [ -f tidy.sum ]; then mv tidy.sum go.sum; fi
  )
done
