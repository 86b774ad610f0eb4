#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rules and routes that look at more than a packet's addresses and device. Mark and service are in the
# key of an entry, so they lead to entries side by side. While a rule looks at anything else, nothing
# is cached. Table 101 has the route to alt.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# The route depends only on the packet: both entries live side by side, and nothing is invalidated.
a_rule_on_the_mark() {
	warm dst
	rule add fwmark 0 lookup 101
	now "a rule on no mark"
	exchange alt 3
	rule del fwmark 0 lookup 101
	rule add fwmark 1 lookup 101
	mark_from_now 2
	warm dst
	mark_from_now 1
	now "the mark of the rule"
	exchange alt 3
	warm alt
	mark_from_now 2
	now "another mark, seen before"
	exchange dst 3
	expect_since rt hits=6 misses=0
	mark_from_now 1
	now "the mark of the rule, seen before"
	exchange alt 3
	expect_since rt hits=6 misses=0
	rule del fwmark 1 lookup 101
	now "the mark, without a rule"
	exchange dst 3
	no_mark
}

a_rule_on_the_service() {
	warm dst -Q 0x10
	warm dst
	rule add tos 0x10 lookup 101
	now "the service of the rule"
	exchange alt 3 -Q 0x10
	warm alt -Q 0x10
	now "another"
	warm dst
	warm dst -Q 0x08
	now "the service of the rule, seen before"
	exchange alt 3 -Q 0x10
	expect_since rt hits=6 misses=0
	rule del tos 0x10 lookup 101
	now "the service, without a rule"
	exchange dst 3 -Q 0x10
}

# The bits of congestion control are not part of the service.
congestion_bits() {
	warm dst
	now "marked as congested"
	exchange dst 3 -Q 0x03
	expect_since rt hits=6 misses=0
}

a_route_for_a_service() {
	warm dst -Q 0x10
	route add "$TARGET" tos 0x10 via "$ALT"
	now "the service of the route"
	exchange alt 3 -Q 0x10
	warm alt -Q 0x10
	now "another"
	warm dst
	route del "$TARGET" tos 0x10 via "$ALT"
	now "the route is gone"
	exchange dst 3 -Q 0x10
}

# While rules look at something that is not in the key, nothing is cached, and old entries are not
# used.
a_rule_on_the_protocol() {
	local proto=icmp
	[ "$family" = 6 ] && proto=ipv6-icmp
	warm dst
	rule add ipproto "$proto" lookup 101
	now "the protocol of the rule"
	exchange alt 3
	expect_since rt hits=0 inserts=0
	expect_since_at_least rt uncacheable=6
	rule del ipproto "$proto" lookup 101
	warm dst
}

# at_port NAME PORT: three packets to a UDP port of the target arrive there.
at_port() {
	local value before
	knocks "$1"
	before=$value
	in_netns src bash -c 'for i in 1 2 3; do echo >"/dev/udp/$1/$2"; done' - "$TARGET" "$2"
	wait_until have_knocked $((before + 3)) "$1" || fail "no packets to port $2 at $1 ($what)"
	knocks "$1"
	expect_equal "packets to port $2 at $1 ($what)" $((value - before)) 3
}

a_rule_on_the_port() {
	now "no rule"
	at_port dst 5001
	at_port dst 5002
	rule add ipproto udp dport 5001 lookup 101
	now "a rule on the port"
	at_port alt 5001
	at_port dst 5002
	at_port alt 5001
	rule del ipproto udp dport 5001 lookup 101
	now "no rule any more"
	at_port dst 5001
	warm dst
}

for_each_family \
	a_rule_on_the_mark \
	a_rule_on_the_service \
	a_rule_on_the_protocol \
	a_rule_on_the_port
for_family 4 a_route_for_a_service congestion_bits

begin_route_cache bash tc
run_cases "${cases[@]}" no_entry_is_lost
