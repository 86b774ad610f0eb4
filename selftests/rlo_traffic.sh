#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rlo as ip, ethtool and ping see it. It has the attributes of lo. Packets go out by it, come in again
# and are counted. It cannot be taken out of its namespace.

. "$(dirname "$0")/lib.sh"

PINGS=3
# Headers of Ethernet, IP and ICMP before the data of a ping.
HEADERS4=$((14 + 20 + 8))
HEADERS6=$((14 + 40 + 8))

# plumb NAME: a new namespace whose packets to itself travel through rlo.
plumb() {
	add_netns "$1"
	# Packets that come in have a source address of this machine.
	expect "settings" in_netns "$1" sysctl -qw net.ipv4.conf.rlo.accept_local=1 \
		net.ipv6.conf.rlo.router_solicitations=0
	expect "IPv4 rules and routes" ip_in "$1" -4 -batch "$HERE/through_rlo4.batch"
	expect "IPv6 rules and routes" ip_in "$1" -6 -batch "$HERE/through_rlo6.batch"
}

# stats NAME DEVICE: received bytes and packets, sent bytes and packets.
stats() {
	local number='[^0-9]*([0-9]+)'
	[[ $(ip_in "$1" -s -o link show "$2") =~ RX:$number$number.*TX:$number$number ]] &&
		echo "${BASH_REMATCH[@]:1}"
}

# ping_counted FAMILY SIZE HEADERS FROM TO: pings are answered, and each is two packets of the
# device. In its own count, which is of what it has received, they have no Ethernet header.
ping_counted() {
	local packets=$((2 * PINGS)) bytes=$((2 * PINGS * ($2 + $3))) out before after state
	read -ra before < <(stats a rlo)
	state=("$(figure device_packets "$A")" "$(figure device_bytes "$A")")
	out=$(in_netns a ping "-$1" -q -c "$PINGS" -i 0.1 -W "$PATIENCE" -s "$2" -I "$4" "$5" 2>&1) ||
		fail "ping: $out"
	[[ $out == *" $PINGS received"* ]] || fail "not all came back: $out"
	read -ra after < <(stats a rlo)
	expect_equal "received bytes" $((after[0] - before[0])) $((bytes - 14 * packets))
	expect_equal "received packets" $((after[1] - before[1])) "$packets"
	expect_equal "sent bytes" $((after[2] - before[2])) $((bytes - 14 * packets))
	expect_equal "sent packets" $((after[3] - before[3])) "$packets"
	expect_equal "packets in the state" $(($(figure device_packets "$A") - state[0])) "$packets"
	expect_equal "bytes in the state" $(($(figure device_bytes "$A") - state[1])) "$bytes"
	expect_equal "dropped" "$(figure dropped "$A")" 0
}

ipv4_goes_through_and_is_counted() {
	ping_counted 4 56 "$HEADERS4" 192.0.2.1 192.0.2.2
}

ipv6_goes_through_and_is_counted() {
	ping_counted 6 56 "$HEADERS6" 2001:db8::1 2001:db8::2
}

large_ipv4_packets_go_through_whole() {
	ping_counted 4 60000 "$HEADERS4" 192.0.2.1 192.0.2.2
}

large_ipv6_packets_go_through_whole() {
	ping_counted 6 60000 "$HEADERS6" 2001:db8::1 2001:db8::2
}

attributes_are_those_of_lo() {
	local lo
	lo=$(attributes lo)
	[[ $lo == *"mtu 65536"*"link/loopback"*"tso_max_size"* ]] || fail "nothing to compare with: $lo"
	expect_equal "ip link" "$(attributes rlo)" "$lo"
	expect_equal "ethtool time stamping" "$(of_ethtool -T rlo)" "$(of_ethtool -T lo)"
	[[ $(of_ethtool -T rlo) == *software-transmit* ]] || fail "no software time stamps"
}

# attributes DEVICE: everything that ip knows, except number, name and flags. The flags differ in
# IFF_LOOPBACK: only one device of a namespace has it (see `Setup::loopback()`).
attributes() {
	ip_in a -d -o link show "$1" | sed 's/^[^>]*>//'
}

features_are_those_of_lo() {
	expect_features_of_lo
	expect_at_least "features compared" "$(of_ethtool -k lo | wc -l)" 20
}

# Lines that only one of the two devices has. The core sets tx-nocache-copy if IFF_LOOPBACK is set.
expect_features_of_lo() {
	local lo rlo
	lo=$(of_ethtool -k lo) rlo=$(of_ethtool -k rlo)
	expect_equal "difference" "$(printf '%s\n' "$lo" "$rlo" | grep -v tx-nocache-copy | sort | uniq -u)" ""
}

# of_ethtool OPTION DEVICE: the output without the line that names the device.
of_ethtool() {
	in_netns a ethtool "$1" "$2" | sed 1d
}

