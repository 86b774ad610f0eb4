#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs each measurement of rnetns_bench and prints what it found, as KTAP: the figures are lines
# `# figure NAME lost=N ns=A,B,...`, and `# memory NAME bytes=A,B,...` for what was seen in
# /proc/meminfo. The lab puts this beside the selftests, whose lib.sh it uses.
#
# Counting instructions gives the same number each time, in any order, and caches do not matter: so
# all amounts are smaller there. There is only one processor then. Amounts are smaller under
# emulation, too. Lines `# note TEXT` say what was left out. User Mode Linux runs at the machine's
# own speed, and measures everything that needs no traffic.

. "$(dirname "$0")/lib.sh"

FILES=/sys/kernel/debug/rnetns_bench
ROUNDS=5

if grep -q 'User Mode Linux' /proc/cpuinfo; then
	ENGINE=native
elif grep -q hypervisor /proc/cpuinfo && [ -e /sys/module/kvm_guest ]; then
	ENGINE=native
else
	ENGINE=emulated
fi
if [ $ENGINE = native ]; then
	LOOK_UPS=262144
	PACKETS=16384
	ENTRIES='1024 65536 262144 1048576'
	LARGEST=1048576
	CHANGED=262144
	HELD=524288
	echo "# note no 1048576 entries beside hlist: they do not fit into the memory"
else
	LOOK_UPS=16384
	PACKETS=2048
	ENTRIES='1024 65536'
	LARGEST=65536
	CHANGED=65536
	HELD=131072
	echo "# note emulated: tables have $LARGEST entries at most, not 1048576"
fi
COUNTING=
if [ $ENGINE = emulated ] && [ "$(nproc)" = 1 ]; then
	COUNTING=1
	LOOK_UPS=4096
fi

cleanup_bench() {
	local job
	for job in $(jobs -p); do kill "$job"; done
	if [ -d /sys/module/rnetns_bench ]; then rmmod rnetns_bench; fi
	cleanup
}

# measure COMMAND...: one measurement, and its figures.
measure() {
	if echo "$*" >$FILES/measure; then
		sed 's/^/# figure /' $FILES/results
		echo "# at $SECONDS s: $*"
	else
		fail "cannot measure: $*"
	fi
}

# --- State, and packets through loopback devices -----------------------------------------------

state() {
	measure state $$
}

traffic() {
	expect "lo up" ip link set lo up
	expect "rlo up" ip link set rlo up
	measure traffic $$
}

# --- The table ---------------------------------------------------------------------------------

tables() {
	local entries namespaces

	for entries in $ENTRIES; do
		measure table rhashtable $entries 1 $LOOK_UPS
		[ $entries = 1048576 ] || measure table hlist $entries 1 $LOOK_UPS
	done
	for namespaces in 100 10000; do
		for entries in $ENTRIES; do
			if [ $entries = 1024 ] || { [ $ENGINE = emulated ] && [ $entries != 65536 ]; }; then
				continue
			fi
			measure table rhashtable $entries $namespaces $LOOK_UPS
			[ $entries = 1048576 ] || measure table hlist $entries $namespaces $LOOK_UPS
		done
	done
	for entries in $ENTRIES; do
		if [ $entries != 1024 ]; then
			measure table namespaces $entries 100 $LOOK_UPS
		fi
	done
}

updates() {
	measure update 65536 1
	measure update $CHANGED 10000
	if [ $CHANGED != 65536 ]; then measure update $CHANGED 1; fi
}

ends() {
	measure end $LARGEST
}

# --- Memory ------------------------------------------------------------------------------------

# What the kernel has in use, in KiB, when it has come to rest.
used() {
	local total=0 key value _

	echo 3 >/proc/sys/vm/drop_caches
	while read -r key value _; do
		case $key in
		MemTotal:) total=$((total + value)) ;;
		MemFree: | Buffers: | Cached: | AnonPages:) total=$((total - value)) ;;
		esac
	done </proc/meminfo
	echo $total
}

# held NAME DIVISOR WHAT LINES FILLING: bytes that a table takes, divided by DIVISOR.
held() {
	local name=$1 divisor=$2 bytes=() before after round
	shift 2

	for ((round = 0; round < ROUNDS; round++)); do
		echo hold off >$FILES/measure
		before=$(used)
		echo "hold $*" >$FILES/measure || { fail "cannot hold $*"; return; }
		after=$(used)
		bytes+=($(((after - before) * 1024 * 1000 / divisor)))
	done
	echo hold off >$FILES/measure
	report "$name" "${bytes[@]}"
}

