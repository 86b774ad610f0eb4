#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One table for all namespaces: a namespace finds only its own entries, and events in one namespace
# leave the entries of the others alone.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# The number of routers with the same addresses, devices and flow.
SAME=20

# Each router gets packets by a device of `crowd` and passes them on to one of `out`.
crowd() {
	local i name names=()
	for i in $(seq "$SAME"); do names+=("rt$i"); done
	add_netns crowd out "${names[@]}"
	hold crowd out "${names[@]}"
	set_in crowd "${quiet[@]}"
	set_in out "${quiet[@]}" net.ipv6.conf.default.disable_ipv6=1
	for name in "${names[@]}"; do
		in_netns "$name" bash -c '
			cd /proc/sys/net
			echo 0 | tee ipv6/conf/{all,default}/accept_dad \
				ipv6/conf/default/router_solicitations >/dev/null' || fail "settings of $name"
	done
	# Device indexes are the same, too: they are part of the key.
	expect "cables" ip -batch - < <(for i in $(seq "$SAME"); do
		echo link add name a index 11 netns "${PREFIX}rt$i" address 02:00:00:00:01:01 \
			type veth peer name "e$i" netns "${PREFIX}crowd" address 02:00:00:00:01:02
		echo link add name b index 12 netns "${PREFIX}rt$i" address 02:00:00:00:02:01 \
			type veth peer name "f$i" netns "${PREFIX}out" address 02:00:00:00:02:02
	done)
	# A device without ARP and multicast joins no IPv6 groups, not even that of all routers. So the
	# routers send nothing but what they pass on.
	for name in "${names[@]}"; do
		batch_in "$name" <<-END
			link set dev a up
			link set dev b arp off multicast off up
			addr add 10.0.1.1/24 dev a
			addr add fd01::1/64 dev a nodad
			addr add 10.0.2.1/24 dev b
			addr add fd02::1/64 dev b nodad
			neigh add 10.0.2.2 lladdr 02:00:00:00:02:02 dev b nud permanent
			neigh add fd02::2 lladdr 02:00:00:00:02:02 dev b nud permanent
			route add 10.9.0.0/24 via 10.0.2.2
			route add fd09::/64 via fd02::2
		END
		in_netns "$name" bash -c 'cd /proc/sys/net
			echo 1 | tee ipv4/ip_forward ipv6/conf/all/forwarding >/dev/null' || fail "forwarding of $name"
	done
	batch_in crowd < <(for i in $(seq "$SAME"); do
		cat <<-END
			link set dev e$i up
			addr add 10.0.1.2/24 dev e$i
			addr add fd01::2/64 dev e$i nodad
			neigh add 10.0.1.1 lladdr 02:00:00:00:01:01 dev e$i nud permanent
			neigh add fd01::1 lladdr 02:00:00:00:01:01 dev e$i nud permanent
			route add 10.9.0.0/24 via 10.0.1.1 dev e$i metric $i
			route add fd09::/64 via fd01::1 dev e$i metric $i
		END
	done)
	batch_in out < <(for i in $(seq "$SAME"); do echo link set dev "f$i" up; done)
}

# received: how many packets each device of `out` has received, in `counts`.
received() {
	local device packets
	counts=()
	while read -r device _ packets _; do
		case $device in
		f*:) device=${device#f} counts[${device%:}]=$packets ;;
		esac
	done <"/proc/${HOLDERS[out]}/net/dev"
}

# has_received NUMBER COUNT: by the device behind this router.
has_received() {
	local counts
	received
	[ "${counts[$1]}" -ge "$2" ]
}

# expect_passed_on NUMBER COUNT BEFORE: this router has passed on COUNT packets since BEFORE.
expect_passed_on() {
	local counts
	wait_until has_received "$1" $(($3 + $2))
	received
	expect_equal "packets that rt$1 passed on ($what)" $((counts[$1] - $3)) "$2"
}

