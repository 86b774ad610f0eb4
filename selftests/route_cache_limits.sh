#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How much a namespace may have in the cache, and for how long. Two routers side by side: one must not
# notice what the other does with its share.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# Beside the router of the other tests, another one with namespaces of its own.
topology() {
	router rt src dst alt
	router rt2 src2 dst2 alt2
}

# with OPTION...: the module, loaded anew. Nothing expires, unless it is told to.
with() {
	unload
	load timeout=3600 "$@" || fail "the module does not load with $*"
}

# neighbour COUNT: pings through rt2, which are all hits.
neighbour() {
	mark rt2
	said=$(in_netns src2 ping "-$family" -n -c "$1" -i 0.02 -W "$PATIENCE" "$TARGET" 2>&1)
	[[ $said == *" $1 received"* ]] || fail "not all pings beside were answered ($what): $said"
	expect_since rt2 hits=$((2 * $1)) misses=0 evictions=0 expiries=0 flushed=0
}

warm_neighbour() {
	in_netns src2 ping "-$family" -q -n -c 2 -i 0.02 -W "$PATIENCE" "$TARGET" >/dev/null 2>&1
	now "warm"
	neighbour 5
}

# printf patterns that turn numbers into addresses.
patterns() {
	case $family in
	4) BASE=10.9.0. PATTERN=%d ;;
	6) BASE=fd09::1: PATTERN=%x ;;
	esac
}

# knock FIRST LAST [BESIDE]: a packet to each of these addresses of the network behind dst, or behind
# dst2 if BESIDE is 2. The router has seen them all afterwards.
knock() {
	local value
	patterns
	seen "rt$3"
	in_netns "src$3" bash -c 'for ((i = $2; i <= $3; i++)); do
		printf -v address "%s$4" "$1" "$i"
		echo >"/dev/udp/$address/9"
	done' - "$BASE" "$1" "$2" "$PATTERN"
	wait_until has_seen "rt$3" $((value + $2 - $1 + 1)) || fail "packets are missing at rt$3 ($what)"
}

# The oldest go, and none of the other namespace's.
a_quota_of_eight() {
	local value
	with quota=8
	warm_neighbour
	mark rt
	knock 10 49
	now "40 flows, 8 places"
	cached rt entries"$family"
	[ "$value" -le 8 ] || fail "$value entries with a quota of 8"
	expect_at_least "entries" "$value" 7
	expect_since_at_least rt evictions=30
	expect_cached rt2 entries"$family"=2 evictions=0
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
	cached rt entries"$family"
	[ "$value" = 0 ]
}

set_timeout() {
	local name
	for name in rt rt2; do
		expect "timeout of $name" in_netns "$name" rnetnsctl set --timeout "$1"
	done
}

# What is not used goes after the timeout. What is used stays: what is found again before the timeout
# is over. If the machine stands still for longer than that, as it may, the timeout must be longer.
idle_entries_expire() {
	local timeout
	with
	for timeout in 2 16 128; do
		warm dst
		warm_neighbour
		if expire_after "$timeout"; then break; fi
		printf '# nothing moved for half of %d s: again, with more\n' "$timeout"
	done
	now "in use"
	expect_cached rt2 entries"$family"=2
	neighbour 3
	now "anew"
	exchange dst 3
	expect_since rt misses=2
	remove_topology
}

# expire_after SECONDS: false if nothing can be said about what is used.
expire_after() {
	local log value end
	log=$(mktemp)
	nsenter --net="/run/netns/${PREFIX}src2" ping "-$family" -D -n -i 0.25 "$TARGET" >"$log" 2>&1 &
	now "idle"
	wait_until grep -q "bytes from" "$log"
	mark rt rt2
	set_timeout "$1"
	wait_until expired || fail "entries are still there"
	expect_since rt expiries=2 evictions=0 flushed=0
	since rt2 expiries
	end=$EPOCHREALTIME
	set_timeout 3600
	kill -INT $!
	wait $!
	if [ "$value" != 0 ] && stood_still "$log" "$end" "$1"; then return 1; fi
	rm "$log"
	expect_equal "expiries of what is in use" "$value" 0
}

# stood_still LOG END SECONDS: whether there was no ping for half of that time.
stood_still() {
	awk -v end="$2" -v limit="$3" -F '[][]' '
		/bytes from/ { if (last && $2 - last > gap) gap = $2 - last; last = $2 }
		END { if (end - last > gap) gap = end - last; exit gap < limit / 2 }' "$1"
}

