# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of the route cache share: a router with two routes to one target, and the figures of
# its cache.
#
#                    .2 src === a  rt  b === dst .2      the target, 10.9.0.9 and fd09::9, is an
#       10.0.1.0/24, fd01::/64     rt  c === alt .2      address of dst and of alt
#
# b is in 10.0.2.0/24 and fd02::/64, c in 10.0.3.0/24 and fd03::/64; rt is .1 everywhere. All
# neighbour entries are static, so only packets of the test are on the wire, and the figures are exact.
# rt routes to dst, unless it is told otherwise.
#
# A program takes a tenth of a second to start in an emulated guest. So the shell itself reads figures
# that are needed often, into a variable instead of from a pipe.

ROUTE_CACHE=$DEBUGFS/route_cache

# use FAMILY: sets the addresses that cases use, of family 4 or 6.
# shellcheck disable=SC2034 # cases use them
use() {
	family=$1
	case $family in
	4)
		NET=10.9.0.0/24 TARGET=10.9.0.9 LEN=32
		SRC=10.0.1.2 RT=10.0.1.1 DST=10.0.2.2 ALT=10.0.3.2
		;;
	6)
		NET=fd09::/64 TARGET=fd09::9 LEN=128
		SRC=fd01::2 RT=fd01::1 DST=fd02::2 ALT=fd03::2
		;;
	esac
}

# for_family FAMILY CASE...: defines CASE_ipvFAMILY, and adds it to `cases`. The cases of a family
# have the topology in common, and leave it as they found it. One that fails need not: the next begins
# anew.
for_family() {
	local name number=$1
	shift
	for name in "$@"; do
		eval "${name}_ipv$number() { in_topology $number $name; }"
		cases+=("${name}_ipv$number")
	done
}

# for_each_family CASE...
for_each_family() {
	for_family 4 "$@"
	for_family 6 "$@"
}

