# `make run` demonstrates the program; `make help` lists the other targets.

SWIFT ?= swift
# Swift's runtime is linked statically: the program starts twice as fast, and needs no Swift installation.
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
# The directory for the results of `make deb` and `make dist`.
OUTPUT ?= .build

# Names of Debian packages: the first list is needed to build the program, the second by its tests.
BUILD_PACKAGES := libarchive-dev libzstd-dev libisal-dev libsqlite3-dev pkg-config
TEST_PACKAGES := umoci zstd sqlite3 strace libcap2-bin attr acl btrfs-progs e2fsprogs xfsprogs libarchive-tools python3 \
	skopeo jq curl systemd containerd runc crun uidmap man-db groff zsh fish bindfs binutils dpkg-dev docker-registry mmdebstrap \
	podman squashfs-tools-ng erofs-utils bubblewrap systemd-container python3-jsonschema

# Needed by `make deb` and `make deb-test`.
DEB_PACKAGES := binutils dpkg-dev
DEB_TEST_PACKAGES := lintian mmdebstrap

# Needed by `make protocols`.
PROTOCOL_PACKAGES := protobuf-compiler

# Programs that `make bench` measures for comparison, and tools that make its images.
BENCH_PACKAGES := isal zstd libarchive-tools umoci mmdebstrap buildah skopeo jq openssl time e2fsprogs

# Needed by `make test-vm`. VM_CACHE keeps the root file systems of its virtual machines, one for each release of Debian.
VM_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs binutils procps
VM_RELEASES ?= bookworm trixie bookworm-zfs
VM_CACHE ?= /var/tmp/unpack-vm

# The large image; its variant with zstd has the suffix -zstd.
LARGE_IMAGE ?= /var/tmp/unpack-large
# What else `make bench` makes once: a chroot of Debian's sid, and images. BENCH_OUTPUT may name a file for its tables.
BENCH_CACHE ?= /var/tmp/unpack-bench

# The fuzzers that `make fuzz` runs, and the time for each.
FUZZERS ?= FuzzTar FuzzLayers FuzzStreams FuzzDocuments FuzzErofs
FUZZ_SECONDS ?= 60

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

BENCH = $(SUDO) env LARGE_IMAGE="$(LARGE_IMAGE)" BENCH_CACHE="$(BENCH_CACHE)" BENCH_OUTPUT="$(BENCH_OUTPUT)" \
	BENCH_ROUNDS="$(BENCH_ROUNDS)" BENCH_ONLY="$(BENCH_ONLY)" BENCH_TIMEOUT="$(BENCH_TIMEOUT)" \
	BENCH_PROGRAM="$(PROGRAM)" .ci/bench

.PHONY: run build build-snapshotter test test-large bench bench-scale bench-micro crash test-vm mutants sanitize fuzz check protocols fmt install install-snapshotter uninstall deb deb-test dist clean help build-packages test-packages bench-packages

run: build-packages ## build for release, unpack a fixture, mount it, run a program in it, unmount it
	$(SWIFT) build $(RELEASE) --product unpack
	@$(SUDO) .ci/demo $(PROGRAM) Fixtures/busybox

build: build-packages ## build the program for release
	$(SWIFT) build $(RELEASE) --product unpack

build-snapshotter: build-packages ## build unpack-snapshotter, the server for containerd, for release (takes minutes)
	$(SWIFT) build $(RELEASE) --product unpack-snapshotter

test: build-packages test-packages ## run every test (without root, many are skipped)
	.ci/peers & peers=$$!; SWIFT="$(SWIFT)" .ci/test build && wait $$peers
	SWIFT="$(SWIFT)" .ci/test

test-large: build-packages test-packages ## build a large image outside the repository, compare its tree, kill unpacks of it
	Fixtures/make-large.sh $(LARGE_IMAGE)
	SWIFT="$(SWIFT)" .ci/test build
	UNPACK_LARGE_IMAGE=$(LARGE_IMAGE) SWIFT="$(SWIFT)" .ci/test --filter LargeImageTests

bench: build bench-packages ## compare the large image with other programs and the budgets (as root; half an hour)
	$(SUDO) Fixtures/make-large.sh --zstd $(LARGE_IMAGE)-zstd $(LARGE_IMAGE)
	@$(BENCH) images

bench-scale: build bench-packages ## measure images that are large in one dimension (as root; 14 GB of disk, 12 GB of memory)
	@$(BENCH) scale