# generate FILE COMMAND...: writes to the packet generator in src. The writer's namespace decides.
generate() {
	expect "pktgen" nsenter --net="/run/netns/${PREFIX}src" bash -c 'cd /proc/net/pktgen
		for command in "${@:2}"; do echo "$command" >"$1" || exit; done' - "$@"
}

is_aside() {
	local value
	cached rt aside
	[ "$value" = "$1" ]
}

# Traffic that the cache helps with: the same flows again and again.
comes_back() {
	knock 10 249
	is_aside 0
}

# flood [COUNT]: packets from spoofed sources, as fast as they can be made, until `stem`.
flood() {
	if [ ! -e "/proc/${HOLDERS[src]}/net/pktgen/pgctrl" ]; then
		skip "no generator of packets (CONFIG_NET_PKTGEN)"
		return 1
	fi
	generate kpktgend_0 "add_device e"
	generate e "count ${1:-0}" "delay 0" "pkt_size 60" "dst 10.9.0.9" "dst_mac 02:00:00:00:01:01" \
		"src_min 10.128.0.1" "src_max 10.255.255.254" "flag IPSRC_RND"
	generate pgctrl start &
	flooding=$!
}

# memory WHAT: a figure of /proc/meminfo, in KiB.
memory() {
	local lines
	mapfile -d '' lines </proc/meminfo
	[[ $'\n'$lines =~ $'\n'"$1: "\ *([0-9]+) ]] && echo "${BASH_REMATCH[1]}"
}

stem() {
	generate pgctrl stop
	wait "$flooding"
	generate kpktgend_0 "rem_device_all"
}

# has_flooded COUNT: COUNT packets were sent.
has_flooded() {
	local text
	mapfile -d '' text <"/proc/${HOLDERS[src]}/net/pktgen/e"
	[[ $text =~ pkts-sofar:\ ([0-9]+) && ${BASH_REMATCH[1]} -ge $1 ]]
}

# passes_by: most packets pass by the cache while it steps aside. It comes back now and then to see
# whether it helps, sooner if there are few packets; counting starts anew from then on.
passes_by() {
	local value looked_up
	if ! is_aside 1; then
		mark_seen rt
		return 1
	fi
	since rt misses
	looked_up=$value
	passed rt
	[ "$value" -ge 1000 ] && [ "$value" -ge $((4 * looked_up)) ]
}

# nothing_in_the_way: the cache has no hook in the packets' way, where nobody else has one: no packet is
# even let pass.
nothing_in_the_way() {
	local value
	mark_seen rt
	wait_until has_passed rt 2000 || fail "there are no packets"
	is_aside 1 || return 1
	since rt bypassed
	[ "$value" = 0 ]
}

# has_passed NAME COUNT
has_passed() {
	local value
	passed "$1"
	[ "$value" -ge "$2" ]
}

# Each packet is from another source, so it is useless to cache their routes. The cache steps aside for
# as long as that goes on.
a_flood_of_spoofed_sources() {
	local value slab events sent=200000 allowed=$((16 << 10))
	if [ -n "$KSFT_MACHINE_SLOW" ]; then
		# What watches it takes a minute for this many, and keeps what was freed (KASAN's quarantine).
		sent=40000
		allowed=$((allowed + $(memory MemTotal) / 32))
	fi
	with quota=4096
	warm_neighbour
	warm dst
	now "in the flood"
	mark rt
	slab=$(memory Slab)
	events=$(mktemp)
	# Not by a function: that would be another process, which is not the one to end.
	nsenter --net="/run/netns/${PREFIX}rt" rnetnsctl monitor >"$events" 2>&1 &
	HOLDERS[monitor]=$!
	wait_until has_listener || fail "nobody listens"
	flood || return
	wait_until is_aside 1 || fail "the cache does not step aside"
	wait_until grep -q "^on, stepping aside: " "$events" || fail "nobody is told of that: $(<"$events")"
	neighbour 20
	mark_seen rt
	wait_until passes_by || fail "the cache steps aside, and packets do not pass by"
	wait_until nothing_in_the_way || fail "the cache steps aside, and its hooks do not"
	cached rt entries4
	[ "$value" -le 4096 ] || fail "$value entries with a quota of 4096"
	wait_until has_flooded "$sent" || fail "there are not $sent packets: $(in_netns src cat /proc/net/pktgen/e)"
	neighbour 20
	value=$(($(memory Slab) - slab))
	[ "$value" -lt "$allowed" ] || fail "the kernel's objects take $value KiB more"
	cached rt entries4
	[ "$value" -le 4096 ] || fail "$value entries with a quota of 4096"
	stem
	neighbour 20
	now "after the flood"
	wait_until comes_back || fail "the cache does not come back"
	neighbour 5
	exchange dst 3
	exchange dst 3
	expect_since rt hits=6 misses=0
	wait_until is_told_that_it_is_back "$events" || fail "nobody is told of that: $(<"$events")"
	end_holder monitor
	rm "$events"
	remove_topology
}

