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
iperf3 iperf3
git git
dnsmasq dnsmasq-base
kea-dhcp4 kea-dhcp4-server
kea-dhcp6 kea-dhcp6-server
firewalld firewalld
dbus-send dbus
TOOLS
if ((${#missing[@]})); then
	command -v apt-get >/dev/null || die "the tests need these, by their Debian names: ${missing[*]}"
	echo "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

failed=()
vms=()

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

# Of the others the one whose words have 32 bits is the one where code breaks.
echo "GOARCH=arm go build ./plugins/..."
GOARCH=arm CGO_ENABLED=0 go build -o /dev/null ./plugins/... || failed+=("go build for arm")

log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# What the tests of single packages execute is what was just built.
export CATENA_BIN=$PWD/bin

# -count=1 since the results hang on the kernel and on bin/, of which go's cache knows nothing.
echo "go test ./..."
go test -count=1 -timeout 30m -json "$@" ./... 2>"$log/errors" | tee "$log/json" | jq -rj 'select(.Action == "output" or .Action == "build-output") | .Output' |
	tee "$log/first" || failed+=("go test")
cat "$log/errors"

# Every package whose tests need a kernel runs on a second, fuller one too.
packages=$(go list -f '{{range .TestImports}}{{if eq . "github.com/catena-cni/catena/internal/kerneltest"}}{{$.ImportPath}}
{{end}}{{end}}{{range .XTestImports}}{{if eq . "github.com/catena-cni/catena/internal/kerneltest"}}{{$.ImportPath}}
{{end}}{{end}}' ./internal/... ./plugins/... | sed '/^$/d' | sort -u)
for package in $packages github.com/catena-cni/catena/integration; do
	name=${package#github.com/catena-cni/catena/}
	[[ $name != internal/house && $name != internal/lease && $name != plugins/ipam/host-local && $name != plugins/ipam/dhcp ]] || continue # which are about files and servers, not about kernels
	CGO_ENABLED=0 go test -c -o "$log/bin/${name//\//-}.test" "$package"
	tests=.
	[[ $name != integration ]] || tests='^(TestExamples|TestHostPort|TestPlugged|TestFlannel|TestHandedOver|TestMachine|TestLatencyUnderLoad|TestExemptSubnets|TestUpgradeKinds|TestSourceRouted|TestVRF)' # the rest does not hang on the kernel
	not=BadInput # does not hang on the kernel either, where nothing of it was left to the second one
	[[ $(jq -r --arg p "$package" 'select(.Package == $p and (.Output // "" | contains("left to the second kernel"))) | .Test' "$log/json") != *BadInput* ]] || not=
	echo "$log/bin/${name//\//-}.test $PWD/$name $tests $not" >>"$log/list"
done
# A VM has one processor, so there are two of them.
awk -v n=0 '{print >(FILENAME "." (NR % 2))}' "$log/list"
for half in 0 1; do
	mkdir "$log/$half"
	mv "$log/list.$half" "$log/$half/list"
done
integration/vmtest.sh --prepare || die "the second kernel could not be had"
echo "the kernel's part of it on a second kernel, which takes some minutes"
for half in 0 1; do
	VMTEST_TIMEOUT=3600 integration/vmtest.sh integration/second-kernel.sh "$log/$half" >"$log/second.$half" 2>&1 &
	vms+=($!)
done

for vm in "${vms[@]}"; do
	wait "$vm" || failed+=("go test on the second kernel")
done
cat "$log"/second.* >"$log/second"
grep -v '^=== ' "$log/second" | grep -v '^ *--- PASS' || true

# What is left to the second kernel must have passed there; nothing else may be left out.
jq -r 'select(.Action == "output" and (.Output | contains("left to the second kernel"))) | .Package + " " + .Test' "$log/json" | sort -u >"$log/left"
awk -v root="$PWD/" '/^package /{at=$2; sub(root, "", at)} /^ *--- PASS: /{print "github.com/catena-cni/catena/" at, $3}' "$log/second" | sort -u >"$log/passed"
while read -r package test; do
	failed+=("skipped: $package $test")
done < <(jq -r 'select(.Action == "skip" and .Test != null) | .Package + " " + .Test' "$log/json" | sort -u | comm -23 - "$log/left")
while read -r package test; do
	failed+=("left to the second kernel, and not passed there: $package $test")
done < <(comm -23 "$log/left" "$log/passed")
while read -r name; do
	failed+=("$name")
done < <(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p; s/^FAIL[[:space:]]\([^ ]*\).*\[.*failed\]$/\1/p' "$log/first" "$log/second")

# What of the kernel the tests asked for by name: a feature, a package, a test, and how that ended here.
jq -rs '(map(select(.Action == "pass" or .Action == "fail")) | map({key: (.Package + " " + (.Test // "")), value: .Action}) | from_entries) as $ended
	| .[] | select(.Action == "output" and .Test != null) | (.Output | capture("(?<how>left to the second kernel, for|needs of the kernel:) (?<feature>.*)\n")) as $f
	| [$f.feature, .Package + " " + .Test, (if $f.how == "needs of the kernel:" then $ended[.Package + " " + .Test] else "left" end)] | @tsv' "$log/json" | sort -u >"$log/features"

# How each package fared on each kernel.
verdict() { # FILE PACKAGE
	awk -v want="$2" '
		/^package /{at=$2} /^=== RUN/{ran=1}
		/^(ok|FAIL|---|\?) .*github.com\/catena-cni\/catena\// {p=$2; sub("github.com/catena-cni/catena/", "", p); if (p == want) print ($1 == "ok" ? "passed" : "FAILED")}
		at != "" && substr(at, length(at)-length(want)+1) == want && /^(PASS|FAIL)$/ {print ($1 == "PASS" ? "passed" : "FAILED"); at=""}' "$1" | head -n 1
}
echo
printf '%-30s %-28s %s\n' "" "kernel $(uname -r)" "$(grep -m 1 '^kernel ' "$log/second" || echo 'no second kernel')"
for package in $(cut -d' ' -f2 "$log/list" | sed "s,^$PWD/,," | sort); do
	left=$(grep -c "^github.com/catena-cni/catena/$package " "$log/left" || true)
	printf '%-30s %-28s %s\n' "$package" "$(verdict "$log/first" "$package")$([[ ${left:-0} == 0 ]] || echo ", $left left")" "$(verdict "$log/second" "$package")"
done
echo
cut -f1 "$log/features" | sort -u | while read -r feature; do
	here=$(awk -F'\t' -v f="$feature" '$1 == f {n[$3]++} END {print n["fail"] ? "FAILED" : n["pass"] ? "passed" : "has it not"}' "$log/features")
	there=$(awk -F'\t' -v f="$feature" 'NR == FNR {passed[$1]; next} $1 == f {n++; ok += $2 in passed} END {print ok ? "passed, " ok " tests" : "-"}' "$log/passed" "$log/features")
	printf '%-30s %-28s %s\n' "$feature" "$here" "$there"
done

echo
echo "go vet, gofmt, build_linux.sh, and go test over $(go list ./... | wc -l) packages and on two kernels:" \
	"$(cat "$log/first" "$log/second" | grep -c '^ *--- PASS: ' || true) tests passed," \
	"$(cat "$log/first" "$log/second" | grep -c '^ *--- FAIL: ' || true) failed"
if ((${#failed[@]})); then
	printf 'not as it should be: %s\n' "${failed[@]}"
	exit 1
fi
echo "all is well"
