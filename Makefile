# Two commands do everything on a fresh Debian 12 with the Rust toolchain, as root: make demo, make test.
SHELL  := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
# A root shell by plain `su` has no sbin.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help packages demo demo-page demo-down test bench man

help:
	@echo "make demo        show it: real hosts on this machine; its own network stays untouched"
	@echo "make demo-page   lead https://127.0.0.1:8443/ to the demo's controller"
	@echo "make demo-down   remove what the demo made"
	@echo "make test        everything that CI runs"
	@echo "make man         man pages of all programs into $(TARGET)/man"
	@echo "make bench       beside cfengine3, restic and borg, in one run"

packages:
	@tests/lab/packages.sh

demo: packages
	@started=$$(date +%s); \
	cargo build --locked --bins && \
	exec $(TARGET)/debug/tenure-demo show --build-seconds $$(( $$(date +%s) - started ))

demo-page:
	exec $(TARGET)/debug/tenure-demo page

demo-down:
	@LAB=demo tests/lab/lab.sh down
	@tests/lab/lab.sh clean
	@rm -rf $(TARGET)/demo

# One profile and one target directory: clippy, then everything is compiled once and only run after that. Scenarios mostly
# wait, for timers and for each other's hosts: three at once keep two cores busy. Six meet the kernel's 128 inotify instances
# of one user, and hosts die while they start.
test: export RUST_TEST_THREADS ?= 3
test:
	@tests/lab/packages.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --all-targets --locked
	tests/lab/lab.sh prune
	tests/lab/lab.sh base
	cargo test --workspace --locked --no-fail-fast

man:
	cargo build --locked --bins
	@rm -rf $(TARGET)/man && mkdir -p $(TARGET)/man
	@for program in tenure tenure-agent tenure-controller tenure-vault; do $(TARGET)/debug/$$program man $(TARGET)/man; done
	@ls $(TARGET)/man

bench:
	@tests/lab/packages.sh bench
	cargo build --locked --release --bins
	cargo build --locked --release -p tenure-backup --example engine
	cargo build --locked --release -p tenure-controller --example ingest
	$(TARGET)/release/tenure-bench