bench-micro: build-packages bench-packages ## measure single stages: inflating, hashing, reading archives, applying (as root)
	for case in mixed-64 small-10000; do Fixtures/make-scale.sh $$case $(BENCH_CACHE)/scale/$$case; done
	UNPACK_BENCHMARKS=1 UNPACK_BENCHMARK_IMAGES=$(BENCH_CACHE)/scale \
		$(SWIFT) package --scratch-path .build/benchmarks --allow-writing-to-package-directory benchmark $(BENCHMARK)

crash: build-packages test-packages ## kill, fail and power off at every step that reaches the disk; report each
	SWIFT="$(SWIFT)" .ci/test build
	SWIFT="$(SWIFT)" .ci/crash

test-vm: build-packages ## run program and tests under Linux 6.1 and 6.12 in virtual machines, cut their power (as root; amd64)
	@.ci/install-packages $(VM_PACKAGES)
	SWIFT="$(SWIFT)" .ci/test build
	.ci/go-clients .build/go || echo "without the Go clients, containerd's own tests are left out" >&2
	$(SUDO) env VM_CACHE="$(VM_CACHE)" VM_RELEASES="$(VM_RELEASES)" .ci/test-vm $(CHECKS)

mutants: build-packages test-packages ## break the order of writes in several ways, each of which must be caught
	SWIFT="$(SWIFT)" .ci/test build
	SWIFT="$(SWIFT)" .ci/mutants $(MUTANTS)

sanitize: build-packages test-packages ## run every test with AddressSanitizer, then with ThreadSanitizer (minutes)
	.ci/peers
	SWIFT="$(SWIFT)" .ci/sanitize address thread

fuzz: build-packages ## run every fuzzer of FUZZERS for FUZZ_SECONDS (60)
	SWIFT="$(SWIFT)" .ci/fuzz $(FUZZ_SECONDS) $(FUZZERS)

protocols: build-packages ## generate the code for containerd's interfaces after a change of Sources/ContainerdAPI/Protocols
	@.ci/install-packages $(PROTOCOL_PACKAGES)
	SWIFT="$(SWIFT)" .ci/protocols

check: build-packages ## check formatting, imports, unsafe code, docs, version, mutants, fuzzers and benchmarks
	$(SWIFT) format lint --strict --recursive Sources Tests Package.swift
	.ci/check-imports
	.ci/check-docs
	.ci/check-version
	.ci/mutants --check
	SWIFT="$(SWIFT)" .ci/check-targets $(FUZZERS)

fmt: ## format the sources in place
	$(SWIFT) format --in-place --recursive Sources Tests Package.swift

# Builds only if there is no program yet: another user than the builder may install it.
install: ## install program, manual, completions and units in PREFIX, DESTDIR, BINDIR, MANDIR, BASHDIR, ZSHDIR, FISHDIR and UNITDIR
	@test -x "$(PROGRAM)" || $(MAKE) build
	@$(INSTALL) packaging/install unpack "$(PROGRAM)"

install-snapshotter: ## install unpack-snapshotter, its manual and its systemd units (in UNITDIR)
	@test -x "$(SNAPSHOTTER)" || $(MAKE) build-snapshotter
	@$(INSTALL) packaging/install unpack-snapshotter "$(SNAPSHOTTER)"

uninstall: ## remove what install and install-snapshotter have installed
	@$(INSTALL) packaging/install --remove unpack
	@$(INSTALL) packaging/install --remove unpack-snapshotter

INSTALL = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BINDIR="$(BINDIR)" MANDIR="$(MANDIR)" BASHDIR="$(BASHDIR)" \
	ZSHDIR="$(ZSHDIR)" FISHDIR="$(FISHDIR)" UNITDIR="$(UNITDIR)"

deb: build build-snapshotter ## build Debian packages of both programs in OUTPUT; they need no Swift installation
	@.ci/install-packages $(DEB_PACKAGES)
	@packaging/deb unpack "$(PROGRAM)" "$(OUTPUT)"
	@packaging/deb unpack-snapshotter "$(SNAPSHOTTER)" "$(OUTPUT)"

deb-test: deb ## install the packages on a minimal Debian, unpack an image, remove them (as root; with network)
	@.ci/install-packages $(DEB_TEST_PACKAGES)
	lintian --fail-on error,warning "$(OUTPUT)"/unpack_*.deb "$(OUTPUT)"/unpack-snapshotter_*.deb
	$(SUDO) packaging/deb-test "$(OUTPUT)"/unpack_*.deb "$(OUTPUT)"/unpack-snapshotter_*.deb Fixtures/busybox

dist: ## archive the sources of the last commit in OUTPUT
	git archive --format=tar --prefix=unpack/ HEAD | gzip -9n >"$(OUTPUT)/unpack.tar.gz"

clean: ## remove the build directory
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
