#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each namespace has its own state: events in one namespace show in its figures and in no other's.

. "$(dirname "$0")/lib.sh"

COUNTERS="device_packets device_bytes socket_packets socket_bytes dropped"

# counters INUM: all counters, in one line.
counters() {
	local name
	for name in $COUNTERS; do
		printf '%s=%s ' "$name" "$(figure "$name" "$1")"
	done
}

ZERO=$(for name in $COUNTERS; do printf '%s=0 ' "$name"; done)

# quiet NAME: sets up the device without IPv6, whose own packets would be counted.
quiet() {
	in_netns "$1" sysctl -qw net.ipv6.conf.rlo.disable_ipv6=1
}

# send NAME COUNT: sends packets through the device, from a socket of the namespace. Nobody answers.
send() {
	in_netns "$1" ping -q -c "$2" -i 0.01 -W 0.1 -s 56 192.0.2.2 >/dev/null
	true
}

# prepare NAME: makes packets to 192.0.2.2 leave by the device.
prepare() {
	quiet "$1"
	expect "up" ip_in "$1" link set rlo up
	expect "address" ip_in "$1" addr add 192.0.2.1/32 dev rlo
	expect "route" ip_in "$1" route add 192.0.2.2/32 dev rlo
}

a_new_namespace_begins_afresh() {
	local inum
	add_netns old
	prepare old
	send old 3
	next_generation "pid 1"
	add_netns new
	inum=$(inum new)
	expect_equal "generation" "$(figure generation "$inum")" 1
	expect_equal "counters" "$(counters "$inum")" "$ZERO"
	expect_at_least "age of the older one" "$(figure age_ns "$(inum old)")" \
		"$(figure age_ns "$inum")"
	del_netns old new
}

packets_are_counted_in_their_namespace_alone() {
	local a b init
	add_netns a b
	a=$(inum a) b=$(inum b) init=$(inum)
	prepare a
	prepare b
	local init_before
	init_before=$(counters "$init")
	send a 5
	# 14 bytes of Ethernet, 20 of IPv4, 8 of ICMP, 56 of data.
	expect_equal "a" "$(counters "$a")" \
		"device_packets=5 device_bytes=490 socket_packets=5 socket_bytes=490 dropped=0 "
	expect_equal "b" "$(counters "$b")" "$ZERO"
	send b 2
	expect_equal "a, later" "$(figure device_packets "$a")" 5
	expect_equal "b, later" "$(counters "$b")" \
		"device_packets=2 device_bytes=196 socket_packets=2 socket_bytes=196 dropped=0 "
	expect_equal "the initial namespace" "$(counters "$init")" "$init_before"
	del_netns a b
}

ethtool_shows_the_figures_of_its_namespace() {
	local name
	add_netns a b
	prepare a
	send a 4
	for name in $COUNTERS generation; do
		expect_equal "$name of a" "$(ethtool_figure a "$name")" "$(figure "$name" "$(inum a)")"
		expect_equal "$name of b" "$(ethtool_figure b "$name")" "$(figure "$name" "$(inum b)")"
	done
	expect_equal "packets of a" "$(ethtool_figure a device_packets)" 4
	del_netns a b
}

# ethtool_figure NAMESPACE NAME
ethtool_figure() {
	in_netns "$1" ethtool -S rlo | awk -v name="$2:" '$1 == name { print $2 }'
}

age_grows_from_creation() {
	local inum before after elapsed
	add_netns a
	inum=$(inum a)
	before=$(figure age_ns "$inum")
	sleep 0.2
	after=$(figure age_ns "$inum")
	elapsed=$((after - before))
	expect_at_least "growth in 0.2 s" "$elapsed" 200000000
	expect_at_least "age at first" "$before" 1
	# Created a moment ago, long after the machine and the module.
	expect_at_least "age of the initial namespace" "$(figure age_ns "$(inum)")" "$after"
	del_netns a
}

next_generation_by_pid_means_the_process_namespace() {
	local a b pid
	add_netns a b
	a=$(inum a) b=$(inum b)
	ip netns exec "${PREFIX}a" sleep infinity &
	pid=$!
	wait_until is_in "$pid" "$a" ||
		fail "the process did not come to its namespace"
	local init_before
	init_before=$(figure generation "$(inum)")
	expect "next generation" next_generation "pid $pid"
	expect "once more" next_generation "pid $pid"
	kill "$pid"
	wait "$pid" 2>/dev/null
	expect_equal "a" "$(figure generation "$a")" 3
	expect_equal "b" "$(figure generation "$b")" 1
	expect_equal "the initial namespace" "$(figure generation "$(inum)")" "$init_before"
	del_netns a b
}

next_generation_by_fd_means_the_open_namespace() {
	local a b init_before
	add_netns a b
	a=$(inum a) b=$(inum b)
	init_before=$(figure generation "$(inum)")
	exec 9<"/run/netns/${PREFIX}b"
	expect "next generation" next_generation "fd 9"
	exec 9<&-
	expect_equal "b" "$(figure generation "$b")" 2
	expect_equal "a" "$(figure generation "$a")" 1
	expect_equal "the initial namespace" "$(figure generation "$(inum)")" "$init_before"
	del_netns a b
}

