#!/usr/bin/env bash
# Runs the plugins of every network configuration in a folder for one container, as a container runtime does.
set -euo pipefail

usage() {
	cat <<'TEXT'
usage: exec-plugins.sh add|check|del CONTAINER-ID NETNS-PATH

Goes through the *.conf, *.json and *.conflist files of NETCONFPATH in the order of their names. The first is the
container's eth0, the second its eth1, and so on; del goes the other way.

  NETCONFPATH  folder of the configurations (default /etc/cni/net.d)
  CNI_PATH     folders of the plugins, separated by colons (default /opt/cni/bin)
  CNI_ARGS     given to the plugins as it is
  CAP_ARGS     a JSON object: each of its keys becomes part of runtimeConfig where "capabilities" asks for it
  RESULTSPATH  folder in which add remembers what del needs (default /run/cni/scripts)
  DEBUG        1: trace, and print every result
TEXT
}

die() {
	echo "exec-plugins.sh: $*" >&2
	exit 1
}

if [[ ${1-} == -h || ${1-} == --help ]]; then
	usage
	exit 0
fi
if (($# != 3)); then
	usage >&2
	exit 2
fi
case ${1,,} in
add | check | del) verb=${1^^} ;;
*) die "unknown verb \"$1\": add, check or del" ;;
esac
id=$2
[[ $id =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] || die "container id \"$id\" is not made of letters, digits, \".\", \"_\" and \"-\""
command -v jq >/dev/null || die "jq is not in PATH"

confdir=${NETCONFPATH:-/etc/cni/net.d}
records=${RESULTSPATH:-/run/cni/scripts}/$id
debug=${DEBUG:-0}
capargs=${CAP_ARGS:-"{}"}
jq -e 'type == "object"' >/dev/null 2>&1 <<<"$capargs" || die "CAP_ARGS is not a JSON object: $capargs"
export CNI_COMMAND=$verb CNI_CONTAINERID=$id CNI_NETNS=$3 CNI_PATH=${CNI_PATH:-/opt/cni/bin}
((debug == 0)) || set -x

# read_network FILE prints the file as {name, cniVersion, plugins}, whichever of its two forms it has.
read_network() {
	jq -e -c '
		def numbers: split(".") | map(tonumber) + [0, 0] | .[:3];
		def version: ([.cniVersion] + (.cniVersions // []) | map(select(. != null and . != ""))) as $all
			| ($all | map(select(numbers <= [1, 1, 0])) | max_by(numbers)) // $all[0] // "0.1.0";
		version as $version
		| if type != "object" then error("not a JSON object")
		elif has("plugins") then
			if (.plugins | length) == 0 then error("the list has no plugins")
			elif (.name // "") == "" then error("the list has no name")
			else {name, cniVersion: $version, plugins} end
		elif (.type // "") == "" then error("neither \"plugins\" nor \"type\" is there")
		else {name, cniVersion: $version, plugins: [.]} end' "$1"
}

# find_plugin TYPE prints the path of a plugin.
find_plugin() {
	local IFS=: folder
	for folder in $CNI_PATH; do
		if [[ -n $1 && $1 != */* && -f $folder/$1 ]]; then
			echo "$folder/$1"
			return
		fi
	done
	echo "exec-plugins.sh: no plugin \"$1\" in $CNI_PATH" >&2
	return 1
}

# run NETWORK INDEX PREVRESULT runs one plugin of a network and prints its result; an error's sentence goes to stderr.
run() {
	local network=$1 index=$2 prev=$3 type request path out status=0
	type=$(jq -r --argjson i "$index" '.plugins[$i].type // ""' <<<"$network")
	path=$(find_plugin "$type") || return 1
	request=$(jq -c --argjson i "$index" --argjson prev "$prev" --argjson args "$capargs" '
		. as $net | $net.plugins[$i] | .capabilities as $wanted
		| .cniVersion = $net.cniVersion
		| if $net.name then .name = $net.name else . end
		| ($args | with_entries(select($wanted[.key] == true))) as $runtime
		| if $runtime == {} then . else .runtimeConfig = $runtime end
		| if $prev == null then . else .prevResult = $prev end' <<<"$network")
	out=$("$path" <<<"$request") || status=$?
	if ((status != 0)); then
		local text
		text=$(jq -r '.msg + (if (.details // "") == "" then "" else "; " + .details end) + " (code \(.code))"' <<<"$out" 2>/dev/null) &&
			[[ -n $text && $text != null ]] || text="exit $status: ${out:-no output}"
		echo "exec-plugins.sh: $type $verb $CNI_IFNAME: $text" >&2
		return 1
	fi
	if [[ $verb == ADD ]]; then
		jq -c . <<<"$out" 2>/dev/null | grep . || {
			echo "exec-plugins.sh: $type ADD $CNI_IFNAME: the result is not JSON: ${out:-no output}" >&2
			return 1
		}
	fi
}

# wants_result NETWORK: the specification gives DEL and CHECK the result of ADD since 0.4.0.
wants_result() {
	jq -e '.cniVersion | split(".") | map(tonumber) >= [0, 4, 0]' >/dev/null <<<"$1"
}

# add_network RECORD NETWORK runs the whole chain. What del will need is on disk before anything is made.
add_network() {
	local record=$1 network=$2 result=null index count
	count=$(jq '.plugins | length' <<<"$network")
	jq -n -c --arg ifname "$CNI_IFNAME" --argjson network "$network" '{$ifname, $network, result: null}' >"$record"
	for ((index = 0; index < count; index++)); do
		result=$(run "$network" "$index" "$result") || return 1
	done
	jq -n -c --arg ifname "$CNI_IFNAME" --argjson network "$network" --argjson result "$result" \
		'{$ifname, $network, $result}' >"$record.new"
	mv -fT "$record.new" "$record"
	((debug == 0)) || jq . <<<"$result"
}

# check_network and del_network NETWORK RESULT. A plugin that cannot delete does not keep the others from it.
check_network() {
	local network=$1 result=$2 index count
	count=$(jq '.plugins | length' <<<"$network")
	for ((index = 0; index < count; index++)); do
		run "$network" "$index" "$result" || return 1
	done
}

del_network() {
	local network=$1 result=$2 index count failed=0
	count=$(jq '.plugins | length' <<<"$network")
	wants_result "$network" || result=null
	for ((index = count - 1; index >= 0; index--)); do
		run "$network" "$index" "$result" || failed=1
	done
	return $failed
}

# Names are sorted by bytes, as runtimes do it.
shopt -s nullglob
mapfile -t files < <(cd -- "$confdir" &>/dev/null && printf '%s\n' *.conf *.json *.conflist | LC_ALL=C sort)
[[ ${files[*]} ]] || files=()

case $verb in
ADD)
	((${#files[@]})) || die "$confdir holds no *.conf, *.json or *.conflist"
	[[ ! -e $records ]] || die "container \"$id\" is attached already: del it first ($records)"
	# Every file is read and every plugin looked for before the first one runs, so that a mistake changes nothing.
	networks=()
	for file in "${files[@]}"; do
		network=$(read_network "$confdir/$file") || die "$confdir/$file cannot be used as a network configuration"
		networks+=("$network")
		types=$(jq -r '.plugins[].type // ""' <<<"$network")
		while read -r type; do
			find_plugin "$type" >/dev/null || die "$confdir/$file needs it"
		done <<<"$types"
	done
	mkdir -p "$records"
	for index in "${!networks[@]}"; do
		export CNI_IFNAME=eth$index
		add_network "$records/$(printf %04d "$index")" "${networks[index]}" ||
			die "${files[index]}: add stopped; \"exec-plugins.sh del $id $CNI_NETNS\" cleans up"
	done
	;;
CHECK)
	[[ -d $records ]] || die "container \"$id\" was not added by this script"
	failed=0
	for record in "$records"/[0-9][0-9][0-9][0-9]; do
		CNI_IFNAME=$(jq -r .ifname "$record")
		export CNI_IFNAME
		wants_result "$(jq -c .network "$record")" || {
			echo "exec-plugins.sh: $CNI_IFNAME: CHECK exists from cniVersion 0.4.0 on" >&2
			failed=1
			continue
		}
		check_network "$(jq -c .network "$record")" "$(jq -c .result "$record")" || failed=1
	done
	exit $failed
	;;
DEL)
	failed=0
	if [[ -d $records ]]; then
		found=("$records"/[0-9][0-9][0-9][0-9])
		for ((index = ${#found[@]} - 1; index >= 0; index--)); do
			record=${found[index]}
			CNI_IFNAME=$(jq -r .ifname "$record")
			export CNI_IFNAME
			if del_network "$(jq -c .network "$record")" "$(jq -c .result "$record")"; then
				rm -f "$record" "$record.new"
			else
				failed=1
			fi
		done
		((failed)) || rmdir "$records"
	else
		# Nothing is remembered, as after a restart of the machine: the folder is the best that is known.
		for ((index = ${#files[@]} - 1; index >= 0; index--)); do
			export CNI_IFNAME=eth$index
			network=$(read_network "$confdir/${files[index]}") && del_network "$network" null || failed=1
		done
	fi
	exit $failed
	;;
esac
