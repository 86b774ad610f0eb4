#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How much a namespace may have in the cache, and for how long. Two routers side by side: what one does
# with its share is nothing to the other.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# Beside the router of the other tests, another one with namespaces of its own.
topology() {
	router rt src dst alt
	router rt2 src2 dst2 alt2
}

# with OPTION...: the module, loaded anew.
with() {
	unload
	load "$@" || fail "the module does not load with $*"
}

# neighbour COUNT: pings through rt2, which are all hits.
neighbour() {
	mark rt2
	said=$(in_netns src2 ping "-$family" -n -c "$1" -i 0.02 -W 5 "$TARGET" 2>&1)
	[[ $said == *" $1 received"* ]] || fail "not all pings beside were answered ($what): $said"
	expect_since rt2 hits=$((2 * $1)) misses=0 evictions=0 expiries=0 flushed=0
}

warm_neighbour() {
	in_netns src2 ping "-$family" -q -n -c 2 -i 0.02 -W 5 "$TARGET" >/dev/null 2>&1
	now "warm"
	neighbour 5
}

# Addresses by number.
patterns() {
	case $family in
	4) BASE=10.9.0. PATTERN=%d ;;
	6) BASE=fd09::1: PATTERN=%x ;;
	esac
}

# knock FIRST LAST: a packet to each of these addresses of the network behind dst.
knock() {
	patterns
	in_netns src bash -c 'for ((i = $2; i <= $3; i++)); do
		printf -v address "%s$4" "$1" "$i"
		echo >"/dev/udp/$address/9"
	done' - $BASE "$1" "$2" $PATTERN
}

# The oldest go, and none of the other namespace's.
a_quota_of_eight() {
	local value
	with quota=8
	warm_neighbour
	mark rt
	knock 10 49
	now "40 flows, 8 places"
	cached rt entries$family
	[ "$value" -le 8 ] || fail "$value entries with a quota of 8"
	expect_at_least "entries" "$value" 7
	expect_since_at_least rt evictions=30
	expect_cached rt2 entries$family=2 evictions=0
	neighbour 5
	# The latest are there.
	mark rt
	knock 46 49
	expect_since rt hits=4 misses=0
	remove_topology
}

# Both families count.
a_quota_for_both_families() {
	local v4 v6 value
	with quota=8
	use 6
	knock 10 15
	use 4
	knock 10 29
	cached rt entries4
	v4=$value
	cached rt entries6
	v6=$value
	[ $((v4 + v6)) -le 8 ] || fail "$v4 and $v6 entries with a quota of 8"
	remove_topology
}

expired() {
	local value
	cached rt entries$family
	[ "$value" = 0 ]
}

# What is not used goes after the timeout, what is used stays.
idle_entries_expire() {
	local value timeout=2 interval=0.25
	# A machine that watches itself may need two seconds for the next line of this.
	[ -z "$KSFT_MACHINE_SLOW" ] || timeout=12 interval=1.5
	with timeout=$timeout
	warm_neighbour
	nsenter --net="/run/netns/${PREFIX}src2" ping "-$family" -q -n -c 30 -i $interval -W 5 "$TARGET" \
		>/dev/null 2>&1 &
	warm dst
	mark rt
	now "idle"
	wait_until 10 expired || fail "entries are still there"
	expect_since rt expiries=2 evictions=0 flushed=0
	wait $!
	now "in use"
	expect_cached rt2 entries$family=2 expiries=0
	mark rt2
	neighbour 3
	now "anew"
	exchange dst 3
	expect_since rt misses=2
	remove_topology
}

# generate FILE COMMAND...: to the generator of packets in src, which is that of who writes.
generate() {
	expect "pktgen" nsenter --net="/run/netns/${PREFIX}src" bash -c 'cd /proc/net/pktgen
		for command in "${@:2}"; do echo "$command" >"$1" || exit; done' - "$@"
}

is_aside() {
	local value
	cached rt aside
	[ "$value" = "$1" ]
}

# Traffic that pays: the same flows again and again.
comes_back() {
	knock 10 249
	is_aside 0
}

