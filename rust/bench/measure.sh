#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs each measurement of rnetns_bench and prints what it found, as KTAP: the figures are lines
# `# figure NAME NAME=VALUE...`. The lab puts this beside the selftests, whose lib.sh it uses.

. "$(dirname "$0")/lib.sh"

FILES=/sys/kernel/debug/rnetns_bench

cleanup_bench() {
	if [ -d /sys/module/rnetns_bench ]; then rmmod rnetns_bench; fi
	cleanup
}

measure() {
	if echo "$1 $$" >$FILES/measure; then
		sed 's/^/# figure /' $FILES/results
	else
		fail "cannot measure: $1"
	fi
}

state() {
	measure state
}

traffic() {
	expect "lo up" ip link set lo up
	expect "rlo up" ip link set rlo up
	measure traffic
}

begin
trap cleanup_bench EXIT
load || skip_all "rnetns does not load"
insmod "$MODULES_DIR/rnetns_bench.ko" || skip_all "rnetns_bench does not load"
run_cases state traffic
