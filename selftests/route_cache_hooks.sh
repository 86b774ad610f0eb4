#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The cache comes after all other hooks, so that packets are routed by what these make of them: chains
# of the last priority that were there before it, or that come later. They mark packets, and marked
# ones go to alt.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

LAST=2147483647

# The table of nft for a family.
declare -A TABLES=([4]=ip [6]=ip6)

# chain: marks packets that come in by a, in the last place among the hooks of rt.
chain() {
	expect "chain" in_netns rt nft -f - <<-END
		table ${TABLES[$family]} last {
			chain last {
				type filter hook prerouting priority $LAST;
				iifname "a" meta mark set 1
			}
		}
	END
}

no_chain() {
	expect "no chain" in_netns rt nft delete table "${TABLES[$family]}" last
}

# with OPTION...: the module, loaded anew. Nothing expires.
with() {
	unload
	load timeout=3600 "$@" || fail "the module does not load with $*"
}

switch() {
	in_netns rt rnetnsctl set --enable "$1"
}

# to_alt_and_back: with the chain, packets go to alt; without it, to dst.
to_alt_and_back() {
	now "with the chain"
	exchange alt 10
	exchange alt 10
	no_chain
	now "without the chain"
	exchange dst 3
}

a_chain_that_comes_later() {
	rule add fwmark 1 lookup 101
	warm dst
	chain
	now "with the chain"
	exchange alt 10
	exchange alt 10
	# It is in front of the cache, which has a use for these packets.
	expect_since rt hits=20 misses=0
	expect "off" switch off
	expect "on" switch on
	to_alt_and_back
	warm dst
	rule del fwmark 1 lookup 101
}

# Netfilter would put the cache in front of the chain. So the cache stays off, and says why, until the
# chain is gone.
a_chain_that_was_there_before_the_module() {
	rule add fwmark 1 lookup 101
	chain
	with
	cannot_be_switched_on
	to_alt_and_back
	expect "on" switch on
	warm dst
	rule del fwmark 1 lookup 101
}

a_chain_that_was_there_before_the_cache_was_on() {
	with enable=0
	rule add fwmark 1 lookup 101
	chain
	cannot_be_switched_on
	to_alt_and_back
	expect "on" switch on
	warm dst
	rule del fwmark 1 lookup 101
	remove_topology
	with
}

cannot_be_switched_on() {
	mark rt
	expect_refused "last priority" switch on
	[[ $(in_netns rt rnetnsctl stats --json) =~ \"enabled\":\ *(false|0) ]] ||
		fail "the cache is on ($what)"
}

for_each_family \
	a_chain_that_comes_later \
	a_chain_that_was_there_before_the_module \
	a_chain_that_was_there_before_the_cache_was_on

begin_route_cache nft rnetnsctl
nft add table ip test 2>/dev/null || skip_all "no tables of nft (CONFIG_NF_TABLES_IPV4)"
nft delete table ip test
run_cases "${cases[@]}" no_entry_is_lost