# There are no answers: a counter behind each router shows what it passed on.
each_of_many_gets_its_own_route() {
	local i pids=() counts before
	received
	before=("${counts[@]}")
	for i in $(seq "$SAME"); do mark "rt$i"; done
	for i in $(seq "$SAME"); do
		nsenter --net="/run/netns/${PREFIX}crowd" ping "-$family" -q -n -c 10 -i 0.05 -W 0.1 \
			-I "e$i" "$TARGET" >/dev/null 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
	now "the same flow everywhere"
	for i in $(seq "$SAME"); do
		expect_passed_on "$i" 10 "${before[i - 1]}"
		expect_since "rt$i" misses=1 inserts=1 hits=9
		expect_cached "rt$i" "entries$family=1"
	done
}

# More flows for each router.
FLOWS=30

# Many entries in a small table: some in one line always differ only in the namespace.
many_flows_of_each() {
	local counts before i value round
	received
	before=("${counts[@]}")
	for round in 1 2; do
		for i in $(seq "$SAME"); do mark "rt$i"; done
		expect "packets" in_netns crowd python3 -c '
import socket, sys
family, same, flows = map(int, sys.argv[1:])
pattern = "10.9.0.%d" if family == 4 else "fd09::1:%x"
for i in range(1, same + 1):
    s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"e%d" % i)
    for flow in range(flows):
        s.sendto(b"", (pattern % (10 + flow), 9))
' "$family" "$SAME" "$FLOWS"
		now "many flows, round $round"
		for i in $(seq "$SAME"); do
			expect_passed_on "$i" "$FLOWS" "${before[i - 1]}"
			if [ "$round" = 2 ]; then expect_since_at_least "rt$i" hits=$((FLOWS / 2)); fi
		done
		received
		before=("${counts[@]}")
	done
}

# One router has another route, another router has none.
one_changes_its_route() {
	local counts before=() i
	ip_in rt3 "-$family" route replace blackhole "$NET"
	ip_in rt5 "-$family" route del "$NET"
	received
	before=("${counts[@]}")
	for i in 2 3 4 5 6; do
		mark "rt$i"
		in_netns crowd ping "-$family" -q -n -c 3 -i 0.01 -W 0.1 -I "e$i" "$TARGET" >/dev/null 2>&1
	done
	now "changed in rt3 and rt5"
	for i in 2 3 4 5 6; do
		case $i in
		3 | 5)
			expect_passed_on "$i" 0 "${before[i - 1]}"
			expect_since "rt$i" hits=0
			;;
		*)
			expect_passed_on "$i" 3 "${before[i - 1]}"
			expect_since "rt$i" hits=3 misses=0 invalidations=0
			;;
		esac
	done
}

# All namespaces end except one. Its entry stays, and the very next packet finds it.
the_others_end() {
	local i names=() counts before value others=()
	for i in $(seq 2 "$SAME"); do names+=("rt$i") others+=("${INUMS["rt$i"]}"); done
	cached rt1 "entries$family"
	now "with the others"
	expect_at_least "entries of rt1" "$value" 1
	mark rt1
	end_netns "${names[@]}"
	now "the last one left"
	wait_until none_has_a_cache "${others[@]}" ||
		fail "namespaces are still listed: $(<"$ROUTE_CACHE")"
	expect_cached rt1 "entries$family=$value"
	received
	before=("${counts[@]}")
	in_netns crowd ping "-$family" -q -n -c 3 -i 0.01 -W 0.1 -I e1 "$TARGET" >/dev/null 2>&1
	expect_passed_on 1 3 "${before[0]}"
	expect_since rt1 hits=3 misses=0 flushed=0 evictions=0 expiries=0 invalidations=0
}

# none_has_a_cache INUM...
none_has_a_cache() {
	local inum rest
	while read -r inum rest; do
		[[ " $* " != *" $inum "* ]] || return
	done <"$ROUTE_CACHE"
}

topology() {
	crowd
}

for_each_family each_of_many_gets_its_own_route many_flows_of_each one_changes_its_route the_others_end

everything_is_freed() {
	remove_topology
	expect_netns_gone
}

PARAMETERS=(buckets=1024 timeout=3600)
begin_route_cache bash ping python3 seq tee
run_cases "${cases[@]}" no_entry_is_lost everything_is_freed
