#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading, with no, one and many namespaces besides the initial one: each has the
# device and the state while the module is loaded, and neither before nor after.

. "$(dirname "$0")/lib.sh"

MANY=200
# Loading and unloading cost a grace period each; a leak shows up at the second time.
ROUNDS=5

# Processes, each in a namespace of its own: /proc/PID/net shows it without entering it.
pids=()

# hold COUNT: makes namespaces.
hold() {
	local i
	for i in $(seq "$1"); do
		unshare --net sleep 1000 &
		pids+=($!)
	done
	wait_until 60 holds "$1" || fail "cannot create $1 namespaces"
}

# holds COUNT: whether the processes are in so many namespaces, none of them the present one.
holds() {
	[ "$(inums | grep -v -x "$(inum)" | sort -u | wc -l)" = "$1" ]
}

inums() {
	local pid
	for pid in "${pids[@]}"; do
		echo "/proc/$pid/ns/net"
	done | xargs -r stat -L -c %i
}

release() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}"
	wait
	pids=()
}

# How many namespaces have the device, the present one included.
count_rlo() {
	local pid
	for pid in self "${pids[@]}"; do
		echo "/proc/$pid/net/dev"
	done | xargs cat | grep -c '^ *rlo:'
}

# with_namespaces COUNT
with_namespaces() {
	local want=$(($1 + 1))

	hold "$1"
	expect_equal "devices before" "$(count_rlo)" 0
	expect "load" load
	expect_equal "namespaces with state" "$(wc -l <"$DEBUGFS/namespaces")" $want
	expect_equal "devices" "$(count_rlo)" $want
	expect "unload" unload
	expect_equal "devices after" "$(count_rlo)" 0
	loaded && fail "the module is still there"
	[ -e "$DEBUGFS" ] && fail "its files are still there"
	release
	expect_netns_gone
}

loads_and_unloads_in_the_initial_namespace_alone() {
	with_namespaces 0
}

loads_and_unloads_with_one_more_namespace() {
	with_namespaces 1
}

loads_and_unloads_with_many_namespaces() {
	with_namespaces $MANY
}

loads_again_and_again() {
	local i
	add_netns again
	for i in $(seq $ROUNDS); do
		expect "load $i" load
		has_rlo again || fail "no device after load $i"
		expect "unload $i" unload
		has_rlo again && fail "still a device after unload $i"
	done
	del_netns again
}

does_not_load_twice() {
	expect "load" load
	expect_refused "File exists" load
	has_rlo || fail "the refused load took the device away"
	expect "unload" unload
}

# The name is taken in one namespace of three: what the others got is taken back.
undoes_everything_when_a_device_name_is_taken() {
	add_netns first taken
	expect "add a device" ip_in taken link add rlo type dummy
	if load 2>/dev/null; then
		fail "loaded although a namespace has a device of that name"
		unload
	fi
	loaded && fail "the module is still there"
	has_rlo && fail "the initial namespace kept its device"
	has_rlo first && fail "the first namespace kept its device"
	expect "the dummy is untouched" ip_in taken link del rlo
	expect "load without the obstacle" load
	has_rlo taken || fail "no device where the name was taken"
	expect "unload" unload
	del_netns first taken
}

a_namespace_in_use_keeps_nobody_from_unloading() {
	add_netns busy
	expect "load" load
	expect "up" ip_in busy link set rlo up
	expect "address" ip_in busy addr add 192.0.2.1/32 dev rlo
	expect "route" ip_in busy route add 192.0.2.2/32 dev rlo
	expect "unload" unload
	has_rlo busy && fail "still a device"
	expect_equal "routes left" "$(ip_in busy route show)" ""
	del_netns busy
	expect_netns_gone
}

describes_itself() {
	local file=$MODULES_DIR/rnetns.ko field
	[ -f "$file" ] || file=rnetns
	for field in description author; do
		[ -n "$(modinfo -F $field "$file")" ] || fail "no $field"
	done
	expect_equal "license" "$(modinfo -F license "$file")" GPL
	[[ $(modinfo -F parm "$file") == init_net_only:?*"(bool)" ]] ||
		fail "init_net_only is not described: '$(modinfo -F parm "$file")'"
	expect_equal "parameters" "$(modinfo -F parm "$file" | wc -l)" 1
}

begin modinfo unshare xargs
trap 'release; cleanup' EXIT
run_cases \
	loads_and_unloads_in_the_initial_namespace_alone \
	loads_and_unloads_with_one_more_namespace \
	loads_and_unloads_with_many_namespaces \
	loads_again_and_again \
	does_not_load_twice \
	undoes_everything_when_a_device_name_is_taken \
	a_namespace_in_use_keeps_nobody_from_unloading \
	describes_itself
