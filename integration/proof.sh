#!/usr/bin/env bash
# proof.sh [FLAGS OF THE PROOF] builds the toolkit and looks by force for what it leaves behind or loses: -part NAME for a part,
# -points N for at most so many points of each case, 0 for all; -help lists the flags. Needs root and Go; what else is missing it
# installs. With -second before the flags it looks on the second kernel (vmtest.sh), at all that a kernel has a part in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_go
second=()
if [ "${1-}" = -second ]; then
	# An emulated processor that waits for a real one is dead to its clock.
	second=(env "VMTEST_TIMEOUT=${VMTEST_TIMEOUT:-86400}" VMTEST_MODULES=br_netfilter nice -n -10 integration/vmtest.sh)
	shift
	[[ " $*" == *" -part"* || " $*" == *" --part"* ]] || set -- -part killed,failing,flooded,fought,wire "$@"
fi
if [ "${1-} ${2-}" != "-part fuzzed" ]; then
	need_root
	need ip nft iptables dnsmasq
	./build_linux.sh
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -buildvcs=false -o "$scratch/proof" ./integration/proof
"${second[@]}" "$scratch/proof" "$@"
