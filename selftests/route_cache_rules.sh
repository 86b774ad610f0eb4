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

for_each_family \
	a_rule_on_the_device \
	a_rule_on_the_source \
	a_rule_on_the_destination \
	a_rule_that_refuses \
	a_rule_that_suppresses \
	a_route_that_throws

begin_route_cache
run_cases "${cases[@]}" no_entry_is_lost
