# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the shell tests share: KTAP, namespaces that go away again, the module and its figures.
#
# A test sources this, defines one function for each case, named after the behaviour that it
# checks, and ends with `run_cases CASE...`. A case calls `fail` for each claim that does not hold,
# or `skip` where it cannot tell.

export LC_ALL=C
MODULES_DIR=${MODULES_DIR:-}
# shellcheck disable=SC2034 # tests use it
HERE=$(cd "$(dirname "$0")" && pwd)
DEBUGFS=/sys/kernel/debug/rnetns
KSFT_SKIP=4

# --- KTAP -------------------------------------------------------------------------------------

# Fails the current case, with the reason. The case goes on.
fail() {
	local text="# ${*//$'\n'/$'\n'# }"
	# The case has failed already: do not wait as long for anything else.
	PATIENCE=5
	if [ "$BASHPID" = $$ ]; then
		printf '%s\n' "$text"
		case_failed=1
	else
		# A subshell has variables of its own, and what it prints may go into a pipe.
		printf '%s\n' "$text" >>"$failures_of_subshells"
	fi
}

# Skips the current case, with the reason why it cannot tell anything.
skip() {
	case_skipped=${*//$'\n'/ }
}

# Ends the whole test before its first case.
skip_all() {
	printf 'KTAP version 1\n1..0 # SKIP %s\n' "$*"
	exit "$KSFT_SKIP"
}

# The taint bits that show a warning (bit 9), an oops (7) or a bad page (5) since boot.
taint() {
	echo $(($(</proc/sys/kernel/tainted) & (1 << 9 | 1 << 7 | 1 << 5)))
}

run_cases() {
	local case number=0 failures=0 taint

	failures_of_subshells=$(mktemp) || skip_all "no room for files"
	printf 'KTAP version 1\n1..%d\n' $#
	for case in "$@"; do
		number=$((number + 1))
		case_failed=
		case_skipped=
		taint=$(taint)
		if declare -F "$case" >/dev/null; then
			"$case"
		else
			fail "there is no such case"
		fi
		if [ -s "$failures_of_subshells" ]; then
			cat "$failures_of_subshells"
			: >"$failures_of_subshells"
			case_failed=1
		fi
		[ "$(taint)" = "$taint" ] || fail "the kernel has warned: see its log"
		if [ -n "$case_failed" ]; then
			failures=$((failures + 1))
			printf 'not ok %d %s\n' $number "$case"
		elif [ -n "$case_skipped" ]; then
			printf 'ok %d %s # SKIP %s\n' $number "$case" "$case_skipped"
		else
			printf 'ok %d %s\n' $number "$case"
		fi
	done
	rm "$failures_of_subshells"
	[ $failures -eq 0 ]
	exit
}

# --- Claims -----------------------------------------------------------------------------------

# expect WHAT COMMAND...: the command succeeds.
expect() {
	local what=$1 out
	shift
	out=$("$@" 2>&1) || fail "$what: '$*' failed: $out"
}

# expect_equal WHAT HAVE WANT
expect_equal() {
	[ "$2" = "$3" ] || fail "$1 is '$2', want '$3'"
}

# expect_at_least WHAT HAVE WANT: fails if HAVE is smaller, or is not a number.
expect_at_least() {
	[ "$2" -ge "$3" ] 2>/dev/null || fail "$1 is '$2', want at least '$3'"
}

# expect_refused MESSAGE COMMAND...: the command fails, and says MESSAGE.
expect_refused() {
	local message=$1 out
	shift
	if out=$("$@" 2>&1); then
		fail "'$*' succeeded, want '$message'"
	elif [[ $out != *"$message"* ]]; then
		fail "'$*' said '$out', want '$message'"
	fi
}

# When a test gives up waiting. An event that happens at all happens long before, even on a busy
# machine. So this limit does not decide what is right; it only ends a test that has failed.
PATIENCE=100
[ -z "$KSFT_MACHINE_SLOW" ] || PATIENCE=1000

# wait_until COMMAND...: polls until the command succeeds; fails if it never does.
wait_until() {
	local end=$((SECONDS + PATIENCE))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# --- Namespaces -------------------------------------------------------------------------------

# Namespaces of this process have this prefix; all of them are deleted at the end.
PREFIX=rnetns-$$-

# add_netns NAME...: creates namespaces; `$PREFIX$name` is what ip calls them.
add_netns() {
	printf "netns add $PREFIX%s\n" "$@" | ip -batch - || fail "cannot create namespaces: $*"
}

del_netns() {
	printf "netns del $PREFIX%s\n" "$@" | ip -batch -
}

# in_netns NAME COMMAND... `ip netns exec` would mount a /sys without debugfs, and take longer.
in_netns() {
	local name=$1
	shift
	nsenter --net="/run/netns/$PREFIX$name" "$@"
}

# ip_in NAME ARGUMENTS...: ip in a namespace.
ip_in() {
	local name=$1
	shift
	ip -n "$PREFIX$name" "$@"
}

# inum [NAME]: the inode number of a namespace; without a name, of the current one.
inum() {
	stat -L -c %i "${1:+/run/netns/$PREFIX}${1:-/proc/self/ns/net}"
}

# is_in PID INUM: whether a process is in a namespace.
is_in() {
	[ "$(stat -L -c %i "/proc/$1/ns/net")" = "$2" ]
}

# The kernel frees the memory of a namespace when the *next* one ends (`net_complete_free()`). So
# this creates and deletes one.
netns_are_gone() {
	printf 'netns add %s\nnetns del %s\n' "${PREFIX}probe" "${PREFIX}probe" | ip -batch -
	sleep 0.1
	[ "$(live_netns)" -le "$NETNS_AT_START" ]
}

# How many namespaces have memory, without the initial one.
live_netns() {
	echo 1 >/sys/kernel/slab/net_namespace/shrink
	awk '$1 == "net_namespace" { print $2 }' /proc/slabinfo
}

# expect_netns_gone: all namespaces of the test are freed in the end.
expect_netns_gone() {
	wait_until netns_are_gone || fail "$(live_netns) namespaces left, $NETNS_AT_START at first"
}

# --- The module -------------------------------------------------------------------------------

# load_module MODULE [PARAMETER...]
load_module() {
	local module=$1
	shift
	if [ -f "$MODULES_DIR/$module.ko" ]; then
		insmod "$MODULES_DIR/$module.ko" "$@"
	else
		modprobe "$module" "$@"
	fi
}

# load [PARAMETER...]
load() {
	load_module rnetns "$@"
}

unload() {
	rmmod rnetns
}

# loaded [MODULE]
loaded() {
	[ -d "/sys/module/${1:-rnetns}" ]
}

# figure NAME INUM: a figure of a namespace's state; nothing if the namespace has no state.
figure() {
	local line lines
	# At once: a line that is read alone may be of another moment than where it begins.
	mapfile -t lines <"$DEBUGFS/namespaces"
	for line in "${lines[@]}"; do
		[[ $line == "$2 "* && " $line " =~ \ $1=([0-9]+)\  ]] && echo "${BASH_REMATCH[1]}"
	done
}

# has_state INUM
has_state() {
	[ -n "$(figure generation "$1")" ]
}

has_no_state() {
	! has_state "$1"
}

# generations INUM...: the generations of these namespaces. Others may be ending, and are listed until
# they have ended.
generations() {
	local inum
	for inum in "$@"; do
		printf '%s:%s ' "$inum" "$(figure generation "$inum")"
	done
}

# next_generation COMMAND: writes it to the file, without a newline.
next_generation() {
	printf '%s' "$1" >"$DEBUGFS/next_generation"
}

# has_rlo [NAME]: whether a namespace has the device; without a name, the current one.
has_rlo() {
	ip ${1:+-n "$PREFIX$1"} link show rlo >/dev/null 2>&1
}

# --- Beginning and end ------------------------------------------------------------------------

cleanup() {
	local name
	for name in $(ip netns list | awk -v p="$PREFIX" 'index($1, p) == 1 { print $1 }'); do
		ip netns del "$name"
	done
	if loaded; then unload; fi
}

# has_rnetnsctl: rnetnsctl can be had. It is not part of the kernel. Where it is not installed, the
# script beside the tests does the same by the tree's own ynl, if the tests are in their tree.
has_rnetnsctl() {
	command -v rnetnsctl >/dev/null && return
	"$HERE/rnetnsctl" --help >/dev/null 2>&1 && PATH=$PATH:$HERE
}

# require PROGRAM...
require() {
	local program
	for program in "$@"; do
		if [ "$program" = rnetnsctl ]; then has_rnetnsctl; fi
		command -v "$program" >/dev/null || skip_all "$program is not installed"
	done
}

# require_module MODULE
require_module() {
	[ -f "$MODULES_DIR/$1.ko" ] || modinfo "$1" >/dev/null 2>&1 ||
		skip_all "no $1.ko${MODULES_DIR:+ in $MODULES_DIR}, and none installed"
}

begin() {
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	require awk insmod ip nsenter rmmod stat "$@"
	require_module rnetns
	[ -n "$(ls -A /sys/kernel/debug 2>/dev/null)" ] || skip_all "debugfs is not mounted"
	if loaded; then unload || skip_all "rnetns is loaded and in use"; fi
	[ -w /sys/kernel/slab/net_namespace/shrink ] || skip_all "no slab figures (CONFIG_SLUB_DEBUG)"
	trap cleanup EXIT
	NETNS_AT_START=0
	wait_until netns_are_settled || skip_all "namespaces of others come and go"
}

# Namespaces that were ending when the test began have ended: the number was the same twice.
netns_are_settled() {
	local before=$NETNS_AT_START
	netns_are_gone
	NETNS_AT_START=$(live_netns)
	[ "$NETNS_AT_START" = "$before" ]
}