# flood COUNT: so many packets from spoofed sources, as fast as they can be made, or until `stem`
# with 0.
flood() {
	if [ ! -e "/proc/${HOLDERS[src]}/net/pktgen/pgctrl" ]; then
		skip "no generator of packets (CONFIG_NET_PKTGEN)"
		return 1
	fi
	generate kpktgend_0 "add_device e"
	generate e "count $1" "delay 0" "pkt_size 60" "dst 10.9.0.9" "dst_mac 02:00:00:00:01:01" \
		"src_min 10.128.0.1" "src_max 10.255.255.254" "flag IPSRC_RND"
	generate pgctrl start &
	flooding=$!
}

# memory WHAT: a figure of /proc/meminfo, in KiB.
memory() {
	sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo
}

stem() {
	generate pgctrl stop
	wait "$flooding"
	generate kpktgend_0 "rem_device_all"
}

# Each packet is from another source: nothing is gained by keeping their routes. The cache steps
# aside, for as long as that goes on.
a_flood_of_spoofed_sources() {
	local value slab count=1000000 allowed=$((16 << 10))
	if [ -n "$KSFT_MACHINE_SLOW" ]; then
		# What watches it takes a minute for this many, and keeps what was freed (KASAN's quarantine).
		count=40000
		allowed=$((allowed + $(memory MemTotal) / 32))
	fi
	with quota=4096
	warm_neighbour
	warm dst
	now "in the flood"
	mark rt
	slab=$(memory Slab)
	flood $count || return
	wait_until 30 is_aside 1 || fail "the cache does not step aside"
	neighbour 20
	mark rt
	sleep 2
	cached rt entries4
	[ "$value" -le 4096 ] || fail "$value entries with a quota of 4096"
	# Most packets pass by, unless there are so few that the cache came back.
	if [ -z "$KSFT_MACHINE_SLOW" ]; then
		since rt misses
		expect_since_at_least rt bypassed=$((4 * value))
		expect_since_at_least rt bypassed=1000
	fi
	# As long as it goes on, which is longer than the timeout where the machine is slow.
	while kill -0 "$flooding" 2>/dev/null; do neighbour 20; done
	wait "$flooding"
	neighbour 20
	now "after the flood"
	in_netns src grep -q "sofar: $count " /proc/net/pktgen/e || fail "not $count packets were sent"
	value=$(($(memory Slab) - slab))
	[ $value -lt $allowed ] || fail "the kernel's objects take $value KiB more"
	generate kpktgend_0 "rem_device_all"
	wait_until 40 comes_back || fail "the cache does not come back"
	neighbour 5
	exchange dst 3
	exchange dst 3
	expect_since rt hits=6 misses=0
	remove_topology
}

# What is looked up and then refused costs more than what is kept.
a_flood_that_is_refused() {
	with quota=4096
	set_in rt net.ipv4.conf.a.rp_filter=1
	warm_neighbour
	now "in the flood"
	flood 0 || return
	wait_until 30 is_aside 1 || fail "the cache does not step aside"
	neighbour 20
	stem
	remove_topology
}

# Where quotas are no limit, the table is: a namespace may have four fifths of it, and one that comes
# late finds place.
a_namespace_that_would_take_all() {
	local value
	with buckets=1024
	mark rt
	in_netns src python3 -c '
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for service in range(0, 24, 4):
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, service)
    for host in range(10, 250):
        for _ in range(6): udp.sendto(b"", ("10.9.0.%d" % host, 9))
'
	now "1440 flows, 1280 places"
	cached rt entries4
	expect_at_least "entries of rt" "$value" 900
	[ "$value" -le 1024 ] || fail "$value entries, more than four fifths of 1280"
	expect_since_at_least rt evictions=300
	now "beside that"
	warm_neighbour
	expect "flush" in_netns rt2 rnetnsctl flush
	now "anew"
	warm_neighbour
	expect_cached rt2 entries4=2
	remove_topology
}

for_each_family a_quota_of_eight idle_entries_expire
for_family 4 a_namespace_that_would_take_all a_quota_for_both_families a_flood_of_spoofed_sources a_flood_that_is_refused

begin_route_cache bash python3
run_cases "${cases[@]}" no_entry_is_lost
