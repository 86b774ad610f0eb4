#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# With init_net_only=1, the module refuses to work in any namespace but the initial one, and says
# so: no device, no state, an error. It never falls back to the initial namespace.

. "$(dirname "$0")/lib.sh"

REFUSED="Address family not supported by protocol"

# log_lines INUM: how often the log says that the namespace was refused.
log_lines() {
	dmesg | grep -c "rnetns: namespace $1 refused: loaded with init_net_only=1"
}

other_namespaces_have_neither_device_nor_state() {
	local inum
	# One namespace is older than the module, one younger.
	add_netns younger
	for name in older younger; do
		inum=$(inum "$name")
		has_rlo "$name" && fail "the $name namespace has a device"
		has_state "$inum" && fail "the $name namespace has state"
	done
	expect_equal "namespaces with state" "$(cut -d ' ' -f 1 "$DEBUGFS/namespaces")" "$(inum)"
	del_netns younger
}

the_initial_namespace_works() {
	local before
	has_rlo || fail "no device"
	before=$(figure generation "$(inum)")
	expect "next generation" next_generation "pid 1"
	expect_equal "generation" "$(figure generation "$(inum)")" $((before + 1))
	expect_equal "ethtool" "$(ethtool -S rlo | awk '$1 == "generation:" { print $2 }')" $((before + 1))
}

other_namespaces_are_refused_by_name() {
	local pid before inum
	inum=$(inum older)
	before=$(cut -d ' ' -f 1,3- "$DEBUGFS/namespaces")
	exec 9<"/run/netns/${PREFIX}older"
	expect_refused "$REFUSED" next_generation "fd 9"
	exec 9<&-
	ip netns exec "${PREFIX}older" sleep infinity &
	pid=$!
	wait_until is_in "$pid" "$inum" || fail "the process did not come to its namespace"
	expect_refused "$REFUSED" next_generation "pid $pid"
	kill "$pid"
	wait "$pid" 2>/dev/null
	expect_equal "the initial namespace's figures" "$(cut -d ' ' -f 1,3- "$DEBUGFS/namespaces")" "$before"
	expect_at_least "lines in the log" "$(log_lines "$inum")" 1
}

# Over netlink, the refusal of a request and the end of a dump say why.
other_namespaces_are_told_why_over_netlink() {
	local why="the module works in the initial namespace only" operation words
	if ! has_rnetnsctl; then
		skip "neither rnetnsctl nor ynl can be had"
		return
	fi
	for operation in stats dump flush "flush --dst 10.0.0.0/8" "set --quota 5" "set --enable off"; do
		read -ra words <<<"$operation"
		expect_refused "$why" in_netns older rnetnsctl "${words[@]}"
		expect_refused "$REFUSED" in_netns older rnetnsctl "${words[@]}"
	done
	expect "the initial namespace" rnetnsctl stats
	expect "the initial namespace" rnetnsctl dump
}

# The kernel's limit is net_ratelimit(): 10 messages in 5 seconds, whoever they are from. So there may
# be none at first; and so many refusals are made that not all of them can be told, however long they
# take.
the_log_line_is_rate_limited() {
	local inum lines allowed from=$SECONDS refused=0 accepted=0
	add_netns loud
	inum=$(inum loud)
	exec 9<"/run/netns/${PREFIX}loud"
	for ((allowed = 50; refused < 2 * allowed && SECONDS - from < PATIENCE; )); do
		for _ in {1..100}; do
			next_generation "fd 9" 2>/dev/null && accepted=$((accepted + 1))
		done
		refused=$((refused + 100))
		# The last period may have begun just now, and the first one before.
		allowed=$((10 * ((SECONDS - from) / 5 + 2)))
	done
	expect_equal "accepted" "$accepted" 0
	lines=$(log_lines "$inum")
	[ "$lines" -le "$allowed" ] || fail "$lines lines in the log for $refused refusals, want $allowed at most"
	[ "$allowed" -lt "$refused" ] || fail "$refused refusals in $((SECONDS - from)) s show nothing"
	wait_until is_told "$inum" || fail "no line in the log"
	exec 9<&-
	del_netns loud
}

# is_told INUM: the log says, sooner or later, that the namespace was refused.
is_told() {
	next_generation "fd 9" 2>/dev/null
	[ "$(log_lines "$1")" -ge 1 ]
}

the_parameter_takes_no_nonsense() {
	unload
	expect_refused "Invalid parameters" load init_net_only=maybe
	loaded && fail "loaded all the same"
	expect "load" load init_net_only=1
}

without_it_the_same_namespace_is_served() {
	unload
	expect "load" load init_net_only=0
	has_rlo older || fail "no device"
	exec 9<"/run/netns/${PREFIX}older"
	expect "next generation" next_generation "fd 9"
	exec 9<&-
	expect_equal "generation" "$(figure generation "$(inum older)")" 2
}

begin dmesg ethtool sleep
add_netns older
load init_net_only=1 || skip_all "the module does not load"
run_cases \
	other_namespaces_have_neither_device_nor_state \
	the_initial_namespace_works \
	other_namespaces_are_refused_by_name \
	other_namespaces_are_told_why_over_netlink \
	the_log_line_is_rate_limited \
	the_parameter_takes_no_nonsense \
	without_it_the_same_namespace_is_served
