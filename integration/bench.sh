#!/usr/bin/env bash
# bench.sh [FLAGS OF THE BENCHMARK] builds the toolkit, measures it beside upstream's plugins, and writes a table and a
# plot to integration/bench/results (or -out DIR). -help lists the flags. Needs root and Go; what else is missing it
# installs; without strace, -counts=false leaves the counts out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_root
need_go

need ip
[[ " $* " == *" -counts=false "* || " $* " == *" --counts=false "* ]] || need strace

./build_linux.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -buildvcs=false -o "$scratch/bench" ./integration/bench
"$scratch/bench" -out integration/bench/results "$@"