# in_topology FAMILY CASE
in_topology() {
	if [ "$1" != "$family" ]; then remove_topology; fi
	use "$1"
	if [ ${#INUMS[@]} = 0 ]; then topology; fi
	if declare -F "$2" >/dev/null; then
		"$2"
	else
		fail "there is no such case"
	fi
	if [ -n "$case_failed" ]; then
		cache_line rt
		printf '# rt: %s\n' "$line"
		remove_topology
	fi
}

cases=()
family=

# --- Topology ---------------------------------------------------------------------------------

# batch_in NAME: commands for ip, in a namespace, from standard input.
batch_in() {
	local out
	out=$(ip -n "$PREFIX$1" -batch - 2>&1) || fail "ip in $1: $out"
}

# set_in NAME SETTING=VALUE...: sysctl in a namespace.
set_in() {
	local name=$1
	shift
	expect "settings" in_netns "$name" sysctl -qw "$@"
}

# Namespaces must send nothing on their own: no router solicitation, no duplicate address detection.
quiet=(net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	net.ipv6.conf.default.router_solicitations=0 net.ipv4.conf.default.rp_filter=0
	net.ipv4.conf.all.rp_filter=0)

# near NUMBER DEVICE, far NUMBER DEVICE: for ip, what makes an end of a cable: .1 or .2 of
# 10.0.NUMBER.0/24 and fd0NUMBER::/64. Each knows the other; the far one knows no other way.
near() {
	printf '%s\n' "link set dev $2 up" \
		"addr add 10.0.$1.1/24 dev $2" \
		"addr add fd0$1::1/64 dev $2 nodad" \
		"neigh replace 10.0.$1.2 lladdr 02:00:00:00:0$1:02 dev $2 nud permanent" \
		"neigh replace fd0$1::2 lladdr 02:00:00:00:0$1:02 dev $2 nud permanent"
}

far() {
	printf '%s\n' "link set dev $2 up" \
		"addr replace 10.0.$1.2/24 dev $2" \
		"addr replace fd0$1::2/64 dev $2 nodad" \
		"neigh replace 10.0.$1.1 lladdr 02:00:00:00:0$1:01 dev $2 nud permanent" \
		"neigh replace fd0$1::1 lladdr 02:00:00:00:0$1:01 dev $2 nud permanent" \
		"route replace default via 10.0.$1.1" \
		"route replace default via fd0$1::1"
}

# cable NUMBER NAME DEVICE NAME DEVICE: for ip, a pair of devices with addresses that tell the ends.
cable() {
	echo link add name "$3" netns "$PREFIX$2" address "02:00:00:00:0$1:01" \
		type veth peer name "$5" netns "$PREFIX$4" address "02:00:00:00:0$1:02"
}

# add_netns_with_own_udp_table NAME...: the table of UDP sockets is one for all namespaces, unless told
# otherwise. The kernel gives a packet the route that its socket knows only if that socket is the first
# of its chain (early demux), so a socket anywhere could take that from a socket here.
add_netns_with_own_udp_table() {
	local before setting=/proc/sys/net/ipv4/udp_child_hash_entries
	before=$(<$setting)
	echo 128 >$setting
	add_netns "$@"
	echo "$before" >$setting
}

# router NAME SOURCE DESTINATION OTHER: makes the namespaces of the picture above.
router() {
	local rt=$1 src=$2 dst=$3 alt=$4 name
	add_netns_with_own_udp_table "$@"
	hold "$@"
	for name in "$src" "$dst" "$alt"; do
		set_in "$name" "${quiet[@]}"
	done
	set_in "$rt" "${quiet[@]}" net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
	expect "cables" ip -batch - <<-END
		$(cable 1 "$rt" a "$src" e)
		$(cable 2 "$rt" b "$dst" e)
		$(cable 3 "$rt" c "$alt" e)
	END
	{
		far 1 e
		echo link set dev lo up
	} | batch_in "$src"
	{
		far 2 e
		target
	} | batch_in "$dst"
	{
		far 3 e
		target
	} | batch_in "$alt"
	{
		near 1 a
		near 2 b
		near 3 c
		printf '%s\n' 'link set dev lo up' \
			'route add 10.9.0.0/24 via 10.0.2.2' \
			'route add fd09::/64 via fd02::2' \
			'route add 10.9.0.0/24 via 10.0.3.2 table 101' \
			'route add fd09::/64 via fd03::2 table 101'
	} | batch_in "$rt"
}

target() {
	printf '%s\n' 'link set dev lo up' \
		'addr add 10.9.0.9/32 dev lo' \
		'addr add fd09::9/128 dev lo nodad'
}

# hold NAME...: starts a process in each namespace, through which the figures of its stack can be read.
hold() {
	local name inums
	for name in "$@"; do
		nsenter --net="/run/netns/$PREFIX$name" sleep infinity &
		HOLDERS[$name]=$!
	done
	mapfile -t inums < <(cd /run/netns && stat -L -c %i "${@/#/$PREFIX}")
	for name in "$@"; do
		INUMS[$name]=${inums[0]}
		inums=("${inums[@]:1}")
		wait_until [ "/proc/${HOLDERS[$name]}/ns/net" -ef "/run/netns/$PREFIX$name" ] ||
			fail "no process in $name"
	done
}

# end_holder NAME: ends a process of HOLDERS. The shell would tell that it was killed.
end_holder() {
	kill "${HOLDERS[$1]}"
	wait "${HOLDERS[$1]}"
	unset "HOLDERS[$1]"
} 2>/dev/null

# end_netns NAME...: ends the processes of `hold` and the namespaces.
end_netns() {
	local name
	for name in "$@"; do
		end_holder "$name"
		unset "INUMS[$name]"
	done
	del_netns "$@"
}

declare -A INUMS HOLDERS AT_MARK

topology() {
	router rt src dst alt
}

remove_topology() {
	marking=
	if [ ${#INUMS[@]} != 0 ]; then end_netns "${!INUMS[@]}"; fi
}

# route COMMAND...: `ip route` in rt, in the family of the case. The same for rule, addr, neigh,
# nexthop.
route() { expect "route" ip_in rt "-$family" route "$@"; }
rule() { expect "rule" ip_in rt "-$family" rule "$@"; }
addr() { expect "addr" ip_in rt "-$family" addr "$@"; }
neigh() { expect "neigh" ip_in rt "-$family" neigh "$@"; }
nexthop() { expect "nexthop" ip_in rt "-$family" nexthop "$@"; }

# mark_from_now MARK: marks packets that come in by a, until `no_mark`.
mark_from_now() {
	expect "mark" in_netns rt tc actions replace action skbedit mark "$1" index 1
	[ -n "$marking" ] && return
	marking=1
	expect "ingress" in_netns rt tc qdisc add dev a clsact
	expect "filter" in_netns rt tc filter add dev a ingress matchall action skbedit index 1
}

no_mark() {
	expect "no ingress" in_netns rt tc qdisc del dev a clsact
	expect "no action" in_netns rt tc actions flush action skbedit
	marking=
}

marking=

# --- Figures ----------------------------------------------------------------------------------

# cache_line NAME: sets `line` to the line of a namespace.
cache_line() {
	local lines
	mapfile -t lines <"$ROUTE_CACHE"
	for line in "${lines[@]}"; do
		[[ $line == "${INUMS[$1]} "* ]] && return
	done
	line=
	return 1
}

# in_line FIGURE LINE: sets `value` to the figure's value in the line.
in_line() {
	value=
	[[ " $2 " =~ \ $1=([0-9]+)\  ]] && value=${BASH_REMATCH[1]}
}

# cached NAME FIGURE: sets `value` to the current value.
cached() {
	local line
	cache_line "$1"
	in_line "$2" "$line"
}

# mark NAME...: remembers the figures that `since` counts from.
mark() {
	local name line
	for name in "$@"; do
		cache_line "$name"
		AT_MARK[$name]=$line
	done
}

# since NAME FIGURE: sets `value` to the growth since the mark.
since() {
	local before
	in_line "$2" "${AT_MARK[$1]}"
	before=$value
	cached "$1" "$2"
	value=$((value - before))
}

# expect_since NAME FIGURE=GROWTH...
expect_since() {
	local name=$1 claim value
	shift
	for claim in "$@"; do
		since "$name" "${claim%=*}"
		expect_equal "growth of ${claim%=*} of $name ($what)" "$value" "${claim#*=}"
	done
}

# expect_since_at_least NAME FIGURE=GROWTH...
expect_since_at_least() {
	local name=$1 claim value
	shift
	for claim in "$@"; do
		since "$name" "${claim%=*}"
		expect_at_least "growth of ${claim%=*} of $name ($what)" "$value" "${claim#*=}"
	done
}

# expect_cached NAME FIGURE=VALUE...
expect_cached() {
	local name=$1 claim value
	shift
	for claim in "$@"; do
		cached "$name" "${claim%=*}"
		expect_equal "${claim%=*} of $name ($what)" "$value" "${claim#*=}"
	done
}

# snmp NAME FILE GROUP FIGURE: sets `value` to a counter of the IPv4 stack. FILE is snmp or netstat. The
# file is read at once: after each line alone, the kernel would begin it anew.
snmp() {
	local lines names values i j
	value=
	mapfile -t lines <"/proc/${HOLDERS[$1]}/net/$2"
	for ((i = 0; i + 1 < ${#lines[@]}; i += 2)); do
		[[ ${lines[i]} == "$3: "* ]] || continue
		read -ra names <<<"${lines[i]}"
		read -ra values <<<"${lines[i + 1]}"
		for j in "${!names[@]}"; do
			if [ "${names[j]}" = "$4" ]; then value=${values[j]}; fi
		done
	done
}

# snmp6 NAME FIGURE: sets `value` to a counter of the IPv6 stack.
snmp6() {
	local text
	value=
	mapfile -d '' text <"/proc/${HOLDERS[$1]}/net/snmp6"
	[[ $'\n'$text =~ $'\n'"$2"[[:blank:]]+([0-9]+) ]] && value=${BASH_REMATCH[1]}
}

# requests NAME: sets `value` to the number of pings that have arrived.
requests() {
	case $family in
	4) snmp "$1" snmp Icmp InEchos ;;
	6) snmp6 "$1" Icmp6InEchos ;;
	esac
}

# knocks NAME: sets `value` to the number of packets that have come to unused UDP ports.
knocks() {
	case $family in
	4) snmp "$1" snmp Udp NoPorts ;;
	6) snmp6 "$1" Udp6NoPorts ;;
	esac
}

# seen NAME: sets `value` to the number of packets that were routed, whether its cache saw them or not.
seen() {
	local forwarded
	case $family in
	4) snmp "$1" snmp Ip ForwDatagrams ;;
	6) snmp6 "$1" Ip6OutForwDatagrams ;;
	esac
	forwarded=$value
	case $family in
	4) snmp "$1" snmp Ip InDelivers ;;
	6) snmp6 "$1" Ip6InDelivers ;;
	esac
	value=$((value + forwarded))
}