# is_told_that_it_is_back FILE: the last event about that. A packet whose route is not in the cache
# brings it about.
is_told_that_it_is_back() {
	in_netns rt rnetnsctl flush >/dev/null
	send 1
	[[ $(grep "^on" "$1" | tail -n 1) == "on: "* ]]
}

# However well the cache did before, it looks up at most 4,096 packets of a flood before it steps aside.
a_flood_that_begins() {
	local value
	with quota=4096
	warm_neighbour
	warm dst
	exchange dst 100
	now "the first 5000 packets"
	mark_seen rt
	flood 5000 || return
	wait_until has_seen rt $((SEEN + 5000)) || fail "packets are missing at rt"
	stem
	passed rt
	expect_at_least "packets that pass by" "$value" $((5000 - 4096))
	neighbour 5
	remove_topology
}

# A route that is looked up and then refused costs more than one that is cached.
a_flood_that_is_refused() {
	with quota=4096
	set_in rt net.ipv4.conf.a.rp_filter=1
	warm_neighbour
	now "in the flood"
	flood || return
	wait_until is_aside 1 || fail "the cache does not step aside"
	neighbour 20
	stem
	remove_topology
}

# send_udp COUNT: packets for the router itself.
send_udp() {
	in_netns src python3 -c '
import socket, sys
udp = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[2])):
    try: udp.sendto(b"", (sys.argv[1], 9))
    except ConnectionRefusedError: pass
' "$RT" "$1"
}

# host_has_nothing_in_the_way: packets for the router itself meet no hook of the cache.
host_has_nothing_in_the_way() {
	local value
	mark_seen rt
	send_udp 500
	wait_until has_seen rt $((SEEN + 500)) || fail "packets are missing at rt"
	is_aside 1 || return 1
	since rt bypassed
	[ "$value" = 0 ] && passed rt && [ "$value" -ge 500 ]
}

# Packets for the machine itself gain nothing by the cache: it steps aside where there are no others, be
# they of many flows or of a single one.
a_host_that_gains_nothing() {
	with quota=4096
	warm_neighbour
	mark_seen rt
	now "UDP for the router itself"
	send_udp 5000
	wait_until has_seen rt $((SEEN + 5000)) || fail "packets are missing at rt"
	expect_since rt hits=0
	expect_since_at_least rt left=1000
	passed rt
	expect_at_least "packets that pass by ($what)" "$value" 900
	wait_until host_has_nothing_in_the_way || fail "the cache steps aside, and its hooks do not"
	mark rt
	now "to itself, while aside"
	expect "ping" in_netns rt ping "-$family" -q -n -c 10 -i 0.01 -W "$PATIENCE" "$RT"
	expect_since rt bypassed=0 misses=0 hits=0
	neighbour 5
	with quota=4096
	mark_seen rt
	now "TCP for the router itself"
	nsenter --net="/run/netns/${PREFIX}rt" python3 -c '
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
connection, _ = socket.create_server((sys.argv[1], 5000), family=family).accept()
while word := connection.recv(1): connection.send(word)
' "$RT" &
	HOLDERS[server]=$!
	wait_until serves || fail "nobody listens"
	expect "talk" in_netns src python3 -c '
import socket, sys
connection = socket.create_connection((sys.argv[1], 5000))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(4200):
    connection.send(b"x")
    connection.recv(1)
' "$RT"
	wait "${HOLDERS[server]}"
	unset "HOLDERS[server]"
	expect_since rt hits=0
	# It tries again now and then.
	passed rt
	expect_at_least "packets that pass by ($what)" "$value" 100
	remove_topology
}

# serves: whether a TCP socket of rt listens (state 0A).
serves() {
	grep -q ':1388 [0:]* 0A ' "/proc/${HOLDERS[rt]}/net/tcp" "/proc/${HOLDERS[rt]}/net/tcp6"
}

