#!/usr/bin/env bash
# Runs pjdfstest, built elsewhere, on a fresh mount, and compares what fails with the committed list of reasons.
#
#   pjdfstest.sh DIR [--fuse-transport uring|dev] [TESTS...]
#
# DIR is a checkout of https://github.com/pjd/pjdfstest with the program built (autoreconf -ifs && ./configure && make).
# Needs root and prove (perl). TESTS are directories or files below DIR/tests; default all.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -ge 1 ] || { sed -n 2,7p "$0"; exit 2; }
suite=$(cd "$1" && pwd)
shift
fuse=uring
if [ "${1:-}" = --fuse-transport ]; then fuse=$2; shift 2; fi
[ "$(id -u)" = 0 ] || { echo "pjdfstest needs root: it changes users"; exit 2; }
command -v prove >/dev/null || { echo "pjdfstest needs prove: apt-get install perl"; exit 2; }
[ -x "$suite/pjdfstest" ] || { echo "$suite/pjdfstest is not built"; exit 2; }
tests=()
if [ $# = 0 ]; then tests=("$suite/tests"); else for t in "$@"; do tests+=("$suite/tests/$t"); done; fi

dir=$(mktemp -d "$repo/run-pjdfstest-XXXXXX")
at_end() {
	cd "$repo"
	tools/acceptance/takedown.sh "$repo/bin" "$dir/node.sock" "$dir/mnt"
	rm -rf "$dir"
}
trap at_end EXIT
(cd "$repo" && go build -o bin/ ./tools/storaged ./tools/basalt)
cd "$dir"
"$repo/bin/basalt" mkfs --size 2GiB disk.img
mkdir mnt
"$repo/bin/storaged" --device disk.img --socket node.sock --log storaged.log --detach
"$repo/bin/basalt" mount --node node.sock --log mount.log --fuse-transport "$fuse" "$dir/mnt"
chmod 755 "$dir" # the tests become other users
mkdir mnt/work
chmod 777 mnt/work
cd mnt/work
prove -r -v "${tests[@]}" >"$repo/run-pjdfstest.log" 2>&1 || true
cd "$repo"

# One line for each failed assertion: file and number. A TODO of the suite itself does not count.
awk -v root="$suite/tests/" '
	/\.t \.\. ?$/ { file = $1; sub(root, "", file) }
	/^ok /     { passed++ }
	/^not ok / { if ($0 ~ /# TODO/) { next } ; failed++; print file " " $3 > failures }
	END { printf "pjdfstest: %d passed, %d failed\n", passed, failed }
' failures="$repo/run-pjdfstest.failures" "$repo/run-pjdfstest.log"
tail -n 3 "$repo/run-pjdfstest.log"
touch "$repo/run-pjdfstest.failures"
# The list names a failure as "file.t" (all of it) or "file.t number" in the first column of its table.
unexplained=0
while read -r file number; do
	if ! grep -qF -e "| \`$file\` |" -e "| \`$file $number\` |" docs/PJDFSTEST.md; then
		echo "without a reason in docs/PJDFSTEST.md: $file $number"
		unexplained=$((unexplained + 1))
	fi
done <"$repo/run-pjdfstest.failures"
echo "pjdfstest: $unexplained failures without a reason"
[ "$unexplained" = 0 ]