# mark_seen NAME: a mark for `passed`, too.
mark_seen() {
	seen "$1"
	SEEN=$value
	mark "$1"
}

# passed NAME: sets `value` to the number of packets that were routed since the mark, and not looked up.
passed() {
	local figure all
	seen "$1"
	all=$((value - SEEN))
	for figure in hits misses left; do
		since "$1" $figure
		all=$((all - value))
	done
	value=$all
}

# has_seen NAME COUNT
has_seen() {
	local value
	seen "$1"
	[ "$value" -ge "$2" ]
}

# have_knocked COUNT NAME...: whether COUNT packets have come to all of these together.
have_knocked() {
	local name value sum=0
	for name in "${@:2}"; do
		knocks "$name"
		sum=$((sum + value))
	done
	[ "$sum" -ge "$1" ]
}

# --- Packets ----------------------------------------------------------------------------------

# now WHAT: names what the following packets show.
now() {
	what=$1
}

# send COUNT [OPTION...]: pings the target from src. Sets `said` to the output of ping.
send() {
	local count=$1
	shift
	said=$(in_netns src ping "-$family" -n -c "$count" -i 0.01 "$@" "$TARGET" 2>&1)
}

# arrive NAME COUNT [OPTION...]: all pings arrive at NAME (dst, alt, rt or none) and nowhere else. Sets
# a mark for `since`.
arrive() {
	local who=$1 count=$2 name value want sum=0
	local -A so_far
	shift 2
	for name in dst alt rt; do
		requests $name
		so_far[$name]=$value
		sum=$((sum + value))
	done
	mark rt
	send "$count" "$@"
	[ "$who" = nobody ] || wait_until have_arrived $((sum + count))
	for name in dst alt rt; do
		requests $name
		want=0
		if [ $name = "$who" ]; then want=$count; fi
		expect_equal "pings that arrived at $name ($what)" $((value - so_far[$name])) "$want"
	done
}

