#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Whether the source of a packet is valid: rp_filter, martians, settings of a device. A packet that
# would be dropped without the cache is dropped with it, and counted once.
#
# src has addresses that rt expects elsewhere: 10.66.0.1, by c; 10.0.1.1, which is rt's own; and one
# of 127.0.0.0/8.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

topology() {
	router rt src dst alt
	set_in src net.ipv4.conf.e.route_localnet=1
	batch_in src <<-END
		addr add 10.66.0.1/32 dev lo
		addr add 10.0.1.1/32 dev lo
	END
	batch_in rt <<-END
		route add 10.66.0.0/24 via 10.0.3.2
	END
}

SPOOFED=10.66.0.1

# one_way NAME COUNT [OPTION...]: packets without answers, since the answers go elsewhere.
one_way() {
	arrive "$1" "$2" -W 0.1 "${@:3}"
}

# warm_one_way NAME [OPTION...]: the answers go to alt, back by the default route there, and are then
# dropped.
warm_one_way() {
	now "warming up, one way"
	one_way "$1" 2 "${@:2}"
	now "warm, one way"
	one_way "$1" 10 "${@:2}"
	expect_since_at_least rt hits=10
}

# rp_filter VALUE: sets it on a.
rp_filter() {
	set_in rt net.ipv4.conf.a.rp_filter="$1"
	now "rp_filter=$1"
}

# refused_by_rp_filter COUNT: packets are refused, and each is counted.
refused_by_rp_filter() {
	local value before
	snmp rt netstat TcpExt IPReversePathFilter
	before=$value
	one_way nobody "$1" -I "$SPOOFED"
	expect_since rt hits=0
	snmp rt netstat TcpExt IPReversePathFilter
	expect_equal "IPReversePathFilter ($what)" $((value - before)) "$1"
}

a_spoofed_source_under_rp_filter() {
	warm_one_way dst -I "$SPOOFED"
	rp_filter 1
	refused_by_rp_filter 3
	refused_by_rp_filter 3
	rp_filter 2
	one_way dst 3 -I "$SPOOFED"
	warm_one_way dst -I "$SPOOFED"
	rp_filter 1
	refused_by_rp_filter 3
	rp_filter 0
	one_way dst 3 -I "$SPOOFED"
	set_in rt net.ipv4.conf.all.rp_filter=1
	now "all.rp_filter=1"
	refused_by_rp_filter 3
	set_in rt net.ipv4.conf.all.rp_filter=0
	now "all.rp_filter=0"
	one_way dst 3 -I "$SPOOFED"
}

a_valid_source_under_rp_filter() {
	rp_filter 1
	warm dst
	rp_filter 0
	warm dst
}

# The route back decides: where it leads, and whether there is one at all.
the_way_back_under_rp_filter() {
	rp_filter 1
	refused_by_rp_filter 3
	route replace 10.66.0.0/24 via "$SRC"
	now "the way back is by a"
	exchange dst 2 -I "$SPOOFED"
	now "warm"
	exchange dst 10 -I "$SPOOFED"
	expect_since rt hits=20 misses=0
	route replace 10.66.0.0/24 via "$ALT"
	now "the way back is by c"
	refused_by_rp_filter 3
	rp_filter 2
	warm_one_way dst -I "$SPOOFED"
	route del 10.66.0.0/24
	now "no way back"
	refused_by_rp_filter 3
	rp_filter 0
	route add 10.66.0.0/24 via "$ALT"
}

# The stack does not tell of a member of a group that goes, and the source is valid by that one alone.
a_way_back_by_a_group_of_next_hops() {
	nexthop add id 7 via "$SRC" dev a
	nexthop add id 8 via "$ALT" dev c
	expect "group" ip_in rt nexthop add id 9 group 7/8
	route replace 10.66.0.0/24 nhid 9
	rp_filter 1
	one_way dst 3 -I "$SPOOFED"
	one_way dst 3 -I "$SPOOFED"
	nexthop del id 7
	now "no member by a"
	refused_by_rp_filter 3
	rp_filter 0
	remove_topology
}

a_source_that_is_our_own() {
	now "rt's own"
	one_way nobody 3 -I "$RT"
	set_in rt net.ipv4.conf.a.accept_local=1
	now "accept_local=1"
	one_way dst 3 -I "$RT"
	one_way dst 3 -I "$RT"
	expect_since_at_least rt hits=3
	set_in rt net.ipv4.conf.a.accept_local=0
	now "accept_local=0"
	one_way nobody 3 -I "$RT"
	expect_since rt hits=0
}

