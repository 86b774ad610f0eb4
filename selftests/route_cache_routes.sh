#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A cached route is used no longer than it is right. Each case fills the cache, checks that its packets
# hit, changes what decides on their route, and checks where the very next packets go.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

all_packets_but_the_first_are_hits() {
	now "first packets"
	exchange dst 5
	# There and back.
	expect_since rt misses=2 inserts=2 hits=8 uncacheable=0
	expect_cached rt entries"$family"=2
	exchange dst 5
	expect_since rt misses=0 inserts=0 hits=10
}

a_replaced_route() {
	warm dst
	route replace "$NET" via "$ALT"
	now "replaced"
	exchange alt 3
	# The old entry was there, and was not used.
	expect_since_at_least rt invalidations=1
	warm alt
	route replace "$NET" via "$DST"
	now "replaced again"
	exchange dst 3
	warm dst
}

a_deleted_route() {
	route add default via "$ALT"
	warm dst
	route del "$NET"
	now "deleted: the default route is left"
	exchange alt 3
	warm alt
	route del default via "$ALT"
	now "no route is left"
	refused_with_a_word 3
	[[ $said == *nreachable* ]] || fail "nobody says so: $said"
	route add "$NET" via "$DST"
	now "added"
	exchange dst 3
}

a_more_specific_route() {
	warm dst
	route add "$TARGET" via "$ALT"
	now "more specific"
	exchange alt 3
	warm alt
	route del "$TARGET"
	now "deleted"
	exchange dst 3
}

a_route_of_lower_metric() {
	route add "$NET" via "$ALT" metric 2000
	warm dst
	route del "$NET" via "$DST"
	now "the better one is deleted"
	exchange alt 3
	warm alt
	route add "$NET" via "$DST" metric 10
	now "a better one is added"
	exchange dst 3
	route del "$NET" via "$DST"
	route del "$NET" via "$ALT"
	route add "$NET" via "$DST"
}

a_route_that_refuses() {
	local type
	for type in blackhole unreachable prohibit; do
		warm dst
		route add "$type" "$TARGET"
		now "$type"
		case $type in
		blackhole) refused 3 ;;
		*) refused_with_a_word 3 ;;
		esac
		expect_since rt inserts=0
		case $type:$family in
		blackhole:*) [[ $said != *rom*nreachable* ]] ;;
		unreachable:4) [[ $said == *"From $RT"*"Host Unreachable"* ]] ;;
		unreachable:6) [[ $said == *"From $RT"*"No route"* ]] ;;
		prohibit:4) [[ $said == *"From $RT"*"Packet filtered"* ]] ;;
		prohibit:6) [[ $said == *"From $RT"*"Administratively prohibited"* ]] ;;
		esac || fail "ping says, with $type: $said"
		route del "$type" "$TARGET"
		now "no more $type"
		exchange dst 3
	done
}

an_address_that_comes_and_goes() {
	warm dst
	addr add "$TARGET"/"$LEN" dev lo
	now "an address of rt"
	exchange rt 3
	warm rt
	addr del "$TARGET"/"$LEN" dev lo
	now "an address of rt no more"
	exchange dst 3
}

# The network of a device goes with its address: hosts in it cannot be reached.
an_address_with_its_network() {
	local TARGET=$DST
	warm dst
	ip_in rt "-$family" addr flush dev b scope global
	now "without the address"
	refused 3
	case $family in
	4) addr add 10.0.2.1/24 dev b ;;
	6) addr add fd02::1/64 dev b nodad ;;
	esac
	route replace "$NET" via "$DST"
	now "with the address"
	exchange dst 3
}

# The cache keeps the route to the next hop, not its link-layer address.
a_neighbour_that_changes() {
	warm dst
	neigh replace "$DST" lladdr 02:00:00:00:09:09 dev b nud permanent
	now "not the address of dst"
	arrive nobody 3 -W 0.3
	neigh replace "$DST" lladdr 02:00:00:00:02:02 dev b nud permanent
	now "its address again"
	exchange dst 3
	expect_since rt misses=0 hits=6
	neigh del "$DST" dev b
	now "to be asked for"
	exchange dst 3
	neigh replace "$DST" lladdr 02:00:00:00:02:02 dev b nud permanent
}

for_each_family \
	all_packets_but_the_first_are_hits \
	a_replaced_route \
	a_deleted_route \
	a_more_specific_route \
	a_route_of_lower_metric \
	a_route_that_refuses \
	an_address_that_comes_and_goes \
	an_address_with_its_network \
	a_neighbour_that_changes

begin_route_cache
run_cases "${cases[@]}" no_entry_is_lost
