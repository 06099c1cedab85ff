# Basalt. `make run` gives you a file system at run/mnt; `make stop` shuts it down; `make test` checks everything.
SHELL := /bin/bash
GO ?= go

# Where `make run` keeps its image, sockets, logs and mount: below this directory only, so that clones do not meet.
RUN ?= run
SIZE ?= 8GiB

.PHONY: all build run stop status test lint fuzz soak bench-node bench-store clean

all: build

build:
	$(GO) build -o bin/ ./tools/storaged ./tools/basalt

# Creates the image if there is none and starts whatever is not running. Options for the two processes:
# make run NODE_FLAGS=--wire-transport=gnet MOUNT_FLAGS=--fuse-transport=dev
run: build
	@RUN='$(RUN)' SIZE='$(SIZE)' tools/run/run.sh up

stop:
	@RUN='$(RUN)' tools/run/run.sh down

status:
	@RUN='$(RUN)' tools/run/run.sh status

# Every test in stages (tools/suite lists them), under 20 minutes on two cores. As root it needs Go, /dev/fuse and loop devices;
# as a user also fusermount3, and the power cuts of tools/cutloop, which need a loop device, fail. The last line says how many passed, failed and were skipped; a skipped test is a failure.
test: lint build
	$(GO) run ./tools/suite

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) vet -tags=checked ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./tools/house

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	@set -e; $(GO) run ./tools/house/fuzzlist | while read -r pkg name; do \
		echo "== $$pkg $$name"; $(GO) test "$$pkg" -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME); done

# The long versions: crash simulation over 20,000 seeds (3,000 in `make test`), power cuts of a real disk (docs/POWERCUT.md; as root), and the kill loop over
# both FUSE transports.
SOAK_SEEDS ?= 20000
SOAK_ROUNDS ?= 200
SOAK_CUTS ?= 200
soak: build
	BASALT_SEEDS=$(SOAK_SEEDS) BASALT_CUT_SEEDS=50 $(GO) test -timeout=24h -count=1 ./storage/... ./meta/...
	$(GO) run ./tools/cutloop --cuts=$(SOAK_CUTS)
	$(GO) run ./tools/killloop --rounds=$(SOAK_ROUNDS) --fuse-transport=uring
	$(GO) run ./tools/killloop --rounds=$(SOAK_ROUNDS) --fuse-transport=dev

# Numbers of one node, each beside its ceiling; needs fio (apt-get install fio).
bench-node: build
	@command -v fio >/dev/null || { echo "bench-node needs fio for its ceilings: apt-get install fio"; exit 1; }
	$(GO) run ./perf/bench -area node -dir run/bench -bin bin

# The object store against what is wanted of it: fio, bbolt and pebble beside it, costs against limits; each line ends in ok or short.
# Needs fio, root for a memory cgroup, 8 GiB of free disk below run/bench, and half an hour or more; BENCH=... takes part of it, as in
# make bench-store BENCH='-parts cost,amplify -rounds 1' (docs/PERFORMANCE.md).
# bbolt and pebble are linked into a program of their own, a module inside this one (perf/rivals), so that the product does not require
# what they do. Only this target builds it: build, vet, staticcheck and tests from the root pass it by; gofmt and tools/house read it.
BENCH ?=
bench-store:
	@command -v fio >/dev/null || { echo "bench-store needs fio for its ceilings: apt-get install fio"; exit 1; }
	$(GO) build -C perf/rivals -o ../../bin/rivals .
	$(GO) run ./perf/bench -area store -dir run/bench -bin bin $(BENCH)

clean:
	rm -rf bin
