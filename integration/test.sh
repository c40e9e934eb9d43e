#!/usr/bin/env bash
# Runs every test there is: sudo ./integration/test.sh [-all] [PACKAGES AND ARGUMENTS FOR GO TEST...]
# A test that is skipped counts as failed, since a skip hides what nobody looked at.
#
# test.sh quick [...] needs no root: it runs what hangs on no server, on this kernel, and leaves out, with go test -short, what
# kills at every step, races, floods or repeats (kerneltest.NeedsTime). It says how much it has left out.
#
# A second, fuller kernel runs what the first one cannot and what differs by the kernel's version; with -all, all that hangs on
# the kernel; with arguments for go test, what the first one left of that part.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. integration/lib.sh
need_go

module=github.com/catena-cni/catena
all='' quick='' packages=() arguments=()
for argument; do
	case $argument in
	quick) quick=1 ;;
	-all | --all) all=1 ;;
	./*) packages+=("$argument") ;;
	*) arguments+=("$argument") ;;
	esac
done
whole=
if [[ $quick ]]; then
	((${#packages[@]})) || packages=(./internal/... ./plugins/...)
else
	need_root
	((${#packages[@]} + ${#arguments[@]})) || whole=1
	((${#packages[@]})) || packages=(./...)
fi

# What differs by the kernel's version, so that both run it: the words of nftables, netlink and tc, how links are born and
# end, an attachment from end to end, and the exchange of upstream's plugins for these. A package, and of its tests those named.
versions=(
	'internal/firewall/nft'
	'internal/fact/link TestNewBridge TestExistingBridge TestBridgeTap TestBridgeTapVLAN TestTapOpeners'
	'internal/firewall/nft/wire'
	'internal/firewall/conntrack'
	'internal/fact/device'
	'internal/kernel TestOpen TestSides TestRefused TestHandles TestAwait'
	'internal/fact/sysctl TestSides TestForwardingKeepsListening'
	'plugins/main/bridge TestLaws/add_check_del_del'
	'plugins/main/macvlan TestLaws/add_check_del_del'
	'plugins/main/ptp TestLaws/add_check_del_del'
	'plugins/main/tap TestLaws/add_check_del_del'
	'plugins/meta/bandwidth TestLaws/add_check_del_del'
	'plugins/meta/portmap TestLaws/add_check_del_del'
	'plugins/meta/firewall TestLaws/isolated/add_check_del_del TestLaws/iptables/add_check_del_del'
	'plugins/meta/tuning TestLaws/add_check_del_del'
	'integration TestExamples/10-kubernetes-node.conflist TestExamples/10-bandwidth.conflist TestExamples/10-iptables.conflist TestExamples/10-firewall.conflist'
	'integration TestUpgradeKinds/macvlan/DEL TestUpgradeKinds/bridge_and_sbr/DEL TestUpgradeKinds/bridge_and_bandwidth/DEL'
	'integration TestUpgrade/ptp_and_portmap,_nftables_to_iptables/DEL'
)

log=$(mktemp -d)
mkdir "$log/bin" "$log/taken"
touch "$log/list" "$log/second"
failed=() vms=()

# However this ends, its VMs end too.
leave() {
	((${#vms[@]} == 0)) || kill "${vms[@]}" 2>/dev/null || true
	[[ ${KEEP_LOG:-} ]] || rm -rf "$log" # in /tmp
}
trap leave EXIT

# What the tests of single packages execute is what was just built; and nothing needs a C compiler.
export CATENA_BIN=$PWD/bin CGO_ENABLED=0

formatted() {
	local files
	files=$(gofmt -l .)
	[[ -z $files ]] || {
		echo "$files"
		return 1
	}
}

# -count=1 since the results hang on the kernel and on bin/, of which go's cache knows nothing.
first_kernel() {
	local status=0
	go test -count=1 ${quick:+-short} -timeout 60m -vet=off -p 3 -parallel 8 -json "${arguments[@]}" "${packages[@]}" 2>"$log/errors" | tee "$log/json" |
		jq -rj 'select(.Action == "output" or .Action == "build-output") | .Output' | tee "$log/first" | { grep -v '^=== \|^ *--- PASS\|^PASS$' || true; } || status=$?
	cat "$log/errors"
	return "$status"
}

# on_second PACKAGE TESTS [NOT] puts tests on the second kernel's list.
on_second() {
	echo "$log/bin/${1##*/}.test $PWD/$1 $2 ${3:-}" >>"$log/list"
}

