#!/usr/bin/env bash
# Real programs on a real mount, with public tools only: cp and diff of the Go tree, go build, git, sqlite3, fio, sha256sum.
# Everything is compared while it is warm, and once more after stop and start from a cold cache.
#
#   acceptance.sh [--fuse-transport uring|dev] [--wire-transport ring|gnet] [--in-process] [--dir DIR] [--small]
#
# Ends with a line "acceptance: N passed, N failed" and a non-zero code if anything failed. Needs: go, git, fio, sqlite3.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
fuse=uring wire=ring inprocess= dir= small=
while [ $# -gt 0 ]; do
	case "$1" in
	--fuse-transport) fuse=$2; shift 2 ;;
	--wire-transport) wire=$2; shift 2 ;;
	--in-process) inprocess=1; shift ;;
	--dir) dir=$2; shift 2 ;;
	--small) small=1; shift ;;
	*) sed -n 2,8p "$0"; exit 2 ;;
	esac
done
for tool in go git fio sqlite3 sha256sum; do
	command -v $tool >/dev/null || { echo "acceptance needs $tool"; exit 2; }
done
if [ -z "$dir" ]; then dir=$(mktemp -d "$repo/run-acceptance-XXXXXX"); fi
mkdir -p "$dir"
cd "$dir" # relative paths: the kernel takes 107 bytes for a socket
bin=$repo/bin
mnt=$dir/mnt
big=3G transactions=10000 fiosize=256m
if [ -n "$small" ]; then big=200M transactions=500 fiosize=32m; fi

passed=0 failed=0
check() { # check NAME COMMAND...
	local name=$1 began=$SECONDS
	shift
	if "$@" >"$dir/$passed-$failed.out" 2>&1; then
		passed=$((passed + 1))
		printf 'ok    %-58s %4d s\n' "$name" $((SECONDS - began))
	else
		failed=$((failed + 1))
		printf 'FAIL  %-58s %4d s\n' "$name" $((SECONDS - began))
		tail -n 20 "$dir/$((passed))-$((failed - 1)).out"
	fi
}

up() {
	mkdir -p "$mnt"
	if [ -n "$inprocess" ]; then
		"$bin/storaged" --device disk.img --socket node.sock --log storaged.log --wire-transport "$wire" \
			--mount "$mnt" --fuse-transport "$fuse" --detach
	else
		"$bin/storaged" --device disk.img --socket node.sock --log storaged.log --wire-transport "$wire" --detach
		"$bin/basalt" mount --node node.sock --log mount.log --fuse-transport "$fuse" "$mnt"
	fi
}

# The mount waits for a node that is away, without limit; a run must end.
take_off() { timeout -k 5 300 "$bin/basalt" umount "$mnt"; }

down() {
	if [ -z "$inprocess" ]; then take_off; fi
	"$bin/basalt" stop node.sock
}

cold() { # nothing the kernel remembers may help
	down
	up
	if [ "$(id -u)" = 0 ]; then echo 3 >/proc/sys/vm/drop_caches || true; fi
}

at_end() {
	cd "$repo"
	"$repo/tools/acceptance/takedown.sh" "$bin" "$dir/node.sock" "$mnt"
	if [ "$failed" = 0 ] && [ "$passed" -gt 0 ]; then rm -rf "$dir"; else echo "left for a look: $dir"; fi
}
trap at_end EXIT

build_module() {
	git clone -q "$repo" "$mnt/module"
	(cd "$mnt/module" && GOCACHE="$mnt/gocache" GOFLAGS=-buildvcs=false go build -o "$mnt/module-bin/" ./... )
	"$mnt/module-bin/basalt" version
}

rebuild_module() { (cd "$mnt/module" && GOCACHE="$mnt/gocache" GOFLAGS=-buildvcs=false go build -o "$mnt/module-bin/" ./... && "$mnt/module-bin/basalt" version); }

git_inside() {
	git clone -q --no-hardlinks "$repo" "$mnt/clone"
	git -C "$mnt/clone" fsck --full
	git -C "$mnt/clone" gc -q --aggressive
	git -C "$mnt/clone" fsck --full
	[ "$(git -C "$mnt/clone" rev-parse HEAD)" = "$(git -C "$repo" rev-parse HEAD)" ]
}

git_again() { git -C "$mnt/clone" fsck --full && [ -z "$(git -C "$mnt/clone" status --porcelain)" ]; }

sqlite_write() {
	{
		echo "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
		for ((i = 1; i <= transactions; i++)); do echo "BEGIN; INSERT INTO t(v) VALUES(hex(randomblob(64))); COMMIT;"; done
	} | sqlite3 "$mnt/t.db" >/dev/null
	sqlite_check
}

sqlite_check() {
	[ "$(sqlite3 "$mnt/t.db" 'PRAGMA integrity_check;')" = ok ]
	[ "$(sqlite3 "$mnt/t.db" 'SELECT count(*) FROM t;')" = "$transactions" ]
}

fio_job() { # fio_job [--verify_only]
	fio --name=verify --directory="$mnt" --rw=randwrite --bs=4k --size=$fiosize --ioengine=psync --verify=crc32c \
		--do_verify=1 --verify_fatal=1 --randseed=7 --fsync=64 --allow_file_create=1 "$@"
}

big_write() {
	head -c "$big" /dev/urandom | tee "$mnt/big" | sha256sum | cut -d' ' -f1 >big.sum
	big_check
}

big_check() { [ "$(sha256sum <"$mnt/big" | cut -d' ' -f1)" = "$(cat big.sum)" ]; }

transport_used() { # the mount must not have fallen back silently
	"$bin/basalt" status --json "$1" | tee status.json | grep -q "\"requests_${fuse}_total\": [1-9]"
}

shape="separate processes"
if [ -n "$inprocess" ]; then shape="one process"; fi
echo "acceptance: fuse $fuse, wire $wire, $shape, $(uname -r), in $dir"
(cd "$repo" && go build -o bin/ ./tools/storaged ./tools/basalt)
"$bin/basalt" mkfs --size 8GiB disk.img
up
goroot=$(go env GOROOT)
check "copy the Go tree ($(find "$goroot" -type f | wc -l) files)" cp -a "$goroot" "$mnt/go"
check "diff -r of the Go tree" diff -r --no-dereference "$goroot" "$mnt/go"
check "go build of a module, source and cache in the mount" build_module
check "git clone, fsck, gc, fsck" git_inside
check "sqlite3 WAL, $transactions transactions, integrity_check" sqlite_write
check "fio randwrite verify=crc32c" fio_job
check "$big file, sha256" big_write
if [ -n "$inprocess" ]; then where=node.sock; else where=$mnt; fi
check "requests came over $fuse" transport_used "$where"
check "stop and start" cold
check "cold: diff -r of the Go tree" diff -r --no-dereference "$goroot" "$mnt/go"
check "cold: go build with the cache in the mount" rebuild_module
check "cold: git fsck and a clean work tree" git_again
check "cold: sqlite3 integrity_check and count" sqlite_check
check "cold: fio verify" fio_job --verify_only
check "cold: $big file, sha256" big_check
check "remove the Go tree" rm -rf "$mnt/go"
check "unmount and stop" down
check "basalt fsck" "$bin/basalt" fsck disk.img
echo "acceptance: $passed passed, $failed failed"
[ "$failed" = 0 ]
