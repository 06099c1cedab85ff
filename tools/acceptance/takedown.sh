#!/usr/bin/env bash
# Ends a node and its mount in whatever state they are, in bounded time: takedown.sh BIN SOCKET MOUNTPOINT
# A mount whose node is gone would wait for it for ever, so it is killed then, by its process id.
set -uo pipefail
bin=$1 socket=$2 mnt=$3

answers() { "$bin/basalt" status "$1" >/dev/null 2>&1; }
is_mount() { grep -qF " $mnt " /proc/self/mounts; }
# Of a mount with a process of its own; one in the node's process ends with the node.
pid() { "$bin/basalt" status --json "$mnt" 2>/dev/null | awk '/"role": "mount"/ { own = 1 } own && /"pid":/ { gsub(/[^0-9]/, ""); print; exit }'; }

if answers "$socket"; then
	if is_mount && [ -n "$(pid)" ]; then timeout -k 5 120 "$bin/basalt" umount "$mnt"; fi
fi
left=$(pid)
if [ -n "$left" ]; then
	echo "the mount does not end by itself and is killed: process $left"
	kill -KILL "$left"
fi
if answers "$socket"; then timeout -k 5 300 "$bin/basalt" stop "$socket"; fi
if is_mount; then "$bin/basalt" umount --lazy "$mnt"; fi
exit 0
