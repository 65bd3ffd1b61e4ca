#!/usr/bin/env bash
# Makes dist/zkcore-VERSION.tar.gz: the layout that ZooKeeper's users know.
set -euo pipefail
cd "$(dirname "$0")/.."
version="$1"
name="zkcore-$version"
out="${DIST_DIR:-dist}"
rm -rf "$out/$name" "$out/$name.tar.gz"
mkdir -p "$out/$name/bin" "$out/$name/conf"
# Not by way of build/: what is there may be running, and has another version.
make --no-print-directory build VERSION="$version" BUILD="$out/$name/bin"
cp bin/*.sh "$out/$name/bin/"
cp conf/zoo_sample.cfg "$out/$name/conf/"
cp -R deploy docs "$out/$name/"
cp README.md CHANGELOG.md VERSION "$out/$name/"
tar -C "$out" --owner=0 --group=0 -czf "$out/$name.tar.gz" "$name"
rm -rf "$out/${name:?}"
echo "$out/$name.tar.gz"
