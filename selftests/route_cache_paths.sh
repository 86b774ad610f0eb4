#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What decides where packets go besides routes: path MTUs, redirects that are sent or learnt, devices
# of a VRF, and devices on top of one in another namespace.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# too_big_for ADDRESS MTU: large packets are refused by ADDRESS, with the MTU to use.
too_big_for() {
	forget src
	send 1 -s 1400 -M "do" -W "$PATIENCE"
	[[ $said == *"From $1 "*mtu[\ =]*$2* ]] || fail "not from $1, with $2 ($what): $said"
}

# arrives_large: large packets arrive.
arrives_large() {
	forget src
	send 2 -s 1400 -M "do" -W "$PATIENCE"
	[[ $said == *" 2 received"* ]] || fail "large packets do not arrive ($what): $said"
}

# forget NAME: makes it forget path MTUs and redirects that it has learnt.
forget() {
	expect "flush" ip_in "$1" "-$family" route flush cache
}

the_mtu_of_a_device() {
	warm dst -s 1400
	expect "mtu" ip_in rt link set dev b mtu 1300
	now "1300"
	too_big_for "$RT" 1300
	exchange dst 3
	expect "mtu" ip_in rt link set dev b mtu 1500
	now "1500"
	arrives_large
}

the_mtu_of_a_route() {
	warm dst -s 1400
	route replace "$NET" via "$DST" mtu lock 1290
	now "1290"
	too_big_for "$RT" 1290
	exchange dst 3
	route replace "$NET" via "$DST"
	now "no more 1290"
	arrives_large
}

# behind_dst: another network behind dst, with the target in it, on a link of MTU 1290.
behind_dst() {
	add_netns far
	hold far
	set_in dst net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	set_in far "${quiet[@]}"
	expect "cable" ip -batch - <<<"$(cable 4 dst f far e)"
	{
		near 4 f
		echo link set dev f mtu 1290
		echo route add 10.8.0.0/24 via 10.0.4.2
		echo route add fd08::/64 via fd04::2
	} | batch_in dst
	{
		far 4 e
		cat <<-END
			link set dev e mtu 1290
			link set dev lo up
			addr add 10.8.0.8/32 dev lo
			addr add fd08::8/128 dev lo nodad
		END
	} | batch_in far
	batch_in rt <<-END
		route add 10.8.0.0/24 via 10.0.2.2
		route add fd08::/64 via fd02::2
	END
	case $family in
	4) TARGET=10.8.0.8 ;;
	6) TARGET=fd08::8 ;;
	esac
}

# has_learnt WHAT: whether rt has learnt this about the route to the target.
has_learnt() {
	[[ $(ip_in rt "-$family" route get "$TARGET") == *"$1"* ]]
}

# rt learns a path MTU from its own packets, and then refuses large packets itself. For IPv4, this
# needs the setting below.
a_path_mtu_that_is_learnt() {
	local TARGET
	behind_dst
	set_in rt net.ipv4.ip_forward_use_pmtu=1
	now "small packets"
	send 2
	mark rt
	send 5 -W "$PATIENCE"
	expect_since rt hits=10 misses=0
	now "the path MTU is not known"
	too_big_for "$DST" 1290
	learn
	now "the path MTU is known"
	too_big_for "$RT" 1290
	# For IPv6 this counts as a change of the routes: the answers' route is looked up again.
	send 1 -W "$PATIENCE"
	mark rt
	send 5 -W "$PATIENCE"
	[[ $said == *" 5 received"* ]] || fail "small packets do not arrive: $said"
	# Only the answers are.
	expect_since rt hits=5 misses=5 inserts=0
	forget rt
	now "the path MTU is forgotten"
	too_big_for "$DST" 1290
	remove_topology
}

# learn: rt learns a path MTU from its own packets.
learn() {
	in_netns rt ping -"$family" -q -n -c 2 -i 0.1 -W 1 -s 1400 "$TARGET" >/dev/null
	wait_until has_learnt "mtu 1290" || fail "rt did not learn"
}

