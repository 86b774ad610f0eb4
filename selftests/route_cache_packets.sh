#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packets that need more than a route, and packets for which a socket knows the route. Each is cached
# with the right key or not at all, and arrives as it does without the cache.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

# Each fragment is routed separately.
fragments() {
	now "in three fragments"
	exchange dst 2 -s 4000
	exchange dst 5 -s 4000
	expect_since rt hits=30 misses=0
	local TARGET=$RT
	now "in three fragments, to rt"
	exchange rt 2 -s 4000
	exchange rt 5 -s 4000
	expect_since rt hits=15 misses=0
}

# IP options are for each router on the way: this one makes it record its address.
options() {
	warm dst
	now "with the option Record Route"
	exchange dst 3 -R
	expect_since rt hits=0 misses=0 inserts=0
	[[ $said == *"RR:"*10.0.2.1*$TARGET* ]] || fail "rt is not in the record: $said"
	now "without"
	exchange dst 3
	expect_since rt hits=6 misses=0
}

a_time_to_live_that_ends() {
	warm dst
	now "a time to live of 1"
	arrive nobody 3 -t 1 -W "$PATIENCE"
	[[ $said == *"From $RT"*[Tt]ime* ]] || fail "rt does not say so: $said"
	now "a time to live of 2"
	exchange dst 3 -t 2
}

# Link-local addresses are not keys: every link has the same ones.
addresses_of_the_link() {
	local TARGET=fe80::ff:fe00:101%e
	now "the address of a"
	exchange rt 3
	exchange rt 3
	expect_since rt hits=0 misses=0 inserts=0
}

multicast() {
	local TARGET=224.0.0.1
	set_in rt net.ipv4.icmp_echo_ignore_broadcasts=0
	now "all hosts on the link"
	exchange rt 3
	exchange rt 3
	expect_since rt hits=0 misses=0 inserts=0
	set_in rt net.ipv4.icmp_echo_ignore_broadcasts=1
}

# To the broadcast address of a network behind rt. Only rt answers; if it may forward the packet, all
# hosts there do.
directed_broadcast() {
	local TARGET=10.0.2.255
	set_in rt net.ipv4.icmp_echo_ignore_broadcasts=0
	set_in dst net.ipv4.icmp_echo_ignore_broadcasts=0
	now "not passed on"
	arrive rt 3 -b -W 0.3
	arrive rt 3 -b -W 0.3
	expect_since rt inserts=0
	set_in rt net.ipv4.conf.{all,a,b}.bc_forwarding=1
	now "passed on"
	arrive dst 3 -b -W 0.3
	arrive dst 3 -b -W 0.3
	expect_since rt inserts=0
	set_in rt net.ipv4.conf.{all,a,b}.bc_forwarding=0
	now "not passed on any more"
	arrive rt 3 -b -W 0.3
	set_in rt net.ipv4.icmp_echo_ignore_broadcasts=1
}

# have_hung_up NAME...: whether no TCP connection there has anything more to say. State 6 is TIME-WAIT, 7
# closed, A listening.
have_hung_up() {
	local name
	for name in "$@"; do
		! grep -q '^ *[0-9]*: [0-9A-F:]* [0-9A-F:]* 0[1-58-9B] ' \
			"/proc/${HOLDERS[$name]}/net/tcp" "/proc/${HOLDERS[$name]}/net/tcp6" || return
	done
}

# talk NAME ADDRESS: 20 words each way between src and a process in NAME, over TCP and UDP. No packet of
# theirs is on its way afterwards.
talk() {
	local server
	nsenter --net="/run/netns/$PREFIX$1" python3 -c '
import socket, sys
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((address, 5000))
tcp = socket.create_server((address, 5000), family=family)
connection, _ = tcp.accept()
for _ in range(20):
    connection.sendall(connection.recv(100))
for _ in range(20):
    word, peer = udp.recvfrom(100)
    udp.sendto(word, peer)
' "$2" &
	server=$!
	expect "talk with $1" in_netns src timeout "$PATIENCE" python3 -c '
import socket, sys, time
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
while True:
    try:
        tcp = socket.create_connection((address, 5000))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.connect((address, 5000))
for connection in tcp, udp:
    for word in range(20):
        connection.send(b"%d" % word)
        assert connection.recv(100) == b"%d" % word
' "$2"
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	wait_until have_hung_up src "$1" || fail "a connection of $1 does not end"
}