# An address becomes the machine's own: packets from it are not from another host any more.
a_source_that_becomes_our_own() {
	warm_one_way dst -I "$SPOOFED"
	addr add "$SPOOFED"/32 dev lo
	now "an address of rt"
	one_way nobody 3 -I "$SPOOFED"
	expect_since rt hits=0
	addr del "$SPOOFED"/32 dev lo
	now "an address of rt no more"
	one_way dst 3 -I "$SPOOFED"
}

a_martian_source() {
	now "127.0.0.5"
	one_way nobody 3 -I 127.0.0.5
	one_way nobody 3 -I 127.0.0.5
	expect_since rt hits=0 inserts=0
}

# Each martian packet is logged once.
a_martian_that_is_logged() {
	local before after
	set_in rt net.ipv4.conf.a.log_martians=1
	rp_filter 1
	before=$(dmesg | grep -c "martian source")
	now "log_martians=1"
	refused_by_rp_filter 3
	after=$(dmesg | grep -c "martian source")
	case $((after - before)) in
	3) ;;
	0) skip "the kernel does not tell of martians (CONFIG_IP_ROUTE_VERBOSE)" ;;
	*) fail "3 martians are told of in $((after - before)) lines" ;;
	esac
	rp_filter 0
	set_in rt net.ipv4.conf.a.log_martians=0
}

# The way back to the source is in a table for marked packets alone, and packets are marked.
mark_decides() {
	rule add fwmark 1 lookup 66
	route add 10.66.0.0/24 via "$SRC" table 66
	route add "$TARGET" via "$DST" table 66
	mark_from_now 1
	rp_filter 1
}

mark_decides_no_more() {
	no_mark
	rule del fwmark 1 lookup 66
	route flush table 66
}

# With this setting, the route back is looked up with the mark of the packet.
a_source_that_the_mark_makes_valid() {
	mark_decides
	now "src_valid_mark=0"
	refused_by_rp_filter 3
	set_in rt net.ipv4.conf.a.src_valid_mark=1
	now "src_valid_mark=1"
	one_way dst 3 -I "$SPOOFED"
	one_way dst 3 -I "$SPOOFED"
	set_in rt net.ipv4.conf.a.src_valid_mark=0
	now "src_valid_mark=0 again"
	refused_by_rp_filter 3
	rp_filter 0
	mark_decides_no_more
}

# Any value but 0 is "on", and any value of rp_filter but 0 and 1 is "loose".
settings_below_zero() {
	mark_decides
	set_in rt net.ipv4.conf.a.src_valid_mark=-1
	now "src_valid_mark=-1"
	one_way dst 3 -I "$SPOOFED"
	set_in rt net.ipv4.conf.a.src_valid_mark=0
	now "src_valid_mark=0"
	refused_by_rp_filter 3
	mark_decides_no_more
	route del 10.66.0.0/24
	rp_filter 0
	warm_one_way dst -I "$SPOOFED"
	set_in rt net.ipv4.conf.all.rp_filter=-1
	rp_filter -1
	refused_by_rp_filter 3
	set_in rt net.ipv4.conf.all.rp_filter=0
	rp_filter 0
	route add 10.66.0.0/24 via "$ALT"
}

# The setting of one device, which the others do not share.
forwarding_of_a_device() {
	warm dst
	set_in rt net.ipv4.conf.a.forwarding=0
	now "a.forwarding=0"
	refused 3
	set_in rt net.ipv4.conf.a.forwarding=1
	now "a.forwarding=1"
	exchange dst 3
}

# The same by a route, where sources are not checked. The route that was there before was never looked
# up, since nothing is answered: so the stack notes no change of it. The stack always looks sources up in
# a namespace that has had a rule or such a route once, so this needs one that has not.
a_source_that_a_route_makes_our_own() {
	remove_topology
	topology
	set_in dst net.ipv4.icmp_echo_ignore_all=1
	warm_one_way dst -I "$SPOOFED"
	route replace local 10.66.0.0/24 dev lo table main
	now "a local route"
	one_way nobody 3 -I "$SPOOFED"
	expect_since rt hits=0
	remove_topology
}

for_family 4 \
	a_spoofed_source_under_rp_filter \
	a_valid_source_under_rp_filter \
	the_way_back_under_rp_filter \
	a_way_back_by_a_group_of_next_hops \
	a_source_that_is_our_own \
	a_source_that_becomes_our_own \
	a_martian_source \
	a_martian_that_is_logged \
	a_source_that_the_mark_makes_valid \
	settings_below_zero \
	forwarding_of_a_device \
	a_source_that_a_route_makes_our_own

begin_route_cache dmesg tc
run_cases "${cases[@]}" no_entry_is_lost