# What was forgotten and is learnt again is noted in the destination that packets have by then: no other
# takes its place.
a_path_mtu_that_is_learnt_again() {
	local TARGET
	behind_dst
	now "learnt"
	learn
	forget rt
	now "forgotten"
	send 2 -W "$PATIENCE"
	mark rt
	send 5 -W "$PATIENCE"
	expect_since rt hits=10 misses=0
	now "learnt again"
	learn
	mark rt
	send 5 -W "$PATIENCE"
	# Only the answers are in the cache.
	expect_since rt hits=5 misses=5 inserts=0
	remove_topology
}

# rt sends a redirect, because the packets leave where they came in.
a_redirect_that_is_sent() {
	local value before
	warm dst
	case $family in
	4) route replace "$NET" via "$SRC" ;;
	6) route replace "$NET" via fe80::ff:fe00:102 dev a ;;
	esac
	now "back to src"
	redirects rt
	before=$value
	arrive nobody 3 -W 0.3
	expect_since rt hits=0 inserts=0
	wait_until has_redirected $((before + 1)) || fail "no redirects"
	route replace "$NET" via "$DST"
	forget src
	now "not back any more"
	exchange dst 3
}

# has_redirected COUNT: whether rt has sent COUNT redirects.
has_redirected() {
	local value
	redirects rt
	[ "$value" -ge "$1" ]
}

# redirects NAME: sets `value` to the number of redirects that it has sent.
redirects() {
	case $family in
	4) snmp "$1" snmp Icmp OutRedirects ;;
	6) snmp6 "$1" Icmp6OutRedirects ;;
	esac
}

# rt gets a redirect for its own packets: dst says that 10.0.2.3 is nearer, which is alt on the same
# link. dst itself cannot reach it: only packets that follow the redirect arrive.
a_redirect_that_is_learnt() {
	local TARGET=10.8.0.8
	set_in dst net.ipv4.ip_forward=1 net.ipv4.conf.{all,e}.send_redirects=1
	set_in rt net.ipv4.conf.{all,b}.accept_redirects=1
	expect "macvlan" ip_in dst link add link e name m netns "${PREFIX}alt" \
		address 02:00:00:00:02:03 type macvlan mode bridge
	batch_in alt <<-END
		link set dev m up
		addr add 10.0.2.3/24 dev m
		addr add 10.8.0.8/32 dev lo
	END
	batch_in dst <<-END
		neigh replace 10.0.2.3 lladdr 02:00:00:00:02:03 dev e nud permanent
		route add 10.8.0.8 via 10.0.2.3
	END
	batch_in rt <<-END
		neigh replace 10.0.2.3 lladdr 02:00:00:00:02:03 dev b nud permanent
		route add 10.8.0.8 via 10.0.2.2
	END
	now "by dst"
	arrive nobody 3 -W 0.3
	arrive nobody 3 -W 0.3
	expect_since rt hits=3
	now "by alt itself"
	learn_redirect
	forget rt
	now "the redirect is forgotten"
	arrive nobody 3 -W 0.3
	arrive nobody 3 -W 0.3
	expect_since rt hits=3
	# The stack puts this redirect into the route that is in the cache, and cannot take it back.
	now "by alt itself again"
	learn_redirect
	remove_topology
}

# learn_redirect: dst tells rt, and rt routes by alt. Only the answers' route is cached.
learn_redirect() {
	in_netns rt ping -q -n -c 3 -i 0.2 -W 0.3 "$TARGET" >/dev/null
	wait_until has_learnt "via 10.0.2.3" || fail "rt did not learn ($what)"
	exchange alt 3
	exchange alt 3
	expect_since rt hits=3 misses=3 inserts=0
}

