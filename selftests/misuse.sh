#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What safe code may do with the abstractions though it should not: rnetns_bench does it, and nothing
# may break. The kernel log is judged, too.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench_lib.sh"

MISUSE=/sys/kernel/debug/rnetns_misuse

# misuse NAME
misuse() {
	echo "$1" >"$MISUSE/run" || fail "'$1' was not refused"
}

hooks_that_are_others_each_time_all_go() {
	add_netns a
	misuse hooks
	del_netns a
}

# hooked: a packet in the namespace a, and how many its hook has seen.
hooked() {
	expect "ping" in_netns a ping -c 1 -W "$PATIENCE" 127.0.0.1
	cat "$MISUSE/hooked"
}

hooks_do_not_come_back_when_their_registration_has_ended() {
	local before
	add_netns a
	ip_in a link set lo up
	misuse hook
	expect_at_least "packets that the hook has seen" "$(hooked)" 1
	misuse unhook
	before=$(hooked)
	misuse "switch late"
	expect_equal "packets that the hook has seen" "$(hooked)" "$before"
	misuse "forget hooks"
	del_netns a
}

hooks_do_not_come_back_when_their_namespace_has_ended() {
	add_netns a
	misuse hook
	del_netns a
	expect_netns_gone
	misuse "switch late"
	misuse "forget hooks"
}

# kept NAME: a number of what is held.
kept() {
	sed -n "s/^$1=//p" "$MISUSE/kept"
}

is_held() {
	in_netns a ping -6 -c 1 -W 1 ::1 >/dev/null 2>&1
	[ "$(kept held)" = 1 ]
}

waits() {
	[ "$(kept ended)" != 0 ] || dmesg | grep -q "end of a namespace waits for IPv6 destinations"
}

has_ended() {
	[ "$(kept ended)" = 1 ]
}

a_namespace_does_not_end_before_its_destinations_are_given_back() {
	add_netns a
	misuse keep
	ip_in a link set lo up
	wait_until is_held
	del_netns a
	wait_until waits
	expect_equal "namespaces that ended" "$(kept ended)" 0
	misuse "give back"
	wait_until has_ended
	expect_equal "namespaces that ended early" "$(kept early)" 0
	misuse forget
}

a_namespace_can_be_asked_about_ipv6() {
	misuse settings
}

# watched NAME: a number of what was seen of a device.
watched() {
	sed -n "s/^$1=//p" "$MISUSE/watched"
}

a_watcher_sees_devices_that_are_registered() {
	misuse watch
	ip link add name misuse index 4242 type dummy || fail "no dummy device"
	ip link set dev misuse up
	ip link del misuse
	misuse "look away"
	expect_at_least "events" "$(watched seen)" 3
	expect_equal "events of a device that nobody finds" "$(watched hidden)" 0
}

# has_repeated COUNT
has_repeated() {
	[ "$(watched repeats)" -ge "$1" ]
}

# keep_waiting DELETES: whoever holds a device that goes, the core waits for, and tells the log after a while.
keep_waiting() {
	local setting=/proc/sys/net/core/netdev_unregister_timeout_secs
	local before
	before=$(<$setting)
	echo 3600 >$setting
	ip link add name misuse index 4242 type dummy || fail "no dummy device"
	misuse hold
	"$@"
	misuse "let go"
	wait $! || fail "the device is not removed"
	echo "$before" >$setting
}

goes_and_is_told_of() {
	ip link del misuse &
	wait_until has_repeated 2 || fail "the core does not repeat that the device goes"
	expect_equal "times that the device has gone" "$(watched gone)" 1
}

# The core says each second to all that the device goes: by then its namespace may be gone, and its
# index may be that of another device.
a_watcher_hears_once_that_a_device_goes() {
	misuse watch
	keep_waiting goes_and_is_told_of
	misuse "look away"
}

goes_and_is_asked() {
	expect_equal "namespace of a device" "$(watched netns)" "$(stat -Lc %i /proc/self/ns/net)"
	ip link del misuse &
	wait_until has_repeated 1 || fail "the core does not repeat that the device goes"
	expect_equal "namespace of a device that is gone" "$(watched netns)" 0
}

# A namespace does not wait for the devices that have left it, whoever holds them.
a_device_that_goes_leads_to_no_namespace() {
	keep_waiting goes_and_is_asked
}

# The kernel takes for granted that there are some where it can ask for them.
a_device_need_not_have_figures() {
	misuse null
	expect_refused "not supported" "$(dirname "$0")/ethtool_figures" null0
	misuse "no null"
}

a_device_sends_no_larger_packets_than_user_space_could_ask_for() {
	misuse null
	expect_equal "mtu" "$(</sys/class/net/null0/mtu)" $((2**31 - 1))
	misuse "no null"
}

# packets_sent
packets_sent() {
	ip -j -s link show dev null0 | sed -E 's/.*"tx":\{"bytes":[0-9]*,"packets":([0-9]*).*/\1/'
}

# get_link counts a packet. A kernel that checks preemption sees on which CPU.
a_device_counts_in_process_context() {
	local before
	misuse null
	ip link set dev null0 up
	before=$(packets_sent)
	ethtool null0 >/dev/null || fail "ethtool gets no answer"
	expect_at_least "packets" "$(packets_sent)" $((before + 1))
	misuse "no null"
}

nobody_is_told_by_a_group_that_is_not_there() {
	misuse group
}

# After the initialisation of its module, the memory of a family is read-only.
a_family_is_not_registered_too_late() {
	misuse register
}

packets_are_as_large_as_asked_for_or_not_made() {
	misuse packets
}

begin_bench
run_cases hooks_that_are_others_each_time_all_go \
	hooks_do_not_come_back_when_their_registration_has_ended \
	hooks_do_not_come_back_when_their_namespace_has_ended \
	a_namespace_does_not_end_before_its_destinations_are_given_back \
	a_watcher_sees_devices_that_are_registered a_watcher_hears_once_that_a_device_goes \
	a_device_that_goes_leads_to_no_namespace \
	a_device_need_not_have_figures \
	a_device_sends_no_larger_packets_than_user_space_could_ask_for \
	a_device_counts_in_process_context \
	nobody_is_told_by_a_group_that_is_not_there a_family_is_not_registered_too_late \
	a_namespace_can_be_asked_about_ipv6 packets_are_as_large_as_asked_for_or_not_made