# report NAME VALUE...: thousandths of a byte.
report() {
	local name=$1 text= value
	shift
	for value in "$@"; do
		text+=,$((value / 1000)).$(printf %03d $((value < 0 ? 0 : value % 1000)))
	done
	echo "# memory $name bytes=${text#,}"
}

# Tables with as many entries as they take: for IPv4 that is five for four lines, for IPv6 three. In
# addition, IPv4 with one entry a line, as look-ups are measured.
memory_of_entries() {
	local lines=$HELD

	held memory_inet_bucket $lines inet $lines empty
	held memory_inet_entry $((lines / 4 * 5)) inet $lines full
	held memory_inet_entry_one_a_bucket $lines inet $lines one
	held memory_inet6_bucket $lines inet6 $lines empty
	held memory_inet6_entry $((lines / 4 * 3)) inet6 $lines full
	held memory_rhashtable_entry $lines rhashtable $lines full
	held memory_hlist_entry $lines hlist $lines full
}

# allocated FILE: bytes that the creation of a namespace leaves allocated, by the function that
# asked for them.
allocated() {
	local tracing=/sys/kernel/tracing event

	echo >$tracing/trace
	for event in $EVENTS; do echo 1 >$tracing/events/$event/enable; done
	ip netns add "${PREFIX}idle"
	for event in $EVENTS; do echo 0 >$tracing/events/$event/enable; done
	awk '{
		for (i = 1; i <= NF; i++)
			if (split($i, pair, "=") == 2) value[pair[1]] = pair[2]
	}
	/ (kmalloc|kmem_cache_alloc|percpu_alloc_percpu): / {
		site[value["ptr"]] = value["call_site"]
		size[value["ptr"]] = value["bytes_alloc"]
	}
	/ (kfree|kmem_cache_free|percpu_free_percpu): / { delete site[value["ptr"]] }
	END {
		for (ptr in site) {
			sub(/\+.*/, "", site[ptr])
			sum[site[ptr]] += size[ptr]
		}
		for (name in sum) print name, sum[name]
	}' $tracing/trace >"$1"
	ip netns del "${PREFIX}idle"
}

EVENTS="kmem/kmalloc kmem/kfree kmem/kmem_cache_alloc kmem/kmem_cache_free
	percpu/percpu_alloc_percpu percpu/percpu_free_percpu"

# What the module adds to the cost of a namespace, without the net_device: memory that the module
# itself, pernet storage and hooks have allocated.
memory_of_namespace() {
	local tracing=/sys/kernel/tracing round bytes=() dir

	mount -t tracefs tracefs $tracing 2>/dev/null
	[ -d $tracing/events/percpu ] || { skip "no trace events of allocations"; return; }
	dir=$(mktemp -d)
	echo 8192 >$tracing/buffer_size_kb
	# The first one made has allocations of its own.
	allocated "$dir/with"
	allocated "$dir/with"
	unload
	allocated "$dir/without"
	load
	for ((round = 0; round < ROUNDS; round++)); do
		allocated "$dir/with"
		bytes+=($(awk '$1 ~ /^ops_init$|nf_hook|rnetns/ {
			sum += FNR == NR ? -$2 : $2
		} END { print sum * 1000 }' "$dir/without" "$dir/with"))
	done
	rm -r "$dir"
	report memory_idle_namespace "${bytes[@]}"
}

# --- Routers -----------------------------------------------------------------------------------

# router NUMBER: forwards from `g` to `s`, both with that number, in the present namespace. No host
# has the destination address: packets are dropped where they come out.
router() {
	local net=r$1 in=172.16.$1 out=172.17.$1

	add_netns $net
	ip link add "g$1" type veth peer name in address 02:00:00:00:00:01 netns "$PREFIX$net" ||
		fail "cannot add veths"
	ip link add "s$1" type veth peer name out netns "$PREFIX$net" || fail "cannot add veths"
	in_netns $net sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.in.disable_ipv6=1 \
		net.ipv6.conf.out.disable_ipv6=1
	sysctl -q -w "net.ipv6.conf.g$1.disable_ipv6=1" "net.ipv6.conf.s$1.disable_ipv6=1"
	ip_in $net -batch - <<-END || fail "cannot set up router $1"
		address add $in.1/24 dev in
		address add $out.1/24 dev out
		link set in up
		link set out up
		neighbour add $in.2 lladdr 02:00:00:00:00:98 dev in nud permanent
		neighbour add $out.2 lladdr 02:00:00:00:00:99 dev out nud permanent
		route add 30.0.0.0/8 via $in.2 dev in
	END
	ip link set "g$1" up
	ip link set "s$1" up
}

# routes NUMBER FROM TO: 10.0.0.0/24 and on, out of a router.
routes() {
	in_netns "r$1" "$HERE/add_routes" "172.17.$1.2" out "$2" "$3" || fail "cannot add routes"
}

# rules NUMBER FROM TO: policy rules that no packet of ours meets.
rules() {
	local number=$1
	awk -v from="$2" -v to="$3" 'BEGIN {
		for (i = from; i < to; i++)
			printf "rule add pref %d from 198.18.%d.0/24 lookup %d\n", 100 + i, i, 100 + i
	}' | ip_in "r$number" -batch - || fail "cannot add rules"
}