# The kernel has code of the module to call when a file is closed.
a_file_that_is_open_keeps_the_module() {
	exec 9<"$DEBUGFS/namespaces"
	expect_refused "is in use" unload
	exec 9<&-
	exec 9>"$DEBUGFS/next_generation"
	expect_refused "is in use" unload
	exec 9<&-
	expect "unload" unload
	expect "load" load
}

wrong_input_is_refused() {
	local before mine
	add_netns beside
	mine=("$(inum)" "$(inum beside)")
	before=$(generations "${mine[@]}")
	expect_refused "Invalid argument" next_generation $'\n'
	expect_refused "Invalid argument" next_generation "pid"
	expect_refused "Invalid argument" next_generation "pid 1 2"
	expect_refused "Invalid argument" next_generation "pid one"
	expect_refused "Invalid argument" next_generation "pid 99999999999"
	expect_refused "Invalid argument" next_generation "net 1"
	expect_refused "Invalid argument" next_generation $'pid \xff'
	expect_refused "Argument list too long" next_generation "pid 1$(printf '%40s' '')"
	expect_refused "No such process" next_generation "pid 0"
	expect_refused "No such process" next_generation "pid 4194305"
	expect_refused "No such process" next_generation "pid -1"
	expect_refused "Bad file descriptor" next_generation "fd 200"
	expect_refused "Invalid argument" next_generation "fd 0" </dev/null
	exec 9</proc/self/ns/uts
	expect_refused "Invalid argument" next_generation "fd 9"
	exec 9<&-
	expect_equal "generations" "$(generations "${mine[@]}")" "$before"
	# The same command without a mistake works.
	expect "with a newline, as echo writes it" next_generation $'pid 1\n'
	[ "$(generations "${mine[@]}")" != "$before" ] || fail "a correct command had no effect either"
	del_netns beside
}

state_goes_with_its_namespace() {
	local inum
	add_netns gone
	inum=$(inum gone)
	has_state "$inum" || fail "no state at first"
	del_netns gone
	wait_until has_no_state "$inum" || fail "the state is still listed"
	expect_netns_gone
}

# A namespace in a user namespace is like any other; its files belong to root.
an_unprivileged_namespace_has_state_too() {
	local out
	out=$(setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Urn sh -c '
		ip link set rlo up && ip -o link show rlo
		ethtool -S rlo
		echo "pid 1" 2>&1 >'"$DEBUGFS"'/next_generation' 2>&1)
	if [[ $out == *"unshare failed"* ]]; then
		skip "no unprivileged user namespaces: $out"
		return
	fi
	[[ $out == *rlo*UP* ]] || fail "no device that comes up: $out"
	[[ $out == *"generation: 1"$'\n'* ]] || fail "no state, or one that is not its own: $out"
	[[ $out == *"ermission denied"* ]] || fail "the files are open to everyone: $out"
}

# index_of NAME DEVICE
index_of() {
	ip_in "$1" -o link show dev "$2" | cut -d : -f 1
}

# Programs count on the index of the first device that is made in a namespace, or ask for one.
the_first_device_has_the_index_that_it_has_without_the_module() {
	add_netns first chosen
	expect "first" ip_in first link add name d0 type dummy
	expect_equal "index of the first device" "$(index_of first d0)" 2
	expect "second" ip_in first link add name d1 type dummy
	expect_equal "index of the second device" "$(index_of first d1)" 3
	expect "an index of choice" ip_in chosen link add name d0 index 2 type dummy
	expect_equal "index that was chosen" "$(index_of chosen d0)" 2
	del_netns first chosen
}

# With its index taken, the device has another.
the_device_comes_where_its_index_is_taken() {
	local index
	index=$(ip -o link show dev rlo | cut -d : -f 1)
	unload
	add_netns taken
	expect "taken" ip_in taken link add name d0 index "$index" type dummy
	expect "load" load
	has_rlo taken || fail "no device"
	del_netns taken
}

# rlo=N: the rest works without the device.
without_the_device_there_is_the_rest() {
	unload
	add_netns older
	expect "load" load rlo=N
	add_netns younger
	for name in older younger; do
		has_rlo "$name" && fail "the $name namespace has a device"
		has_state "$(inum "$name")" || fail "the $name namespace has no state"
		grep -q "^$(inum "$name") .* enabled=1" "$DEBUGFS"/route_cache ||
			fail "the $name namespace has no cache: $(<"$DEBUGFS"/route_cache)"
	done
	has_rlo && fail "the initial namespace has a device"
	del_netns older younger
	unload
	expect "load" load
	has_rlo || fail "no device by default"
}

begin ethtool ping setpriv unshare sysctl
load || skip_all "the module does not load"
run_cases \
	a_new_namespace_begins_afresh \
	packets_are_counted_in_their_namespace_alone \
	ethtool_shows_the_figures_of_its_namespace \
	age_grows_from_creation \
	next_generation_by_pid_means_the_process_namespace \
	next_generation_by_fd_means_the_open_namespace \
	a_file_that_is_open_keeps_the_module \
	wrong_input_is_refused \
	state_goes_with_its_namespace \
	an_unprivileged_namespace_has_state_too \
	the_first_device_has_the_index_that_it_has_without_the_module \
	the_device_comes_where_its_index_is_taken \
	without_the_device_there_is_the_rest
