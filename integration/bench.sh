#!/usr/bin/env bash
# bench.sh [FLAGS OF THE BENCHMARK] builds the toolkit, measures it beside upstream's plugins, and writes a table and a
# plot to integration/bench/results (or -out DIR). -help lists the flags. Needs root and Go; installs strace where it is
# missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_root
need_go

if ! command -v strace >/dev/null && [[ " $* " != *" -counts=false "* && " $* " != *" --counts=false "* ]]; then
	command -v apt-get >/dev/null || die "the counts need strace: install it, or leave them out with -counts=false"
	echo "installing strace"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends strace
fi

./build_linux.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# What does nothing is built as the plugins are.
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$scratch/empty" ./integration/bench/empty
go build -buildvcs=false -o "$scratch/bench" ./integration/bench
"$scratch/bench" -empty "$scratch/empty" -out integration/bench/results "$@"