a_link_is_detected() {
	[[ $(in_netns a ethtool rlo 2>/dev/null) == *"Link detected: yes"* ]] || fail "no link detected"
	[[ $(ip_in a link show rlo) == *LOWER_UP* ]] || fail "no carrier"
}

a_feature_can_be_switched_off_where_lo_can() {
	local feature=tx-tcp-segmentation device
	for device in lo rlo; do
		expect "switch off" in_netns a ethtool -K "$device" "$feature" off
	done
	expect_features_of_lo
	[[ $(of_ethtool -k rlo) == *"$feature: off"* ]] || fail "$feature is still on"
	for device in lo rlo; do
		expect "switch on" in_netns a ethtool -K "$device" "$feature" on
	done
}

it_cannot_be_moved() {
	add_netns other
	expect_refused "immutable" ip_in a link set rlo netns "${PREFIX}other"
	has_rlo a || fail "gone"
	# The same command works for a device that may be moved.
	expect "add a dummy" ip_in a link add d0 type dummy
	expect "move the dummy" ip_in a link set d0 netns "${PREFIX}other"
	del_netns other
}

it_cannot_be_deleted() {
	expect_refused "Operation not supported" ip_in a link del rlo
	has_rlo a || fail "gone"
	expect "add a dummy" ip_in a link add d0 type dummy
	expect "delete the dummy" ip_in a link del d0
}

the_address_can_be_changed_where_lo_allows_it() {
	local state address
	add_netns mac
	for state in up down; do
		for address in 02:00:00:00:00:07 01:00:00:00:00:07; do
			expect_equal "$address while $state" "$(set_address rlo "$state" "$address")" \
				"$(set_address lo "$state" "$address")"
		done
	done
	[[ $(set_address rlo up 02:00:00:00:00:09) == *" 02:00:00:00:00:09 "* ]] ||
		fail "cannot be changed at all"
	del_netns mac
}

# set_address DEVICE STATE ADDRESS: the answer, and the address afterwards.
set_address() {
	printf 'link set %s\n' "$1 $2" "$1 address $3" | ip_in mac -batch - 2>&1
	ip_in mac -o link show "$1" | grep -o 'link/.*brd'
}

it_works_again_after_down_and_up() {
	expect "down" ip_in a link set rlo down
	local before
	before=$(figure device_packets "$A")
	in_netns a ping -c 1 -W 1 -I 192.0.2.1 192.0.2.2 >/dev/null 2>&1
	expect_equal "packets after one while it is down" "$(figure device_packets "$A")" "$before"
	expect "up" ip_in a link set rlo up
	# The kernel forgets these when a device goes down.
	ip_in a route add 192.0.2.1/32 dev rlo table 101
	ip_in a route add 192.0.2.2/32 dev rlo table 101
	ping_counted 4 56 "$HEADERS4" 192.0.2.1 192.0.2.2
}

# The IPv6 stack keeps references to devices of its own accord.
it_works_without_ipv6() {
	expect "disable" in_netns a sysctl -qw net.ipv6.conf.all.disable_ipv6=1
	ping_counted 4 56 "$HEADERS4" 192.0.2.1 192.0.2.2
	in_netns a ping -6 -c 1 -W 1 2001:db8::2 >/dev/null 2>&1 && fail "IPv6 still works"
}

# Every packet of the cases above went by rlo.
lo_saw_nothing() {
	expect_equal "traffic of lo" "$(stats a lo)" "0 0 0 0"
	expect_at_least "packets of rlo" "$(figure device_packets "$A")" 1
}

# The namespace ends while rlo is up and has had addresses, routes, rules and packets of both families.
it_goes_with_its_namespace() {
	local inum
	plumb b
	inum=$(inum b)
	expect "IPv4" in_netns b ping -c 1 -W "$PATIENCE" -I 192.0.2.1 192.0.2.2
	expect "IPv6" in_netns b ping -c 1 -W "$PATIENCE" -I 2001:db8::1 2001:db8::2
	has_state "$inum" || fail "no state"
	del_netns a b
	wait_until has_no_state "$inum" || fail "the state is still there"
	expect_netns_gone
	# Nothing keeps the module from being unloaded.
	expect "unload" unload
}

begin ethtool ping sysctl
load || skip_all "the module does not load"
plumb a
A=$(inum a)
run_cases \
	attributes_are_those_of_lo \
	features_are_those_of_lo \
	a_link_is_detected \
	a_feature_can_be_switched_off_where_lo_can \
	ipv4_goes_through_and_is_counted \
	ipv6_goes_through_and_is_counted \
	large_ipv4_packets_go_through_whole \
	large_ipv6_packets_go_through_whole \
	lo_saw_nothing \
	it_cannot_be_moved \
	it_cannot_be_deleted \
	the_address_can_be_changed_where_lo_allows_it \
	it_works_again_after_down_and_up \
	it_works_without_ipv6 \
	it_goes_with_its_namespace
