#!/usr/bin/env bash
# Runs test binaries on the second kernel, one after the other: second-kernel.sh FOLDER. It is the program that vmtest.sh
# runs in its VM. FOLDER/list has a line for each: the binary, the folder it runs in, what it runs, and what not.
set -uo pipefail
status=0
echo "kernel $(uname -r)"
while read -r binary folder tests not; do
	echo "package $folder"
	cd "$folder" && "$binary" -test.v -test.timeout 40m -test.parallel 4 -test.run "$tests" -test.skip "$not" 2>&1 || status=1
done <"$1/list"
exit "$status"