# list_all puts every test that hangs on the kernel on the second one's list.
list_all() {
	local package not
	go list -f '{{range .TestImports}}{{if eq . "'$module'/internal/kerneltest"}}{{$.ImportPath}}
{{end}}{{end}}{{range .XTestImports}}{{if eq . "'$module'/internal/kerneltest"}}{{$.ImportPath}}
{{end}}{{end}}' ./internal/... ./plugins/... | sed '/^$/d' | sort -u | while read -r package; do
		package=${package#"$module/"}
		case $package in internal/house | internal/ipam/hostlocal | internal/ipam/lease | plugins/ipam/host-local | plugins/ipam/dhcp) continue ;; esac # about files and servers
		not=BadInput # does not hang on the kernel either, where nothing of it was left to the second one
		! grep -q "^$module/$package .*BadInput" "$log/left" || not=
		on_second "$package" . $not
	done
	on_second integration '^(TestExamples|TestHostPort|TestPlugged|TestFlannel|TestHandedOver|TestMachine|TestLatencyUnderLoad|TestExemptSubnets|TestUpgrade|TestSourceRouted|TestVRF)'
	return 0
}

# every_version lists the tests that differ by the kernel's version, as left has its own; a package without names is all of it.
every_version() {
	local package names name
	for package in "${versions[@]}"; do
		read -r package names <<<"$package"
		for name in ${names:-.}; do echo "$module/$package $name"; done
	done
}

# list_left puts what the first kernel has left on the list, package by package, with what differs by version; those of
# integration, which take longest, test by test. The longest come first.
list_left() {
	{
		cat "$log/left"
		[[ -z $whole ]] || every_version
	} | sed "s,^$module/,," | LC_ALL=C awk '$2 == "." {print; next} {
		name = $2
		gsub(/[][().*+?{}|^$\\]/, "\\\\&", name)
		gsub("/", "$/^", name)
		print $1, "^" name "$"
	}' | awk '{
			key = $1
			if (key == "integration") key = key " " substr($2, 1, index($2 "/", "/"))
			tests[key] = tests[key] (key in tests && tests[key] != "" ? "|" : "") $2
		} END {
			for (key in tests) {
				split(key, package, " ")
				print length(tests[key]), package[1], tests[key]
			}
		}' | sort -rn | while read -r _ package tests; do
		on_second "$package" "$tests"
	done
}

compile_second() {
	cut -d' ' -f2 "$log/list" | sort -u | sed "s,^$PWD/,./," | xargs go test -c -o "$log/bin/"
}

# A VM has one processor, so there are as many as there are here. They come before whatever else the machine does: an emulated
# processor that waits for a real one is not slow but dead to its clock, and eight busy neighbours left it 8 % of one.
second_kernel() {
	local vm status=0 n
	n=$(nproc)
	for vm in $(seq $((n < 4 ? n : 4))); do
		VMTEST_TIMEOUT=$((all ? 14400 : 3600)) VMTEST_RW=$log nice -n -10 integration/vmtest.sh integration/second-kernel.sh "$log" >"$log/second.$vm" 2>&1 &
		vms+=($!)
	done
	for vm in "${vms[@]}"; do
		wait "$vm" || status=$?
	done
	vms=()
	cat "$log"/second.* >"$log/second"
	grep -v '^=== \|^took ' "$log/second" | grep -v '^ *--- PASS' || true
	return "$status"
}

tools=(nft ip iptables strace jq conntrack ping ethtool)
servers=(nc curl iperf3 git dnsmasq kea-dhcp4 kea-dhcp6 firewalld dbus-send sysctl modprobe podman crun containerd runc /usr/lib/cni/bridge)
if [[ $quick ]]; then
	absent=$(missing "${tools[@]}" | sort -u | xargs)
	[[ ! $absent ]] || echo "tests that need one of these are left out: sudo apt-get install --no-install-recommends $absent"
	[[ " $absent " != *" jq "* ]] || die "without jq it cannot count the tests"
else
	stage "needs" need "${tools[@]}" "${servers[@]}"
fi
stage "go vet" go vet "${packages[@]}" || failed+=("go vet")
stage "gofmt -l ." formatted || failed+=("gofmt")
[[ -z $whole ]] || stage "staticcheck ./..." go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./... || failed+=("staticcheck")
stage "./build_linux.sh" ./build_linux.sh || failed+=("build_linux.sh")
# Of the other architectures the one whose words have 32 bits is the one where code breaks.
[[ $quick ]] || stage "GOARCH=arm go build ./plugins/..." env GOARCH=arm go build -o /dev/null ./plugins/... || failed+=("go build for arm")
stage "go test ${arguments[*]:+${arguments[*]} }${packages[*]}" first_kernel || failed+=("go test")
[[ -z $whole ]] || stage "the demo where nothing is but Debian's base and Go" integration/minimal.sh || failed+=("the demo in the minimal root")

jq -r 'select(.Action == "output" and (.Output | contains("left to the second kernel"))) | .Package + " " + .Test' "$log/json" | sort -u >"$log/left"
# A plain user's tests say what root runs; under root no test may say so.
touch "$log/root"
[[ ! $quick ]] || jq -r 'select(.Action == "output" and (.Output | contains("sudo ./integration/test.sh"))) | .Package + " " + .Test' "$log/json" | sort -u >"$log/root"
if [[ $quick ]]; then :; elif [[ $all ]]; then list_all; else list_left; fi
if [[ -s $log/list ]]; then
	stage "the second kernel's own needs" integration/vmtest.sh --prepare || die "the second kernel could not be had"
	stage "go test -c for the second kernel" compile_second || failed+=("go test -c")
	stage "the second kernel" second_kernel || failed+=("go test on the second kernel")
