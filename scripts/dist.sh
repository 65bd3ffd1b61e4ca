#!/usr/bin/env bash
# Makes dist/zkcore-VERSION.tar.gz: the layout that ZooKeeper's users know.
set -euo pipefail
cd "$(dirname "$0")/.."
version="$1"
name="zkcore-$version"
rm -rf "dist/$name" "dist/$name.tar.gz"
mkdir -p "dist/$name"
make --no-print-directory build VERSION="$version"
mkdir -p "dist/$name/bin" "dist/$name/conf"
cp bin/*.sh build/zkcore build/zkcli build/zkbench "dist/$name/bin/"
cp conf/zoo_sample.cfg "dist/$name/conf/"
cp -R deploy docs "dist/$name/"
cp README.md CHANGELOG.md VERSION "dist/$name/"
tar -C dist --owner=0 --group=0 -czf "dist/$name.tar.gz" "$name"
rm -rf "dist/${name:?}"
echo "dist/$name.tar.gz"