# A host on a link does not answer. The stack marks the route that all hosts there share.
a_neighbour_that_fails() {
	local TARGET=10.0.2.2
	warm dst
	set_in rt net.ipv4.neigh.b.mcast_solicit=1 net.ipv4.neigh.b.retrans_time_ms=50
	now "a neighbour fails"
	TARGET=10.0.2.77 send 2 -W "$PATIENCE"
	[[ $said == *"From $RT "*Unreachable* ]] || fail "not refused: $said"
	now "the others are there"
	exchange dst 5
	exchange dst 5
	expect_since rt hits=10 misses=0
	set_in rt net.ipv4.neigh.b.mcast_solicit=3 net.ipv4.neigh.b.retrans_time_ms=1000
}

# The devices of a VRF have their own routing table.
a_device_of_a_vrf() {
	local value
	warm dst
	expect "vrf" ip_in rt link add name red type vrf table 201
	expect "up" ip_in rt link set dev red up
	route add "$NET" via "$ALT" dev c table 201
	expect "enslave" ip_in rt link set dev a master red
	near 1 a | sed 's/^addr add/addr replace/' | batch_in rt
	case $family in
	4) route add 10.0.1.0/24 dev a ;;
	6) route add fd01::/64 dev a ;;
	esac
	now "in the VRF"
	exchange alt 3
	exchange alt 5
	# The answers come in by another device.
	since rt hits
	[ "$value" -le 5 ] || fail "$value hits with 5 pings"
	route replace "$NET" via "$DST" dev b table 201
	now "another route of the VRF"
	exchange dst 3
	expect "release" ip_in rt link set dev a nomaster
	near 1 a | sed 's/^addr add/addr replace/' | batch_in rt
	route replace "$NET" via "$ALT"
	now "not in the VRF any more"
	exchange alt 3
	warm alt
	remove_topology
}

# Packets come in by a device in one namespace, and go on in the namespace of the macvlan on top.
a_macvlan_across_namespaces() {
	add_netns low far
	hold low far
	set_in low "${quiet[@]}"
	set_in far "${quiet[@]}"
	expect "cable" ip -batch - <<<"$(cable 5 low l far e)"
	near 5 l | batch_in low
	expect "macvlan" ip_in low link add link l name m netns "${PREFIX}rt" \
		address 02:00:00:00:05:03 type macvlan mode bridge
	batch_in rt <<-END
		link set dev m up
		addr add 10.0.5.3/24 dev m
		addr add fd05::3/64 dev m nodad
		neigh replace 10.0.5.2 lladdr 02:00:00:00:05:02 dev m nud permanent
		neigh replace fd05::2 lladdr 02:00:00:00:05:02 dev m nud permanent
	END
	{
		far 5 e
		cat <<-END
			neigh replace 10.0.5.3 lladdr 02:00:00:00:05:03 dev e nud permanent
			neigh replace fd05::3 lladdr 02:00:00:00:05:03 dev e nud permanent
			route add 10.9.0.9 via 10.0.5.3
			route add fd09::9 via fd05::3
		END
	} | batch_in far
	now "by the macvlan"
	said=$(in_netns far ping -"$family" -n -c 2 -i 0.01 -W "$PATIENCE" "$TARGET" 2>&1)
	mark rt low
	said=$(in_netns far ping -"$family" -n -c 10 -i 0.01 -W "$PATIENCE" "$TARGET" 2>&1)
	[[ $said == *" 10 received"* ]] || fail "not all arrived: $said"
	expect_since rt hits=20 misses=0
	expect_since low hits=0 misses=0
	expect_cached low entries4=0 entries6=0
	remove_topology
}

for_family 4 \
	the_mtu_of_a_device \
	the_mtu_of_a_route \
	a_redirect_that_is_sent \
	a_redirect_that_is_learnt \
	a_neighbour_that_fails \
	a_path_mtu_that_is_learnt \
	a_path_mtu_that_is_learnt_again \
	a_device_of_a_vrf \
	a_macvlan_across_namespaces
for_family 6 \
	the_mtu_of_a_device \
	the_mtu_of_a_route \
	a_redirect_that_is_sent \
	a_path_mtu_that_is_learnt \
	a_device_of_a_vrf \
	a_macvlan_across_namespaces

begin_route_cache cat sed
run_cases "${cases[@]}" no_entry_is_lost
