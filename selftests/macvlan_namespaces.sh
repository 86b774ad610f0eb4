#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The namespace of a packet is that of the device which it passes. A per-CPU "current namespace" cannot
# replace that. A macvlan whose lower device is in another namespace shows why: between the two devices
# nothing sets it. rnetns_bench counts how often each way is right, in both directions.
#
#     peer (namespace C) ===veth=== lower (A) --- upper, a macvlan (B)

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench_lib.sh"

WATCH=/sys/kernel/debug/rnetns_bench
PINGS=5
# Requests one way, answers the other, each way seen at both devices.
LEAST=$((2 * 2 * PINGS))

# The experiment holds devices in the namespaces, so it must end before they do.
cleanup_watch() {
	if [ -n "$holders" ]; then kill $holders 2>/dev/null; fi
	cleanup_bench
}

# holder NAME: starts a process in the namespace, so that its pid can name the namespace.
holder() {
	ip netns exec "$PREFIX$1" sleep infinity &
	holders="$holders $!"
	wait_until is_in $! "$(inum "$1")" || fail "no process in $1"
	pid=$!
}

# Without IPv6, only pings and ARP are on the wire: each packet has a known sender.
plumb() {
	local name
	add_netns a b c
	for name in a b c; do
		expect "settings" in_netns $name sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
			net.ipv6.conf.default.disable_ipv6=1
	done
	expect "veth" ip -n "${PREFIX}a" link add lower type veth peer name peer netns "${PREFIX}c"
	# The macvlan is made beside its lower device, and moved away from it.
	expect "macvlan" ip_in a link add link lower name upper type macvlan mode bridge
	expect "move of the macvlan" ip_in a link set upper netns "$1"
	expect "lower up" ip_in a link set lower up
	expect "peer" ip_in c addr add 192.0.2.1/24 dev peer
	expect "peer up" ip_in c link set peer up
	expect "upper" ip -n "$1" addr add 192.0.2.2/24 dev upper
	expect "upper up" ip -n "$1" link set upper up
}

watch() {
	echo "lower $1 upper $2" >"$WATCH/watch" || fail "cannot watch the devices"
}

# traffic NAME: packets from a process in the namespace of the macvlan, and to it. A neighbour that is
# not there yet takes a second, and the first answers may come late: so ping waits for them.
traffic() {
	expect "ping from above" in_netns "$1" ping -4 -q -c $PINGS -i 0.1 -W $PATIENCE 192.0.2.1
	expect "ping from the peer" in_netns c ping -4 -q -c $PINGS -i 0.1 -W $PATIENCE 192.0.2.2
	wait_until is_quiet || fail "packets go on: $seen"
}

# is_quiet: as many packets as at the last look. A neighbour may ask once more after the last ping.
is_quiet() {
	local before=$seen
	seen=$(cat "$WATCH/attribution")
	[ "$seen" = "$before" ]
}

# count NAME: as they were at the end of the traffic.
count() {
	awk -F= -v name="$1" '$1 == name { print $2 }' <<<"$seen"
}

print_counts() {
	local way direction
	for way in explicit global; do
		for direction in receive transmit; do
			printf '# %s: %s %s: %s right, %s wrong\n' "$1" $way $direction \
				"$(count ${way}_${direction}_right)" "$(count ${way}_${direction}_wrong)"
		done
	done
}

# expect_right WAY DIRECTION: each packet is attributed to its namespace.
expect_right() {
	expect_at_least "packets that $1 attributes rightly on $2" "$(count "$1_$2_right")" $LEAST
	expect_equal "packets that $1 attributes wrongly on $2" "$(count "$1_$2_wrong")" 0
}

holders=
seen=

the_global_is_right_where_both_devices_are_in_one_namespace() {
	local pid direction
	plumb "${PREFIX}a"
	holder a
	watch $pid $pid
	traffic a
	print_counts "one namespace"
	for direction in receive transmit; do
		expect_right explicit $direction
		expect_right global $direction
	done
	printf off >"$WATCH/watch"
	kill $holders
	wait $holders 2>/dev/null
	holders=
	del_netns a b c
}

start_across() {
	local a
	plumb "${PREFIX}b"
	holder a
	a=$pid
	holder b
	watch $a $pid
	traffic b
	print_counts "two namespaces"
}

explicitly_every_packet_is_attributed_rightly() {
	local pid
	start_across
	expect_right explicit receive
	expect_right explicit transmit
}

# The per-CPU namespace is right at the device that set it, and wrong at the other.
the_global_is_wrong_on_receive() {
	expect_at_least "wrong" "$(count global_receive_wrong)" $((2 * PINGS))
}

the_global_is_wrong_on_transmit() {
	expect_at_least "wrong" "$(count global_transmit_wrong)" $((2 * PINGS))
}

# Every packet was judged both ways.
both_ways_judge_the_same_packets() {
	local direction
	for direction in receive transmit; do
		expect_equal "packets judged by the global on $direction" \
			$(($(count global_${direction}_right) + $(count global_${direction}_wrong))) \
			$(($(count explicit_${direction}_right) + $(count explicit_${direction}_wrong)))
	done
}

begin_bench ping sleep
trap cleanup_watch EXIT
run_cases the_global_is_right_where_both_devices_are_in_one_namespace \
	explicitly_every_packet_is_attributed_rightly \
	the_global_is_wrong_on_receive \
	the_global_is_wrong_on_transmit \
	both_ways_judge_the_same_packets
