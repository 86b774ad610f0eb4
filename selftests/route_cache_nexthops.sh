#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Routes with next hops of their own, or next hop objects, one or several, alive or dead. Each case
# fills the cache, changes a next hop, and checks where the very next packets go.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# warm_object NAME: IPv6 routes with next hop objects are not cached, since an object may become a
# group without notice.
warm_object() {
	case $family in
	4) warm "$1" ;;
	6)
		now "not to be kept"
		exchange "$1" 3
		exchange "$1" 3
		expect_since_at_least rt uncacheable=3
		;;
	esac
}

a_nexthop_object() {
	nexthop add id 7 via "$DST" dev b
	nexthop add id 8 via "$ALT" dev c
	route replace "$NET" nhid 7
	warm_object dst
	nexthop replace id 7 via "$ALT" dev c
	now "another next hop by that number"
	exchange alt 3
	warm_object alt
	nexthop replace id 7 blackhole
	now "a blackhole by that number"
	refused 3
	nexthop replace id 7 via "$DST" dev b
	warm_object dst
	route replace "$NET" nhid 8
	now "by another number"
	exchange alt 3
	warm_object alt
	nexthop del id 8
	now "the next hop is deleted, and the route with it"
	refused 3
	# Many packets were looked up in vain by now. The next case begins anew.
	remove_topology
}

a_nexthop_group() {
	nexthop add id 7 via "$DST" dev b
	nexthop add id 8 via "$ALT" dev c
	expect "group" ip_in rt nexthop add id 9 group 7
	route replace "$NET" nhid 9
	now "a group of one"
	exchange dst 3
	exchange dst 3
	expect "group" ip_in rt nexthop replace id 9 group 8
	now "another in the group"
	exchange alt 3
	expect "group" ip_in rt nexthop replace id 9 group 7/8
	several_ways
	nexthop del id 7
	now "one of two is left"
	exchange alt 3
	remove_topology
}

# With ports in the hash, flows with the same addresses can take different routes.
several_ways() {
	local dst alt value
	set_in rt net.ipv"$family".fib_multipath_hash_policy=1
	knocks dst
	dst=$value
	knocks alt
	alt=$value
	mark rt
	in_netns src bash -c 'for i in {1..30}; do echo >"/dev/udp/$1/$((5000 + i))"; done' - "$TARGET"
	wait_until have_knocked $((dst + alt + 30)) dst alt
	knocks dst
	dst=$((value - dst))
	knocks alt
	alt=$((value - alt))
	expect_equal "packets that arrived" $((dst + alt)) 30
	expect_at_least "packets at dst" "$dst" 1
	expect_at_least "packets at alt" "$alt" 1
	expect_since_at_least rt uncacheable=30
}

several_next_hops() {
	warm dst
	route replace "$NET" nexthop via "$DST" nexthop via "$ALT"
	several_ways
	route replace "$NET" via "$ALT"
	now "a single one"
	exchange alt 3
	warm alt
	remove_topology
}

# A rule may pass over a route after one of its next hops was chosen, by what else is in the packet. What
# is taken instead is then right for this packet alone. Flow labels, which differ for each flow, are in
# the key where there are rules.
several_next_hops_that_a_rule_passes_over() {
	local before value
	set_in src net.ipv6.auto_flowlabels=0
	expect "group of devices" ip_in rt link set dev b group 5
	route add "$NET" table 102 nexthop via "$DST" nexthop via "$ALT"
	rule add pref 10 to "$TARGET" lookup 102 suppress_ifgroup 5
	now "some by dst, after all"
	several_ways
	knocks alt
	before=$value
	now "the same again"
	several_ways
	knocks alt
	expect_at_least "packets at alt ($what)" $((value - before)) 1
	remove_topology
}

# Routes by a device without carrier are passed over, if the setting says so.
a_carrier_that_is_lost() {
	route add "$NET" via "$ALT" metric 2000
	set_in rt net.ipv"$family".conf.{all,b}.ignore_routes_with_linkdown=1
	warm dst
	expect "link down" ip_in dst link set dev e down
	wait_until eval '[[ $(ip_in rt link show b) == *NO-CARRIER* ]]' || fail "no loss of carrier"
	now "without carrier"
	exchange alt 3
	warm alt
	far 2 e | batch_in dst
	wait_until eval '[[ $(ip_in rt link show b) != *NO-CARRIER* ]]' || fail "no carrier"
	now "with carrier"
	exchange dst 3
	route del "$NET" via "$ALT"
	set_in rt net.ipv"$family".conf.{all,b}.ignore_routes_with_linkdown=0
}

forwarding_that_is_switched_off() {
	local setting=net.ipv4.ip_forward
	[ "$family" = 6 ] && setting=net.ipv6.conf.all.forwarding
	warm dst
	set_in rt "$setting"=0
	now "not forwarding"
	arrive nobody 3 -W 0.3
	set_in rt "$setting"=1
	now "forwarding"
	exchange dst 3
}

for_each_family \
	a_nexthop_object \
	a_carrier_that_is_lost \
	forwarding_that_is_switched_off \
	a_nexthop_group \
	several_next_hops
for_family 6 several_next_hops_that_a_rule_passes_over

begin_route_cache bash
run_cases "${cases[@]}" no_entry_is_lost
