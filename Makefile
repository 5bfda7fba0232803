# `make run` shows the program at work; `make help` lists the rest.

SWIFT ?= swift
# The runtime of Swift is linked statically: the program starts twice as fast, and runs where there is no Swift.
RELEASE := -c release --static-swift-stdlib
PROGRAM ?= .build/release/unpack
SNAPSHOTTER ?= .build/release/unpack-snapshotter

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Where `make deb` and `make dist` put what they make.
OUTPUT ?= .build

# Debian's names. The first list is what the program is built with, the second what its tests compare it with.
BUILD_PACKAGES := libarchive-dev libzstd-dev libisal-dev libsqlite3-dev pkg-config
TEST_PACKAGES := umoci zstd sqlite3 strace libcap2-bin attr acl btrfs-progs e2fsprogs xfsprogs libarchive-tools python3 \
	skopeo jq curl systemd containerd runc crun uidmap man-db groff zsh fish bindfs binutils dpkg-dev docker-registry mmdebstrap \
	podman squashfs-tools-ng

# What `make deb` and `make deb-test` make and try a package with.
DEB_PACKAGES := binutils dpkg-dev
DEB_TEST_PACKAGES := lintian mmdebstrap

# What `make protocols` needs.
PROTOCOL_PACKAGES := protobuf-compiler

# What `make bench` measures beside the program, and what it makes images with.
BENCH_PACKAGES := isal zstd libarchive-tools umoci mmdebstrap buildah skopeo jq openssl time e2fsprogs

# Where the large image is kept; one with zstd beside it, for `make bench`.
LARGE_IMAGE ?= /var/tmp/unpack-large
# What else `make bench` makes once: a chroot of Debian's sid, images. BENCH_OUTPUT may name a file for its tables.
BENCH_CACHE ?= /var/tmp/unpack-bench

# What `make fuzz` runs, and how long each.
FUZZERS ?= FuzzTar FuzzLayers FuzzStreams FuzzDocuments
FUZZ_SECONDS ?= 60

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

BENCH = $(SUDO) env LARGE_IMAGE="$(LARGE_IMAGE)" BENCH_CACHE="$(BENCH_CACHE)" BENCH_OUTPUT="$(BENCH_OUTPUT)" \
	BENCH_ROUNDS="$(BENCH_ROUNDS)" BENCH_ONLY="$(BENCH_ONLY)" BENCH_TIMEOUT="$(BENCH_TIMEOUT)" \
	BENCH_PROGRAM="$(PROGRAM)" .ci/bench

.PHONY: run build build-snapshotter test test-large bench bench-scale bench-micro crash mutants sanitize fuzz check protocols fmt install install-snapshotter uninstall deb deb-test dist clean help build-packages test-packages bench-packages

run: build-packages ## build for release, unpack a fixture, mount it, look at it, unmount it
	$(SWIFT) build $(RELEASE) --product unpack
	@$(SUDO) .ci/demo $(PROGRAM) Fixtures/busybox

build: build-packages ## build the program for release
	$(SWIFT) build $(RELEASE) --product unpack

build-snapshotter: build-packages ## build unpack-snapshotter for release, which serves containerd (minutes more)
	$(SWIFT) build $(RELEASE) --product unpack-snapshotter

test: build-packages test-packages ## run every test (as root, or much of it is skipped)
	.ci/containerd-2 .build/containerd-2 || echo "a later containerd cannot be had: the tests do without" >&2
	.ci/go-clients .build/go & clients=$$!; \
	$(SWIFT) build --build-tests && { wait $$clients || echo "clients in Go cannot be had: the tests do without" >&2; }
	SWIFT="$(SWIFT)" .ci/test

test-large: build-packages test-packages ## build a large image outside the repository, compare its tree, kill its unpacks
	Fixtures/make-large.sh $(LARGE_IMAGE)
	$(SWIFT) build -c release --build-tests -Xswiftc -enable-testing
	UNPACK_LARGE_IMAGE=$(LARGE_IMAGE) $(SWIFT) test -c release --skip-build --filter LargeImageTests

bench: build bench-packages ## the large image beside other programs, against the budgets (as root; half an hour)
	$(SUDO) Fixtures/make-large.sh --zstd $(LARGE_IMAGE)-zstd $(LARGE_IMAGE)
	@$(BENCH) images

bench-scale: build bench-packages ## images that are large in one way each (as root; 14 GB of disk, 12 GB of memory)
	@$(BENCH) scale

