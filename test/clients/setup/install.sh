#!/usr/bin/env bash
# Installs the ZooKeeper clients that test/clients runs, and the tools by which test/nemesis makes
# networks and disks: Debian packages, and under .cache/clients of the checkout a Python venv with
# kazoo, the jars of Curator and a Node client. What is there already is left alone, so a second run takes no time. Works as root, and with sudo for the packages otherwise.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache/clients
mkdir -p "$cache"

# One at a time: several test runs may share a checkout.
exec 9>"$cache/lock"
flock 9

packages=()
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
{ command -v java && command -v javac; } >/dev/null || packages+=(default-jdk-headless)
command -v mvn >/dev/null || packages+=(maven)
[ -e /usr/share/java/zookeeper.jar ] && [ -x /usr/share/zookeeper/bin/zkCli.sh ] || packages+=(zookeeper)
[ -e /usr/share/java/slf4j-simple.jar ] || packages+=(libslf4j-java)
[ -e /usr/include/zookeeper/zookeeper.h ] || packages+=(libzookeeper-mt-dev)
{ command -v ip && command -v tc; } >/dev/null || packages+=(iproute2)
command -v nft >/dev/null || packages+=(nftables)
command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
{ command -v node && command -v npm; } >/dev/null || packages+=(nodejs npm)
if ! command -v python3 >/dev/null || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
	packages+=(python3 python3-venv)
fi

if [ ${#packages[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || {
		echo "install.sh: no apt-get here; install by hand what Debian calls: ${packages[*]}" >&2
		exit 1
	}
	root=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			echo "install.sh: needs root or sudo to install: ${packages[*]}" >&2
			exit 1
		}
		root=(sudo)
	fi
	echo "install.sh: installing ${packages[*]}"
	"${root[@]}" apt-get update -qq
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "${packages[@]}" >/dev/null
fi

# done_with NAME FILE: NAME was made from this very FILE. A half-made one has no stamp and is made anew.
done_with() { [ "$(cat "$cache/$1/.made-from" 2>/dev/null)" = "$(sha256sum <"$2")" ]; }
stamp() { sha256sum <"$2" >"$cache/$1/.made-from"; }

# The venv remembers the Python that made it; when that one is gone, it is made anew.
if ! done_with kazoo "$here/requirements.txt" || ! "$cache/kazoo/bin/python" -c 'import kazoo' 2>/dev/null; then
	echo "install.sh: kazoo"
	rm -rf "$cache/kazoo"
	python3 -m venv "$cache/kazoo"
	"$cache/kazoo/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
	stamp kazoo "$here/requirements.txt"
fi

if ! done_with curator "$here/curator/pom.xml"; then
	echo "install.sh: Curator's jars"
	rm -rf "$cache/curator"
	mvn -B -q -f "$here/curator/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$cache/curator"
	stamp curator "$here/curator/pom.xml"
fi

if ! done_with node "$here/node/package-lock.json"; then
	echo "install.sh: node-zookeeper-client"
	rm -rf "$cache/node"
	mkdir "$cache/node"
	cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
	(cd "$cache/node" && npm ci --silent --ignore-scripts --no-audit --no-fund)
	stamp node "$here/node/package-lock.json"
fi
