# SPDX-License-Identifier: GPL-2.0
#
# Thin: each target is a subcommand of the lab (lab/), which does the work.
# Variables reach it through the environment.

.DEFAULT_GOAL := all
export J V ACCEL ENGINE MEMORY MAY_SKIP
# Paths reach the lab unchanged, `$$` included.
override export KSRC := $(value KSRC)
override export KBUILD := $(value KBUILD)
override export LLVM := $(value LLVM)
# make gives CC a default of its own; only a CC that the user chose counts.
ifneq ($(origin CC),default)
override export CC := $(value CC)
endif
# Variables that were exported for other builds must not change this one.
unexport MAKEFLAGS MFLAGS MAKELEVEL
unexport $(filter $(shell sed '/^\#/d' lab/environment),$(.VARIABLES))

# What the user types reaches the lab unchanged, `$$` and quotes included. So it
# goes through the environment: in a recipe, make and the shell would expand it.
export LAB_PATTERN := $(value T)
export LAB_REPEAT := $(value REPEAT)
export LAB_TESTS := $(value TESTS)
export LAB_COMMAND := $(value CMD)
export LAB_PUT := $(value PUT)
export LAB_PATCH := $(value K)
export LAB_SERIES := $(value S)
export LAB_AFTER := $(value AFTER)
export LAB_AT := $(value AT)
export LAB_VERSION := $(value V)
export LAB_TREE := $(value TREE)
export LAB_RANGE := $(value RANGE)
export LAB_MBOX := $(value MBOX)
export LAB_ONLY := $(value ONLY)
export LAB_TEST := $(value TEST)
export LAB_SEED := $(value SEED)
export LAB_SCENES := $(value SCENES)
export LAB_MADE := $(value MADE)

export CARGO ?= cargo
LAB := sh lab/start

ifneq ($(MAKECMDGOALS),help)
ifeq ($(shell command -v $(CARGO)),)
$(error cargo is not installed: get a Rust toolchain with rustup (see README.md), then type make again)
endif
endif

# Patterns are separated by spaces: no test has a space in its name.
patterns := $(if $(LAB_PATTERN),-- $$LAB_PATTERN)
pattern := $(if $(LAB_PATTERN),-- "$$LAB_PATTERN")
repeat := $(if $(LAB_REPEAT),--repeat "$$LAB_REPEAT")
ktap := $(if $(filter 1,$(KTAP)),--ktap)

.PHONY: all test test-debug selftests-net mutants fuzz study series series-undo series-edit series-split series-join series-move series-reword series-new export check-series bisect shell run bench kernel doctor lint netlink picture rust-analyzer install cache clean distclean help

all: ## build kernel and module, boot, load, run the selftests, report
	@$(LAB) all

test: ## everything: lint, host tests, module, selftests [T='PATTERN...'] [REPEAT=N] [KTAP=1]
	@set -f; $(LAB) test $(repeat) $(ktap) $(patterns)

test-debug: ## all selftests on a kernel with KASAN, lockdep, kmemleak, trackers [T=] [REPEAT=]
	@set -f; $(LAB) test-debug $(repeat) $(ktap) $(patterns)

selftests-net: ## the kernel tree's own network tests, without and with the module [TESTS='a.sh b.sh']
	@set -f; $(LAB) selftests-net -- $$LAB_TESTS

mutants: ## break one rule of the module at a time: a selftest must fail [T=PATTERN]; or [MADE=N SEED=N] single changes
	@$(LAB) mutants $(if $(LAB_MADE),--made "$$LAB_MADE" $(if $(LAB_SEED),--seed "$$LAB_SEED"),$(pattern))

fuzz: ## random networks, with the cache and without: the results must be identical [SEED=N] [SCENES=N]
	@$(LAB) run -- /lab/selftests/route_cache_fuzz "$$LAB_SEED" "$${LAB_SCENES:-1000}"

study: ## count copies of packets on each way into a namespace [QUICK=1] [T='PATTERN...']
	@set -f; $(LAB) study $(if $(filter 1,$(QUICK)),--quick) $(patterns)

shell: ## a shell in the guest, with the module loaded
	@$(LAB) shell

run: ## one command in the guest: CMD='ip link'; passes on input and output, and `lab run` the exit status, too
	@$(LAB) run -- $(if $(LAB_COMMAND),"$$LAB_COMMAND",$(error say which command: make run CMD='ip link'))

