#!/usr/bin/env bash
# What `make run`, `make stop` and `make status` do: one node on an image file and one mount, both below $RUN.
# Paths stay relative on purpose: the kernel takes 107 bytes for a socket, and a clone may lie deep.
set -euo pipefail
cd "$(dirname "$0")/../.."
run=${RUN:-run}
size=${SIZE:-8GiB}
image=$run/disk.img
socket=$run/node.sock
mnt=$run/mnt
patience=${PATIENCE:-300} # seconds for a mount to answer: several leases
read -ra node_flags <<<"${NODE_FLAGS:-}"
read -ra mount_flags <<<"${MOUNT_FLAGS:-}"

say() { printf '%s\n' "$*"; }

answers() { bin/basalt status "$1" >/dev/null 2>&1; }

# The mount as the mount table has it: absolute, without symbolic links. Blanks are escaped there.
mounted() {
	local shown
	shown="$(cd "$run" && pwd -P)/mnt"
	grep -qF " ${shown// /\\040} " /proc/self/mounts
}

# Only a mount whose process has ended is dead: the kernel itself says so then, at once. One that is slow to answer waits for its node.
dead() {
	local said
	said=$(LC_ALL=C timeout -k 1 5 stat -f "$mnt" 2>&1 >/dev/null) || true
	[[ $said == *"not connected"* || $said == *"connection abort"* ]]
}

# Takes off a dead mount. A process that was just killed may take a moment to end; one that is stopped keeps its mount.
bury() {
	local until=$((SECONDS + 30))
	while mounted && ! answers "$mnt"; do
		if dead; then
			bin/basalt umount --lazy "$mnt"
		elif [ "$SECONDS" -ge "$until" ]; then
			say "something is mounted at $mnt and its process does not answer: it is left alone (basalt umount --lazy $mnt takes it off)"
			exit 1
		else
			sleep 0.2
		fi
	done
}

# A node that replays, or that keeps the lease of a killed mount, answers late. The mount is waited for, and never taken off for it.
await_mount() {
	if timeout -k 1 5 ls "$mnt" >/dev/null 2>&1; then return; fi
	say "waiting for $mnt to answer (the node recovers, or the lease of a mount that was killed has to end)"
	timeout -k 1 "$patience" ls "$mnt" >/dev/null || { say "the mount at $mnt does not answer: see $run/mount.log and $run/storaged.log"; exit 1; }
}

need() {
	[ -c /dev/fuse ] || { say "there is no /dev/fuse: load the kernel's fuse module (modprobe fuse)"; exit 1; }
	[ "$(id -u)" = 0 ] && return
	command -v fusermount3 >/dev/null || { say "mounting as a user needs fusermount3: install it (package fuse3), or run as root"; exit 1; }
}

up() {
	need
	mkdir -p "$run"
	exec 9>"$run/up.lock" # two at once would both make the image; those that are started do not keep the lock
	flock 9
	if [ ! -e "$image" ]; then
		say "making a $size image: $image"
		rm -f "$image.new"
		bin/basalt mkfs --size "$size" "$image.new"
		mv "$image.new" "$image"
	fi
	if ! answers "$socket"; then
		bin/storaged --device "$image" --socket "$socket" --log "$run/storaged.log" --detach "${node_flags[@]}" 9>&-
	fi
	bury
	if ! mounted; then
		mkdir -p "$mnt"
		bin/basalt mount --node "$socket" --log "$run/mount.log" "${mount_flags[@]}" "$mnt" 9>&-
	fi
	await_mount
	say "Basalt is mounted at $(cd "$run" && pwd -P)/mnt"
	say "  node:  bin/basalt status $socket   (log $run/storaged.log)"
	say "  mount: bin/basalt status $mnt   (log $run/mount.log)"
	say "  stop:  make stop"
}

# What the mount has had answered may still have to be brought back to a node that died: the mount does not end without one.
revive() {
	if ! answers "$mnt" || answers "$socket"; then return; fi
	say "the node is gone, and the mount waits for it: starting it again first"
	bin/storaged --device "$image" --socket "$socket" --log "$run/storaged.log" --detach "${node_flags[@]}" && return
	say "the node does not start (see $run/storaged.log); the mount keeps what the node had not committed, and waits."
	say "Mend that and run make stop again. To give it up: send SIGTERM twice to the mount's process (bin/basalt status $mnt names it)."
	exit 1
}

down() {
	if [ ! -x bin/basalt ]; then say "nothing was built, so nothing runs"; return; fi
	if [ ! -d "$run" ]; then say "there is no $run, so nothing runs"; return; fi
	revive
	if answers "$mnt" || mounted; then bin/basalt umount "$mnt"; fi
	if answers "$socket"; then bin/basalt stop "$socket"; fi
	say "stopped; the data is in $image, and make run brings it back"
}

status() {
	bin/basalt status "$socket" || true
	bin/basalt status "$mnt" || true
}

case "${1:-}" in
up) up ;;
down) down ;;
status) status ;;
*) say "use: run.sh up|down|status"; exit 2 ;;
esac