bench-micro: build-packages bench-packages ## a stage at a time: inflating, hashing, reading archives, applying (as root)
	for case in mixed-64 small-10000; do Fixtures/make-scale.sh $$case $(BENCH_CACHE)/scale/$$case; done
	UNPACK_BENCHMARKS=1 UNPACK_BENCHMARK_IMAGES=$(BENCH_CACHE)/scale \
		$(SWIFT) package --scratch-path .build/benchmarks --allow-writing-to-package-directory benchmark $(BENCHMARK)

crash: build-packages test-packages ## kill, fail and power off every step that reaches the disk; a report of each
	$(SWIFT) build --build-tests
	SWIFT="$(SWIFT)" .ci/crash

mutants: build-packages test-packages ## break the order of what reaches the disk in several ways: each must be caught
	$(SWIFT) build --build-tests
	SWIFT="$(SWIFT)" .ci/mutants $(MUTANTS)

sanitize: build-packages test-packages ## every test under AddressSanitizer, then under ThreadSanitizer (minutes)
	SWIFT="$(SWIFT)" .ci/sanitize address thread

fuzz: build-packages ## mutated inputs to every reader, FUZZ_SECONDS=60 for each of FUZZERS
	SWIFT="$(SWIFT)" .ci/fuzz $(FUZZ_SECONDS) $(FUZZERS)

protocols: build-packages ## make the code for containerd's interfaces again, after a change of Sources/ContainerdAPI/Protocols
	@.ci/install-packages $(PROTOCOL_PACKAGES)
	SWIFT="$(SWIFT)" .ci/protocols

check: build-packages ## formatting, the import table, the unsafe fence, the docs, every mutant, fuzzer and benchmark
	$(SWIFT) format lint --strict --recursive Sources Tests Package.swift
	.ci/check-imports
	.ci/check-docs
	.ci/check-version
	.ci/mutants --check
	SWIFT="$(SWIFT)" .ci/check-targets $(FUZZERS)

fmt: ## format the sources in place
	$(SWIFT) format --in-place --recursive Sources Tests Package.swift

# No build and no network where there is a program: this may be somebody else than who has built it.
install: ## install program, manual and completions; PREFIX, DESTDIR, BINDIR, MANDIR, BASHDIR, ZSHDIR and FISHDIR say where
	@test -x "$(PROGRAM)" || $(MAKE) build
	@$(INSTALL) packaging/install unpack "$(PROGRAM)"

install-snapshotter: ## install unpack-snapshotter, its manual and its systemd units; UNITDIR says where
	@test -x "$(SNAPSHOTTER)" || $(MAKE) build-snapshotter
	@$(INSTALL) packaging/install unpack-snapshotter "$(SNAPSHOTTER)"

uninstall: ## remove what install and install-snapshotter have put there
	@$(INSTALL) packaging/install --remove unpack
	@$(INSTALL) packaging/install --remove unpack-snapshotter

INSTALL = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BINDIR="$(BINDIR)" MANDIR="$(MANDIR)" BASHDIR="$(BASHDIR)" \
	ZSHDIR="$(ZSHDIR)" FISHDIR="$(FISHDIR)" UNITDIR="$(UNITDIR)"

deb: build build-snapshotter ## Debian packages of both programs in OUTPUT, which run where there is no Swift
	@.ci/install-packages $(DEB_PACKAGES)
	@packaging/deb unpack "$(PROGRAM)" "$(OUTPUT)"
	@packaging/deb unpack-snapshotter "$(SNAPSHOTTER)" "$(OUTPUT)"

deb-test: deb ## install them on a bare Debian, unpack an image there, remove them (as root; with network)
	@.ci/install-packages $(DEB_TEST_PACKAGES)
	lintian --fail-on error,warning "$(OUTPUT)"/unpack_*.deb "$(OUTPUT)"/unpack-snapshotter_*.deb
	$(SUDO) packaging/deb-test "$(OUTPUT)"/unpack_*.deb "$(OUTPUT)"/unpack-snapshotter_*.deb Fixtures/busybox

dist: ## the sources of the last commit, as an archive in OUTPUT
	git archive --format=tar --prefix=unpack/ HEAD | gzip -9n >"$(OUTPUT)/unpack.tar.gz"

clean: ## remove what was built
	rm -rf .build

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 22

build-packages:
	@command -v $(firstword $(SWIFT)) >/dev/null || { echo "there is no Swift: install Swift 6.3, https://www.swift.org/install/linux/" >&2; exit 1; }
	@.ci/install-packages $(BUILD_PACKAGES)

bench-packages:
	@.ci/install-packages $(BENCH_PACKAGES)

test-packages:
	@.ci/install-packages $(TEST_PACKAGES)
