#!/usr/bin/env bash
# Runs test binaries on the second kernel: second-kernel.sh FOLDER. It is the program that vmtest.sh runs in its VMs. Each of
# them takes the next line of FOLDER/list that no other has taken: the binary, the folder it runs in, what it runs, and what
# not.
set -uo pipefail
status=0
echo "kernel $(uname -r)"
n=0
while read -r binary folder tests not; do
	mkdir "$1/taken/$((++n))" 2>/dev/null || continue
	echo "package $folder"
	began=$SECONDS
	cd "$folder" && "$binary" -test.v -test.timeout 60m -test.parallel 4 -test.run "$tests" -test.skip "$not" </dev/null 2>&1 || status=1
	echo "took $folder $((SECONDS - began))"
done <"$1/list"
exit "$status"