# has_grown NAME FIGURE COUNT
has_grown() {
	local value
	since "$1" "$2"
	[ "$value" -ge "$3" ]
}

# Flows of a namespace that comes late.
LATE=64

# finds_place: most entries of rt2 find a place, and stay.
finds_place() {
	local value
	knock 100 $((99 + LATE)) 2
	cached rt2 entries4
	expect_at_least "entries of rt2 ($what)" "$value" $((LATE / 2))
	mark rt2
	knock 100 $((99 + LATE)) 2
	since rt2 hits
	expect_at_least "hits of rt2 ($what)" "$value" $((LATE / 2))
	expect_since rt2 evictions=0 expiries=0
}

# keeps_promise: few entries of rt2, as many as it is promised even in a small table, find a place each
# time.
keeps_promise() {
	local round value
	mark rt2
	for round in 1 2 3 4 5 6 7 8; do
		expect "flush" in_netns rt2 rnetnsctl flush
		knock $((200 + 4 * round)) $((202 + 4 * round)) 2
		cached rt2 entries4
		expect_at_least "entries of rt2 ($what)" "$value" 3
	done
	expect_since rt2 refusals=0 evictions=0
}

# Where quotas are no limit, the table is, of 1280 entries here, which have 2048 places. One eighth of
# them is promised: each namespace has some that nobody takes. Of the rest, a namespace may have four
# fifths, and one that comes late its part of what is left. It is not promised that each of these entries
# finds a place: it is looked for in eight lines of two places each, which may all be taken by entries of
# others, or by some that were taken out and wait for a grace period. That this is so for half of the
# late flows does not happen. Which flows have no place is chance, by the secret of the table; their
# packets are routed all the same.
#
# Those who have no entries, and were there before, take nothing of what is promised.
a_namespace_that_would_take_all() {
	local value idle=(idle{1..40})
	remove_topology
	add_netns "${idle[@]}"
	topology
	with buckets=1024
	take_all
	cached rt entries4
	expect_at_least "entries of rt" "$value" 850
	[ "$value" -le 1024 ] || fail "$value entries, more than four fifths of 1280"
	now "what is promised"
	keeps_promise
	now "beside that"
	finds_place
	expect "flush" in_netns rt2 rnetnsctl flush
	expect_cached rt2 entries4=0
	now "anew"
	finds_place
	exchange_beside 5
	remove_topology
	del_netns "${idle[@]}"
}

# flows NAME SERVICES: six packets each of 240 flows from there for each service.
flows() {
	in_netns "$1" python3 -c '
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for service in range(int(sys.argv[1])):
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, service * 4)
    for host in range(10, 250):
        for _ in range(6): udp.sendto(b"", ("10.9.0.%d" % host, 9))
' "$2"
}

# take_all: rt has all of the table that it may have.
take_all() {
	mark rt
	flows src 6
	now "1440 flows, 1280 places"
	wait_until has_grown rt evictions 300 || fail "nothing is evicted"
}

# One that is idle, and has what it may have of an empty table, gives way to one that comes late, until
# their parts are nearly equal. If it kept what it has, the other would have 200 entries.
an_idle_namespace_gives_way() {
	local value
	with buckets=1024
	take_all
	now "the other one's flows"
	wait_until has_a_part || fail "rt2 has $value of 480 entries"
	cached rt entries4
	expect_at_least "entries of rt ($what)" "$value" 400
	remove_topology
}

# has_a_part: rt2 has most of its 480 entries. Sets `value` to their number. In a table as small as this,
# places that are taken some at a time make a difference.
has_a_part() {
	flows src2 2
	cached rt2 entries4
	[ "$value" -ge 320 ]
}

# exchange_beside COUNT: pings through rt2 are answered, cached or not.
exchange_beside() {
	said=$(in_netns src2 ping -4 -n -c "$1" -i 0.02 -W "$PATIENCE" "$TARGET" 2>&1)
	[[ $said == *" $1 received"* ]] || fail "not all pings beside were answered ($what): $said"
}

for_each_family a_quota_of_eight idle_entries_expire a_host_that_gains_nothing
for_family 4 a_namespace_that_would_take_all an_idle_namespace_gives_way a_quota_for_both_families a_flood_of_spoofed_sources a_flood_that_begins a_flood_that_is_refused

begin_route_cache bash cat grep mktemp python3 rnetnsctl sed
run_cases "${cases[@]}" no_entry_is_lost