# A socket knows the route of its packets (early demux). Without early demux, they are like others.
packets_of_local_sockets() {
	now "early demux"
	mark rt
	talk rt "$RT"
	expect_since rt hits=0
	expect_since_at_least rt left=38
	set_in rt net.ipv4.ip_early_demux=0
	now "no early demux"
	mark rt
	talk rt "$RT"
	expect_since rt left=0
	expect_since_at_least rt hits=38
	set_in rt net.ipv4.ip_early_demux=1
}

packets_of_other_sockets() {
	now "through rt"
	mark rt
	talk dst "$TARGET"
	expect_since rt left=0
	expect_since_at_least rt hits=76
}

# take FILE PORT: rt accepts packets for this port of the target as if they were its own, and writes
# their content to FILE.
take() {
	nsenter --net="/run/netns/${PREFIX}rt" python3 -c '
import socket, sys
address, file, port = sys.argv[1:]
family, level, transparent = (socket.AF_INET6, 41, 75) if ":" in address else (socket.AF_INET, 0, 19)
sockets = [socket.socket(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
for s in sockets:
    s.setsockopt(level, transparent, 1)
    s.bind((address, int(port)))
udp, tcp = sockets
tcp.listen()
def note(word): print(word, file=open(file, "a"))
note("ready")
message, sender = udp.recvfrom(100)
udp.connect(sender)
note("udp " + message.decode())
connection, _ = tcp.accept()
note("tcp " + connection.recv(100).decode())
for word in range(3):
    note("udp " + udp.recv(100).decode())
note("tcp " + connection.recv(100).decode())
' "$TARGET" "$@" &
	taker=$!
}

# give FILE PORT: src sends there, and again when the word "go" is in the file.
give() {
	nsenter --net="/run/netns/${PREFIX}src" python3 -c '
import signal, socket, sys, time
address, file, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
udp, tcp = (socket.socket(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
for s in udp, tcp:
    # By then, the other side has answered the first with a connection.
    while s is tcp and "udp first" not in open(file).read(): time.sleep(0.05)
    s.connect((address, int(port)))
    s.send(b"first")
udp.send(b"second")
while "go" not in open(file).read(): time.sleep(0.05)
# The first of them may be a miss.
udp.send(b"third")
udp.send(b"last")
tcp.send(b"last")
signal.pause()
' "$TARGET" "$@" &
	giver=$!
}

has() {
	[ "$(grep -c "$1" "$2")" = "$3" ]
}

# A proxy: packets that open a connection are marked, and the mark leads them here. The socket knows
# the route of the others, although routing alone would lead them to dst.
packets_of_a_socket_with_an_address_of_others() {
	local enabled file port=5000
	if ! has_rnetnsctl; then
		skip "neither rnetnsctl nor ynl can be had"
		return
	fi
	file=$(mktemp)
	rule add fwmark 1 lookup 100
	route add local "$TARGET" dev lo table 100
	for enabled in off on; do
		expect "set" in_netns rt rnetnsctl set --enable "$enabled"
		: >"$file"
		port=$((port + 1))
		now "the cache $enabled, marked"
		mark_from_now 1
		take "$file" "$port"
		wait_until has ready "$file" 1 || fail "no proxy ($what)"
		give "$file" "$port"
		wait_until has 'first\|second' "$file" 3 || fail "marked: $(<"$file") ($what)"
		no_mark
		now "the cache $enabled, not marked"
		exchange dst 3
		mark rt
		echo go >>"$file"
		wait_until has last "$file" 2 || fail "not marked: $(<"$file") ($what)"
		# IPv6 may look up each protocol separately, by its flow label, so misses are not counted.
		if [ "$enabled" = on ]; then expect_since_at_least rt left=1; fi
		kill "$taker" "$giver" 2>/dev/null
		wait "$taker" "$giver" 2>/dev/null
	done
	rm "$file"
	rule del fwmark 1 lookup 100
	route del local "$TARGET" dev lo table 100
}

for_family 4 \
	fragments \
	options \
	a_time_to_live_that_ends \
	multicast \
	directed_broadcast \
	packets_of_local_sockets \
	packets_of_other_sockets \
	packets_of_a_socket_with_an_address_of_others
for_family 6 \
	fragments \
	a_time_to_live_that_ends \
	addresses_of_the_link \
	packets_of_local_sockets \
	packets_of_other_sockets \
	packets_of_a_socket_with_an_address_of_others

begin_route_cache mktemp python3 timeout
run_cases "${cases[@]}" no_entry_is_lost
