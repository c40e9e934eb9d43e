#!/usr/bin/env bash
# Runs every test there is: sudo ./integration/test.sh [ARGUMENTS FOR GO TEST...]
# A test that is skipped counts as failed, since a skip hides what nobody looked at.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_root
need_go

missing=()
while read -r tool package; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$package")
done <<'TOOLS'
nft nftables
ip iproute2
iptables iptables
strace strace
jq jq
conntrack conntrack
nc netcat-openbsd
curl curl
ping iputils-ping
ethtool ethtool
git git
TOOLS
if ((${#missing[@]})); then
	command -v apt-get >/dev/null || die "the tests need these, by their Debian names: ${missing[*]}"
	echo "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()

echo "go vet ./..."
go vet ./... || failed+=("go vet")

echo "gofmt -l ."
unformatted=$(gofmt -l .)
[[ -z $unformatted ]] || {
	echo "$unformatted"
	failed+=("gofmt: ${unformatted//$'\n'/, }")
}

echo "./build_linux.sh"
./build_linux.sh || failed+=("build_linux.sh")

# -count=1 since the results hang on the kernel and on bin/, of which go's cache knows nothing.
echo "go test ./..."
go test -count=1 -timeout 20m -v "$@" ./... 2>&1 | tee "$log" || failed+=("go test")

while read -r name; do
	failed+=("skipped: $name")
done < <(sed -n 's/^ *--- SKIP: \([^ ]*\).*/\1/p' "$log")
while read -r name; do
	failed+=("$name")
done < <(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p; s/^FAIL[[:space:]]\([^ ]*\).*\[.*failed\]$/\1/p' "$log")

echo
echo "go vet, gofmt, build_linux.sh, and go test over $(go list ./... | wc -l) packages:" \
	"$(grep -c '^ *--- PASS: ' "$log" || true) tests passed, $(grep -c '^ *--- FAIL: ' "$log" || true) failed, $(grep -c '^ *--- SKIP: ' "$log" || true) skipped"
if ((${#failed[@]})); then
	printf 'not as it should be: %s\n' "${failed[@]}"
	exit 1
fi
echo "all is well"
