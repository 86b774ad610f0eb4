#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A packet can outlive the namespace of its socket: a tunnel carries it to another namespace, and there
# it waits in a queue. Then rlo sends it, and must not look for the state of the namespace that ended.
# On a kernel without KASAN an error would hardly show.
#
#      a                      b
#      tun0  ......  geneve, by way of rlo, whose queue holds everything back

. "$(dirname "$0")/lib.sh"

# queued: sets `value` to the number of packets that wait in the queue of rlo.
queued() {
	value=
	[[ $(tc -n "${PREFIX}b" -s qdisc show dev rlo) =~ backlog\ [0-9A-Za-z]+\ ([0-9]+)p ]] &&
		value=${BASH_REMATCH[1]}
}

has_queued() {
	local value
	queued
	[ "$value" -ge "$1" ]
}

has_queued_nothing() {
	local value
	queued
	[ "$value" = 0 ]
}

# A byte a second, after the first two thousand.
HELD_BACK=(tbf rate 8bit burst 2000 limit 100000)

a_queued_packet_of_a_namespace_that_ended_is_sent() {
	local value old before
	add_netns a b
	old=$(inum a)
	expect "addresses" ip -n "${PREFIX}b" -batch - <<-END
		link set dev rlo up
		addr add 192.0.2.1/32 dev rlo
		route add 192.0.2.3 dev rlo
		link add name tun0 type geneve id 1 remote 192.0.2.3
		link set dev tun0 netns ${PREFIX}a
	END
	expect "queue" tc -n "${PREFIX}b" qdisc add dev rlo root "${HELD_BACK[@]}"
	# The second one has to wait, and with it everything that comes later.
	in_netns b ping -n -c 2 -i 0.2 -W 0.1 -s 1400 192.0.2.3 >/dev/null 2>&1
	wait_until has_queued 1 || fail "nothing waits in the queue of rlo"
	queued
	before=$value

	# The kernel itself speaks on a new device: its groups, its address.
	expect "tunnel" ip -n "${PREFIX}a" -batch - <<-END
		link set dev tun0 up
		addr add 203.0.113.2/24 dev tun0
	END
	wait_until has_queued $((before + 1)) || fail "the tunnel has sent nothing"
	del_netns a
	wait_until has_no_state "$old" || fail "the namespace has not ended"
	has_queued $((before + 1)) || fail "the packets of the namespace have not waited for its end"

	expect "queue" tc -n "${PREFIX}b" qdisc change dev rlo root tbf rate 1gbit burst 100000 limit 100000
	# A queue looks at its rate again when the next packet comes.
	in_netns b ping -n -c 1 -W 0.1 192.0.2.3 >/dev/null 2>&1
	wait_until has_queued_nothing || fail "packets are still in the queue"
	del_netns b
}

everything_is_freed() {
	expect_netns_gone
}

begin ping tc
load || skip_all "the module does not load"
ip netns add "${PREFIX}probe"
tc -n "${PREFIX}probe" qdisc add dev lo root "${HELD_BACK[@]}" 2>/dev/null ||
	skip_all "no queue that holds packets back (CONFIG_NET_SCH_TBF)"
ip netns del "${PREFIX}probe"
run_cases a_queued_packet_of_a_namespace_that_ended_is_sent everything_is_freed
