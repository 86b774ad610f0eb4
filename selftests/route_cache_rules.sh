#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Policy rules and the route cache: adding or removing a rule takes effect from the next packet on.
# Table 101 has the route to alt.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# comes_and_goes RULE...: packets go to alt while there is the rule, and to dst again afterwards.
comes_and_goes() {
	warm dst
	rule add "$@" lookup 101
	now "with the rule $*"
	exchange alt 3
	warm alt
	rule del "$@" lookup 101
	now "without the rule $*"
	exchange dst 3
}

a_rule_on_the_device() {
	comes_and_goes iif a
	rule add iif c lookup 101
	now "a rule on another device"
	warm dst
	rule del iif c lookup 101
}

a_rule_on_the_source() {
	comes_and_goes from "$SRC"
}

a_rule_on_the_destination() {
	comes_and_goes to "$TARGET"
}

a_rule_that_refuses() {
	local type
	for type in blackhole unreachable prohibit; do
		warm dst
		rule add to "$TARGET" "$type"
		now "$type"
		refused 3
		rule del to "$TARGET" "$type"
		now "no more $type"
		exchange dst 3
	done
}

a_rule_that_suppresses() {
	warm dst
	route add default via "$ALT"
	rule add pref 10 lookup main suppress_prefixlength 0
	rule add pref 20 to "$TARGET" lookup 101
	now "the route in the main table is no default"
	exchange dst 3
	route del "$NET"
	now "the default is passed over"
	exchange alt 3
	rule del pref 10
	rule del pref 20
	route del default via "$ALT"
	route add "$NET" via "$DST"
	exchange dst 3
}

# A route that says to go on with the next rule ("throw"): the routes behind it count.
a_route_that_throws() {
	route add throw "$NET" table 102
	route add default via "$ALT" table 102
	rule add pref 100 to "$TARGET" lookup 102
	now "thrown"
	exchange dst 3
	warm dst
	route del throw "$NET" table 102
	now "no more thrown"
	exchange alt 3
	rule del pref 100
	route del default via "$ALT" table 102
	now "without the rule"
	exchange dst 3
}

# by_lo PROTOCOL COUNT: packets from src to the target that come in by the router's own lo, without a
# route, as those that a program redirects: echo requests (58) or UDP (17).
by_lo() {
	expect "send by lo" in_netns rt python3 -c '
import socket, struct, sys
protocol, count = int(sys.argv[3]), int(sys.argv[4])
ends = b"".join(socket.inet_pton(socket.AF_INET6, end) for end in sys.argv[1:3])
def payload(checksum):
    if protocol == 58:
        return struct.pack("!BBHHH", 128, 0, checksum, 1, 1)
    return struct.pack("!HHHH", 9, 9, 8, checksum)
pseudo = ends + struct.pack("!II", 8, protocol) + payload(0)
total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
total = (total & 0xffff) + (total >> 16)
header = bytes(12) + struct.pack("!HIHBB", 0x86dd, 6 << 28, 8, protocol, 64) + ends
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("lo", 0))
for _ in range(count):
    raw.send(header + payload(0xffff - (total & 0xffff) - (total >> 16)))
' "$SRC" "$TARGET" "$@"
}

# has_answered NAME COUNT: whether so many pings have arrived there.
has_answered() {
	local value
	requests "$1"
	[ "$value" -ge "$2" ]
}

# The stack looks into no packet for a rule on lo, and yet asks for the protocol.
a_rule_on_lo_and_the_protocol() {
	local value so_far
	rule add iif lo ipproto ipv6-icmp lookup 101
	now "echo requests"
	requests alt
	so_far=$value
	by_lo 58 5
	wait_until has_answered alt $((so_far + 5)) || fail "they have not come to alt"
	now "UDP"
	knocks dst
	so_far=$value
	by_lo 17 3
	wait_until have_knocked $((so_far + 3)) dst || fail "it has not come to dst"
	rule del iif lo ipproto ipv6-icmp lookup 101
}

for_each_family \
	a_rule_on_the_device \
	a_rule_on_the_source \
	a_rule_on_the_destination \
	a_rule_that_refuses \
	a_rule_that_suppresses \
	a_route_that_throws
for_family 6 a_rule_on_lo_and_the_protocol

begin_route_cache python3
run_cases "${cases[@]}" no_entry_is_lost