no_rules() {
	local rule
	for rule in 0 1 2 3 4 5 6 7; do echo "rule del pref $((100 + rule))"; done |
		ip_in "r$1" -batch - || fail "cannot delete rules"
}

# rp_filter NUMBER VALUE
rp_filter() {
	in_netns "r$1" sysctl -q -w net.ipv4.conf.all.rp_filter="$2" net.ipv4.conf.in.rp_filter="$2"
}

# One router that gets more and more routes: what the kernel does without a cache, and forwarding
# with the cache off and on. With 1,000 routes, rules and rp_filter vary one by one; with other
# numbers, only the least and the most of both is measured.
routing() {
	local have=0 count

	router 0
	for count in 1 4 1000 10000 100000; do
		routes 0 $have $count
		have=$count
		case $count in
		4 | 10000) fib $count ;;
		100000) fib $count; forwarding $count ;;
		*) forwarding $count ;;
		esac
	done
	del_netns r0
}

# fib ROUTES: asked on the side of the router.
fib() {
	rp_filter 0 0
	# Not in a function, which would be another process.
	nsenter --net="/run/netns/${PREFIX}r0" sleep 1000 &
	wait_until is_in $! "$(inum r0)" || fail "no process in r0"
	measure fib $LARGEST $LOOK_UPS "$1" $! in
	kill $!
	wait $! 2>/dev/null
}

# forwarding ROUTES
forwarding() {
	[ $ENGINE = emulated ] || return
	rules 0 0 1
	forwarding_with "$1" 1 0
	if [ "$1" = 1000 ]; then forwarding_with "$1" 1 1; fi
	rules 0 1 8
	if [ "$1" = 1000 ]; then forwarding_with "$1" 8 0; fi
	forwarding_with "$1" 8 1
	no_rules 0
}

# forwarding_with ROUTES RULES RP_FILTER: without the cache (0), and with it (1). A namespace gets
# its cache when the module is loaded.
forwarding_with() {
	local kind flows on some='4096 spoofed'

	if [ "$1" = 1000 ]; then some='16 4096 1048576 spoofed'; fi
	rp_filter 0 "$3"
	for on in 0 1; do
		unload
		load enable=$on || fail "cannot load"
		for flows in $some; do
			kind=flows
			if [ $flows = spoofed ]; then kind=spoofed; fi
			measure forward "forward_$1_$2_$3_${flows}_cache_$on" $kind \
				${flows/spoofed/4096} $PACKETS "$1" $$ g0 s0
		done
	done
}

# The module loaded and disabled, beside not loaded, in turn.
idle() {
	local round

	ip link set lo up
	for ((round = 1; round <= ROUNDS; round++)); do
		for how in absent disabled; do
			if loaded; then unload; fi
			if [ $how = disabled ]; then load enable=0 || fail "cannot load"; fi
			router 0
			routes 0 0 1
			measure lo "idle_lo_$how#$round" $$
			measure forward "idle_forward_$how#$round" flows 16 $PACKETS 1 $$ g0 s0
			del_netns r0
		done
	done
	loaded || load
}

begin
trap cleanup_bench EXIT
load || skip_all "rnetns does not load"
insmod "$MODULES_DIR/rnetns_bench.ko" || skip_all "rnetns_bench does not load"
if [ $ENGINE = native ]; then
	run_cases state tables updates ends memory_of_entries routing
elif [ $COUNTING ]; then
	run_cases state traffic tables updates ends routing idle
else
	run_cases state traffic tables updates ends memory_of_entries memory_of_namespace routing \
		idle
fi