series: ## give each edit of the source to the patch that it belongs to [DRY=1] [PUT='FILE:LINE=PATCH...']
	@$(LAB) series $(if $(filter 1,$(DRY)),--dry-run) $(if $(LAB_PUT),--put "$$LAB_PUT")

series-undo: ## undo the last change of the series
	@$(LAB) series undo

series-edit: ## edit the tree after a patch: K=SERIES/NUMBER; then, without K, take the edit
	@$(LAB) series edit $(if $(LAB_PATCH),"$$LAB_PATCH")

series-split: ## make a patch of lines of a patch: K=SERIES/NUMBER AT='FILE:FIRST-LAST...'
	@set -f; $(LAB) series split "$$LAB_PATCH" $(if $(LAB_AT),$$LAB_AT,$(error say which lines: make series-split K=1/7 AT=FILE:10-20))

series-join: ## make one patch of a patch and the next one: K=SERIES/NUMBER
	@$(LAB) series join "$$LAB_PATCH"

series-move: ## put a patch behind another one: K=SERIES/NUMBER AFTER=SERIES/NUMBER; or lines: AT='FILE:FIRST-LAST...'
	@set -f; $(if $(LAB_AT),$(LAB) series give "$$LAB_PATCH" $$LAB_AT,$(LAB) series move "$$LAB_PATCH" "$$LAB_AFTER")

series-reword: ## edit the message of a patch: K=SERIES/NUMBER
	@$(LAB) series reword "$$LAB_PATCH"

series-new: ## begin the next version of a series, and compare with the last: S=SERIES [V=2]
	@V= $(LAB) series new "$$LAB_SERIES" $(if $(LAB_VERSION),"$$LAB_VERSION")

export: ## write a series as a mailbox and as a bundle; nothing is sent: S=SERIES
	@$(LAB) series export "$$LAB_SERIES"

check-series: ## check, build, boot each patch [S=SERIES] [ONLY=NAME], or: TREE=DIR RANGE=A..B, MBOX=FILE [TESTS='FILE...']
	@$(LAB) check-series $(if $(LAB_TREE),--tree "$$LAB_TREE") $(if $(LAB_RANGE),--range "$$LAB_RANGE") $(if $(LAB_MBOX),--mbox "$$LAB_MBOX") $(if $(LAB_ONLY),--only "$$LAB_ONLY") $(if $(LAB_TESTS),--tests "$$LAB_TESTS") $(if $(LAB_SERIES),"$$LAB_SERIES")

bisect: ## the first patch after which a test fails: TEST=NAME [S=SERIES]
	@$(LAB) series bisect $(if $(LAB_TEST),"$$LAB_TEST",$(error say which test: make bisect TEST=state_isolation.sh)) $(if $(LAB_SERIES),"$$LAB_SERIES")

bench: ## measure in the guest and print the ratios [ENGINE=uml: kernel code at this machine's speed]
	@$(LAB) bench

kernel: ## only build the base kernel
	@$(LAB) kernel

doctor: ## each tool: found, needed, how to get it; fails if a build cannot succeed
	@$(LAB) doctor

lint: ## format and lint checks of host and kernel code, and builds inside a kernel tree
	@$(LAB) lint

netlink: ## generate the C code of the netlink specification again
	@$(LAB) netlink

picture: ## draw a run for the README: Documentation/run.svg [CMD='make test T=PATTERN']
	@set -f; $(LAB) picture $(if $(LAB_COMMAND),-- $$LAB_COMMAND)

rust-analyzer: ## write rust-project.json for an editor
	@$(LAB) rust-analyzer

cache: ## how large the cache is, and when each part was used [PRUNE=1: remove unused parts]
	@$(LAB) cache $(if $(filter 1,$(PRUNE)),--prune)

install: ## put `lab` where cargo puts programs; for your own module: lab try, lab new
	@$(CARGO) install --locked --path lab

clean: ## remove what was built from this checkout
	@$(LAB) clean

distclean: ## clean, and remove the cache: kernels, sources, downloads
	@$(LAB) distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r t d; do printf 'make %-14s %s\n' "$$t" "$$d"; done
	@echo
	@echo "KSRC=/tree: another kernel tree. KBUILD=/dir: a finished build. LLVM, CC: the compiler, as for"
	@echo "the kernel. J=N: jobs. V=1: show every command. ACCEL=kvm|tcg: do not probe. MEMORY=MIB: the guest's."
	@echo "MAY_SKIP='NAME;NAME': checks that this machine cannot run, and that shall not fail for it."
	@echo "ENGINE=uml: User Mode Linux instead of QEMU, for run, shell and bench."
