#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Devices and namespaces go while the cache is full of routes through them. Their entries go, too,
# nothing waits for a reference, and entries of others stay.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# goes WHAT COMMAND...: the command ends, and no reference was left: after ten seconds, the kernel
# would log what it waits for. An entry that nobody removes would last much longer.
goes() {
	local what=$1 before
	shift
	before=$(waits)
	expect "$what" "$@"
	expect_equal "devices that are waited for ($what)" "$(waits)" "$before"
}

# waits: how often the kernel has logged that it waits for a device.
waits() {
	dmesg | grep -c "waiting for .* to become free"
}

a_device_that_goes_down() {
	warm dst
	expect "down" ip_in rt link set dev b down
	now "down"
	refused 3
	case $family in
	4) expect_cached rt entries4=0 ;;
	6) expect_cached rt entries6=0 ;;
	esac
	near 2 b | sed 's/^addr add/addr replace/' | batch_in rt
	route replace "$NET" via "$DST"
	now "up again"
	exchange dst 3
	warm dst
}

a_device_that_is_deleted() {
	warm dst
	goes "the deletion of the way out" ip -n "${PREFIX}rt" link del dev b
	expect_cached rt entries4=0 entries6=0
	now "deleted"
	refused 3
	expect "cable" ip -batch - <<<"$(cable 2 rt b dst e)"
	near 2 b | batch_in rt
	far 2 e | batch_in dst
	route replace "$NET" via "$DST"
	warm dst
	goes "the deletion of the way in" ip -n "${PREFIX}rt" link del dev a
	expect_cached rt entries4=0 entries6=0
	remove_topology
}

# A device that goes without being taken down first takes only its own entries along.
a_device_that_is_moved() {
	warm dst
	goes "the move" ip -n "${PREFIX}rt" link set dev b netns "${PREFIX}alt"
	expect_cached rt entries4=0 entries6=0
	expect_cached alt entries4=0 entries6=0
	now "moved"
	refused 3
	goes "the move back" ip -n "${PREFIX}alt" link set dev b netns "${PREFIX}rt"
	near 2 b | batch_in rt
	route replace "$NET" via "$DST"
	warm dst
	goes "the end of the device" ip -n "${PREFIX}dst" link del dev e
	remove_topology
}

# A new device gets the index of one that is gone: it finds no old entry.
an_index_that_is_used_again() {
	local index
	warm dst
	index=$(ip_in rt -o link show dev a)
	index=${index%%:*}
	expect "deletion" ip_in rt link del dev a
	expect "cable" ip link add name a index "$index" netns "${PREFIX}rt" \
		address 02:00:00:00:01:01 type veth peer name e netns "${PREFIX}src" \
		address 02:00:00:00:01:02
	near 1 a | batch_in rt
	far 1 e | batch_in src
	now "another device by that index"
	exchange dst 1
	expect_since rt hits=0 misses=2
	remove_topology
}

a_device_that_others_stand_on() {
	local i
	batch_in rt < <(for i in {1..8}; do echo link add link b name "m$i" type macvlan; done)
	warm dst
	goes "the deletion of what others stand on" ip -n "${PREFIX}rt" link del dev b
	expect_cached rt entries4=0 entries6=0
	remove_topology
}

a_module_that_goes() {
	warm dst
	goes "the module" rmmod rnetns
	now "without the module"
	said=$(in_netns src ping "-$family" -n -c 3 -i 0.01 -W "$PATIENCE" "$TARGET" 2>&1)
	[[ $said == *" 3 received"* ]] || fail "not all pings were answered: $said"
	goes "a device, without the module" ip -n "${PREFIX}rt" link del dev b
	expect "module" load
	remove_topology
}

for_each_family \
	a_device_that_goes_down \
	a_device_that_is_deleted \
	a_device_that_is_moved \
	an_index_that_is_used_again \
	a_device_that_others_stand_on \
	a_module_that_goes

begin_route_cache dmesg grep rmmod sed
run_cases "${cases[@]}" no_entry_is_lost