# have_arrived COUNT: whether COUNT pings have arrived where they should.
have_arrived() {
	local name value sum=0
	for name in dst alt rt; do
		requests $name
		sum=$((sum + value))
	done
	[ $sum -ge "$1" ]
}

# exchange NAME COUNT [OPTION...]: the same, and each is answered.
exchange() {
	arrive "$1" "$2" -W "$PATIENCE" "${@:3}"
	[[ $said == *" $2 received"* ]] || fail "not all pings to $1 were answered ($what): $said"
}

# refused COUNT [OPTION...]: no ping arrives, and the refusal is not cached. There is no event to wait
# for.
refused() {
	arrive nobody "$1" -W 0.3 "${@:2}"
	expect_since rt hits=0
}

# refused_with_a_word COUNT [OPTION...]: the same, and src gets an error for each.
refused_with_a_word() {
	refused "$1" -W "$PATIENCE" "${@:2}"
	[[ $said == *" +$1 errors"* ]] || fail "not all pings were refused with an error ($what): $said"
}

# warm NAME [OPTION...]: fills the cache with the route to NAME, and checks that every packet uses it,
# there and back.
warm() {
	local hits=20
	if [ "$1" = rt ]; then hits=10; fi
	now "warming up"
	exchange "$1" 2 "${@:2}"
	now "warm"
	exchange "$1" 10 "${@:2}"
	expect_since rt hits="$hits" misses=0 uncacheable=0
}

cleanup_route_cache() {
	kill "${HOLDERS[@]}" 2>/dev/null
	cleanup
}

# has_listener: whether a socket in rt has joined a group of generic netlink (protocol 16).
has_listener() {
	awk '$2 == 16 && $4 ~ /[1-9a-f]/ { found = 1 } END { exit !found }' \
		"/proc/${HOLDERS[rt]}/net/netlink"
}

# --- All of them --------------------------------------------------------------------------------

# total NAME: the sum of a figure over all namespaces.
total() {
	local sum=0 value
	while read -r value; do sum=$((sum + value)); done < <(
		sed -n "s/.* $1=\\([0-9]*\\).*/\\1/p" "$ROUTE_CACHE"
	)
	echo $sum
}

tables_match() {
	local family
	for family in 4 6; do
		grep -q "^ipv$family .* entries=$(total entries$family) " "$DEBUGFS"/tables || return
	done
}

# The tables hold as many entries as all namespaces together.
no_entry_is_lost() {
	wait_until tables_match ||
		fail "the tables have others: $(<"$DEBUGFS"/tables) $(<"$ROUTE_CACHE")"
}

# begin_route_cache [PROGRAM...]: with the module, loaded with the options in PARAMETERS.
begin_route_cache() {
	local line=
	begin ping sleep sysctl "$@"
	trap cleanup_route_cache EXIT
	# The kernel patches its receive code when the first socket asks for time stamps, and again after
	# the last one. Every ping asks. With one that stays, that happens once, before the first case.
	# Emulators of several processors apply such patches wrongly now and then.
	ip link set lo up
	exec 8< <(exec ping -4 -n -i 3600 127.0.0.1 2>&1)
	HOLDERS[ping]=$!
	until [[ $line == *"bytes from"* ]]; do
		read -r -u 8 line || skip_all "no ping of this machine itself"
	done
	load "${PARAMETERS[@]}" || skip_all "the module does not load"
	# A host is told of five errors, and then of one a second: a fast machine would be told of fewer.
	echo 0 >/proc/sys/net/ipv4/route/error_cost || skip_all "errors cannot be had at full rate"
}

# No entry expires during a test, unless the test is about that.
PARAMETERS=(timeout=3600)
