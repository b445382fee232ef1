# Meson does the work; this gives it short names and first installs what is missing (tools/setup). Start with: make demo
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
MESON_FLAGS ?=

.PHONY: all build setup demo test test-long bench fuzz install lint coverage format clean help
all: build

help:
	@echo 'make            build the release binary: $(BUILD)/src/cupel'
	@echo 'make demo       a simulated shop goes through the pipeline (under two minutes)'
	@echo 'make test       unit, end to end, crash, sanitizers (8 minutes)    make test-long   more of each (40 minutes)'
	@echo 'make bench      ratios against plain libraries                     make fuzz        every fuzzer for FUZZ_SECONDS (60)'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=                          make lint        layers, style, format, clang-tidy, cppcheck'
	@echo 'make coverage   build-coverage/coverage.html                       make format      clang-format in place'

setup:
	@tools/setup build

build: setup
	@tools/build $(BUILD) -Dbuildtype=debugoptimized -Dprefix=$(PREFIX) $(MESON_FLAGS)

demo: build
	@$(BUILD)/src/cupel demo $(DEMO_FLAGS)

test: setup
	@tools/setup test fuzz
	@tools/run-tests short

test-long: setup
	@tools/setup test fuzz
	@tools/run-tests long

bench: build
	@tools/setup test bench
	@bench/run $(BENCH_FLAGS)

fuzz: setup
	@tools/setup fuzz
	@tools/run-fuzz $(or $(FUZZ_SECONDS),60)

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

lint: setup
	@tools/setup lint
	@tools/lint

coverage: setup
	@tools/setup test lint
	@tools/coverage

format:
	@tools/setup lint
	@git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz build-coverage build-tidy
