#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Reading and changing the cache of a namespace over netlink: what that does, and who may.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

topology() {
	router rt src dst alt
	router rt2 src2 dst2 alt2
}

# ctl NAME ARGUMENT...: runs rnetnsctl in a namespace. Sets `said` to its output.
ctl() {
	local name=$1
	shift
	said=$(in_netns "$name" rnetnsctl "$@" 2>&1) || fail "rnetnsctl $* in $name: $said"
}

# denied TEXT NAME ARGUMENT...: rnetnsctl fails and says TEXT.
denied() {
	local text=$1 name=$2
	shift 2
	if said=$(in_netns "$name" rnetnsctl "$@" 2>&1); then
		fail "rnetnsctl $* in $name was not refused: $said"
	fi
	[[ $said == *"$text"* ]] || fail "rnetnsctl $* in $name: '$said' does not say '$text'"
}

warm_both() {
	warm dst
	in_netns src2 ping "-$family" -q -n -c 2 -i 0.02 -W "$PATIENCE" "$TARGET" >/dev/null 2>&1
}

# The figures match those in debugfs, and the entries are those of this namespace.
what_is_read_is_that_of_the_namespace() {
	local value
	warm dst
	ctl rt --json stats
	cached rt hits
	[[ $said == *'"hits": '"$value,"* ]] || fail "not $value hits: $said"
	ctl rt dump
	expect_equal "lines" "$(wc -l <<<"$said")" 2
	[[ $said == *"$TARGET from $SRC iif a oif b "* ]] || fail "no such entry: $said"
	ctl rt2 dump
	[ -z "$said" ] || fail "entries of another namespace: $said"
}

a_flush_takes_what_it_names() {
	warm_both
	mark rt rt2
	ctl rt flush --dst "$NET"
	expect_equal "answer" "$said" "flushed 1"
	now "to the network"
	expect_since rt flushed=1
	warm dst
	ctl rt flush --dev c
	expect_equal "answer" "$said" "flushed 0"
	ctl rt flush --dev b
	expect_equal "answer" "$said" "flushed 2"
	warm dst
	ctl rt flush
	expect_equal "answer" "$said" "flushed 2"
	now "beside"
	expect_since rt2 flushed=0
	expect_cached rt2 entries"$family"=2
	exchange dst 3
}

settings_are_those_of_the_namespace() {
	ctl rt set --quota 5 --timeout 7
	now "set"
	expect_cached rt quota=5 timeout=7 enabled=1
	expect_cached rt2 quota=65536 timeout=3600 enabled=1
	ctl rt set --quota 65536 --timeout 3600
	denied "max_quota" rt set --quota 4000000000
	denied "out of range" rt set --quota 0
	denied "out of range" rt set --timeout 0
	denied "out of range" rt set --timeout 86401
	now "refused"
	expect_cached rt quota=65536 timeout=3600
}

# With the cache off, packets still arrive, and are not looked up.
switched_off_and_on() {
	warm_both
	ctl rt set --enable off
	now "off"
	expect_cached rt entries"$family"=0 enabled=0
	mark rt rt2
	exchange dst 3
	expect_since rt hits=0 misses=0 inserts=0
	ctl rt set --enable on
	now "on"
	mark rt
	exchange dst 3
	expect_since rt misses=2 inserts=2
	expect_since_at_least rt hits=2
	expect_since rt2 flushed=0
}

wrong_networks_are_refused() {
	case $family in
	4) denied "longer than an address" rt flush --dst "$TARGET/33" ;;
	esac
	denied "out of range" rt flush --dst "$TARGET/129"
	denied "find device nosuch0" rt flush --dev nosuch0
}

# Without any rights, but those to read files of root: a kernel tree may be one that only root can
# read.
POWERLESS=(setpriv --inh-caps=-all --bounding-set=-all)

# powerless NAME COMMAND...: runs it without any rights, in a namespace that belongs to root.
powerless() {
	local name=$1
	shift
	said=$(in_netns "$name" "${POWERLESS[@]}" "$@" 2>&1)
}

who_has_no_right_may_read_figures_alone() {
	warm_both
	powerless rt rnetnsctl stats || fail "may not read: $said"
	for change in "dump" "flush" "set --quota 9" "set --enable off"; do
		read -ra words <<<"$change"
		powerless rt rnetnsctl "${words[@]}" && fail "$change is allowed"
		[[ $said == *"not permitted"* ]] || fail "$change: $said"
	done
	now "refused"
	expect_cached rt quota=65536 enabled=1 entries"$family"=2
}

# The dump has every part of the key: entries that differ in it do not look the same.
entries_look_as_different_as_they_are() {
	warm dst
	set_in rt net.ipv4.conf.a.rp_filter=1
	now "rp_filter=1"
	exchange dst 2
	mark_from_now 0x10
	exchange dst 2
	exchange dst 2 -Q 0x10
	no_mark
	ctl rt dump --dst "$TARGET"
	for part in "iif a oif b rp_filter 1 " " mark 0x10 rp_filter 1 " " mark 0x10 tos 0x10 rp_filter 1 " \
		"iif a oif b age "; do
		expect_equal "entries with '$part'" "$(grep -c "$part" <<<"$said")" 1
	done
	set_in rt net.ipv4.conf.a.rp_filter=0
	ctl rt flush
}

# What is not used any more says so.
an_entry_whose_route_has_changed_is_stale() {
	warm dst
	ctl rt dump
	[[ $said != *stale* ]] || fail "stale before anything has changed: $said"
	route replace "$NET" via "$ALT"
	ctl rt dump
	expect_equal "stale entries" "$(grep -c " stale$" <<<"$said")" 2
	route replace "$NET" via "$DST"
	warm dst
	ctl rt dump
	[[ $said != *stale* ]] || fail "stale after a packet has asked for it: $said"
}

a_dump_shows_what_it_is_asked_for() {
	warm_both
	ctl rt dump --dst "$NET"
	expect_equal "to the network" "$(grep -c "^$TARGET from" <<<"$said")/$(wc -l <<<"$said")" 1/1
	ctl rt dump -$((10 - family))
	expect_equal "of the other family" "$said" ""
	ctl rt dump -"$family"
	expect_equal "of the family" "$(wc -l <<<"$said")" 2
}

# Every user owns the network namespaces that were made in their own user namespace, and no others.
an_owner_manages_its_own_namespace() {
	said=$("${POWERLESS[@]}" unshare -Un --keep-caps sh -c \
		'rnetnsctl set --quota 9 && rnetnsctl --json stats && rnetnsctl flush' 2>&1) ||
		fail "its own: $said"
	[[ $said == *'"quota": 9'* ]] || fail "its own was not set: $said"
	said=$(in_netns rt "${POWERLESS[@]}" unshare -U --keep-caps sh -c \
		'rnetnsctl set --quota 9' 2>&1) && fail "root's namespace was changed"
	[[ $said == *"not permitted"* ]] || fail "root's namespace: $said"
	now "root's"
	expect_cached rt quota=65536
}

for_each_family what_is_read_is_that_of_the_namespace a_flush_takes_what_it_names \
	switched_off_and_on an_entry_whose_route_has_changed_is_stale a_dump_shows_what_it_is_asked_for
for_family 4 entries_look_as_different_as_they_are settings_are_those_of_the_namespace wrong_networks_are_refused \
	who_has_no_right_may_read_figures_alone an_owner_manages_its_own_namespace

begin_route_cache bash rnetnsctl setpriv tc unshare
run_cases "${cases[@]}" no_entry_is_lost