fi

# What is left to the second kernel must have passed there; nothing else may be left out.
awk -v root="$PWD/" -v module="$module/" '/^package /{at=$2; sub(root, "", at)} /^ *--- (PASS|SKIP): /{print $2, module at, $3}' "$log/second" | sort -u >"$log/ended"
sed -n 's/^PASS: //p' "$log/ended" >"$log/passed"
while read -r package test; do
	failed+=("skipped: $package $test")
done < <({
	jq -r 'select(.Action == "skip" and .Test != null) | .Package + " " + .Test' "$log/json" | sort -u | comm -23 - <(sort -u "$log/left" "$log/root")
	sed -n 's/^SKIP: \(.*\)/\1 (on the second kernel)/p' "$log/ended"
})
[[ $quick ]] || while read -r package test; do
	failed+=("left to the second kernel, and not passed there: $package $test")
done < <(comm -23 "$log/left" "$log/passed")
[[ -z $whole ]] || while read -r package test; do
	failed+=("differs by the kernel's version, and not passed on the second: $package $test")
done < <(every_version | sed '/ \.$/d' | sort -u | comm -23 - "$log/passed")
grep -q '^ *--- [PFS]' "$log/first" || failed+=("no test was run")
while read -r name; do
	failed+=("$name")
done < <(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p; s/^FAIL[[:space:]]\([^ ]*\).*\[.*failed\]$/\1/p; s/^testing: warning: no tests to run/a package of the second kernel has no such tests/p' "$log/second" <(grep -v '^testing: warning' "$log/first"))

# What of the kernel the tests asked for by name: a feature, a package, a test, and how that ended here.
jq -rs '(map(select(.Action == "pass" or .Action == "fail")) | map({key: (.Package + " " + (.Test // "")), value: .Action}) | from_entries) as $ended
	| .[] | select(.Action == "output" and .Test != null) | (.Output | capture("(?<how>left to the second kernel, for|needs of the kernel:) (?<feature>.*)\n")) as $f
	| [$f.feature, .Package + " " + .Test, (if $f.how == "needs of the kernel:" then $ended[.Package + " " + .Test] else "left" end)] | @tsv' "$log/json" | sort -u >"$log/features"

# How a package fared on either kernel.
on_first() { # PACKAGE
	awk -v want="$module/$1" '($1 == "ok" || $1 == "FAIL") && $2 == want {print $1 == "ok" ? "passed" : "FAILED"}' "$log/first"
}
there() { # PACKAGE
	awk -v at="$PWD/$1" '/^package / {on = $2 == at; begun += on} on && /^ *--- PASS: / {n++} on && /^FAIL/ {bad = 1} $1 == "took" && $2 == at {ended++; s += $3}
		END {if (begun) printf "%s, %d tests in %d s\n", bad || begun != ended ? "FAILED" : "passed", n, s}' "$log/second"
}
echo
printf '%-30s %-28s %s\n' "" "kernel $(uname -r)" "$(grep -m 1 '^kernel ' "$log/second" || echo 'no second kernel')"
cut -d' ' -f2 "$log/list" | sed "s,^$PWD/,," | sort -u | while read -r package; do
	left=$(grep -c "^$module/$package " "$log/left" || true)
	printf '%-30s %-28s %s\n' "$package" "$(on_first "$package")$([[ $left == 0 ]] || echo ", $left left")" "$(there "$package")"
done
echo
cut -f1 "$log/features" | sort -u | while read -r feature; do
	here=$(awk -F'\t' -v f="$feature" '$1 == f {n[$3]++} END {print n["fail"] ? "FAILED" : n["pass"] ? "passed" : "has it not"}' "$log/features")
	there=$(awk -F'\t' -v f="$feature" 'NR == FNR {passed[$1]; next} $1 == f {n++; ok += $2 in passed} END {print ok ? "passed, " ok " tests" : "-"}' "$log/passed" "$log/features")
	printf '%-30s %-28s %s\n' "$feature" "$here" "$there"
done

echo
printf '%s\n' "${stages[@]}"
took "in all" "$SECONDS" >/dev/null
echo "${stages[-1]}"
echo
echo "$(cat "$log/first" "$log/second" | grep -c '^ *--- PASS: ' || true) tests passed," \
	"$(cat "$log/first" "$log/second" | grep -c '^ *--- FAIL: ' || true) failed"
[[ ! $quick ]] || echo "left out: $(sort -u "$log/left" "$log/root" | wc -l), and integration/: sudo ./integration/test.sh"
if ((${#failed[@]})); then
	printf 'not as it should be: %s\n' "${failed[@]}"
	exit 1
fi
echo "all is well"
