#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel tree's own netlink tool knows the family only by its specification, and does what
# rnetnsctl does. The tree is in $KERNEL_SOURCE, the specification in $NETLINK_SPEC. By default both
# are where they would be if the tests were in that tree.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/route_cache_lib.sh"

TREE=${KERNEL_SOURCE:-$HERE/../../../../..}
SPEC=${NETLINK_SPEC:-$TREE/Documentation/netlink/specs/rnetns.yaml}
CLI=$TREE/tools/net/ynl/pyynl/cli.py

# The tool needs a second to start: it reads its own code. SERVER does that once. A line on its input is
# the arguments of one call, with tabs between them. A child of its own is the tool then, or compares, and
# the answer is its exit status. What it says is in FILE. Usage: FOLDER_OF_THE_TOOL FILE COMPARE
SERVER='
import os, sys

folder, file, compare = sys.argv[1:]
sys.path.append(folder)
import cli

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        break
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    sys.exit()

said = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(said, 1)
os.dup2(said, 2)
sys.argv[1:] = line.rstrip("\n").split("\t")
if sys.argv[1] == "compare":
    exec(compare)
else:
    cli.main()
'

# The server is in rt, and ends with it.
topology() {
	if [ -n "${HOLDERS[server]}" ]; then end_holder server; fi
	router rt src dst alt
	coproc TOOL (exec nsenter --net="/run/netns/${PREFIX}rt" \
		python3 -c "$SERVER" "${CLI%/*}" "$TMP/said" "$COMPARE" 2>"$TMP/server")
	HOLDERS[server]=$TOOL_PID
}

# ask ARGUMENT...: one call of the server. Sets `said` to what it says, and returns the exit status.
ask() {
	local status IFS=$'\t'
	said=
	echo "$*" >&"${TOOL[1]}"
	if ! read -r status <&"${TOOL[0]}"; then
		said="the server has ended: $(<"$TMP/server")"
		return 1
	fi
	said=$(<"$TMP/said")
	return "$status"
}

# call ARGUMENT...: runs the tool in rt. Checking the specification against its schema would take longer
# than everything else, and is done where the code is generated from it.
call() {
	ask --no-schema --spec "$SPEC" "$@"
}

# ynl ARGUMENT...: the tool succeeds in rt.
ynl() {
	call --output-json "$@" || fail "ynl $*: $said"
}

# denied TEXT ARGUMENT...: the tool fails in rt and says TEXT.
denied() {
	local text=$1
	shift
	if call "$@"; then
		fail "ynl $* was not refused: $said"
	fi
	[[ $said == *"$text"* ]] || fail "ynl $*: '$said' does not say '$text'"
}

# ctl ARGUMENT...: runs rnetnsctl in rt. Sets `said` to its output.
ctl() {
	said=$(in_netns rt rnetnsctl "$@" 2>&1) || fail "rnetnsctl $*: $said"
}

# same WHAT HAVE WANT: the output of ynl and that of rnetnsctl mean the same.
same() {
	ask compare "$2" "${3//$'\n'/ }" || fail "$1: $said"
}

# ynl writes names with hyphens, devices as numbers, and flags by their presence; rnetnsctl uses
# underscores, names, and true. The age may differ: any time may pass between the two.
COMPARE='
import json, socket, sys

def translated(item):
    item = {name.replace("-", "_"): value for name, value in item.items()}
    if "family" not in item:
        return item
    number = {socket.AF_INET: "4", socket.AF_INET6: "6"}[item.pop("family")]
    for end in "src", "dst":
        item[end] = item.pop(end + number)
    for end in "iif", "oif":
        item[end] = socket.if_indextoname(item[end])
    for flag in "local", "used", "stale":
        item[flag] = bool(item.get(flag, False))
    item["age_ms"] = item.pop("age")
    return item

ynl, ctl = (json.loads(said) for said in sys.argv[2:])
single = isinstance(ynl, dict)
have = [translated(item) for item in ([ynl] if single else ynl)]
want = [ctl] if single else ctl
for mine, its in zip(have, want):
    later = mine.pop("age_ms", 0) - its.pop("age_ms", 0)
    assert later >= 0, f"{later} ms later"
assert have == want, f"{have} is not {want}"
'

# reads_the_same PROGRAM: what this one reads is what ynl reads. It takes --json in either place.
reads_the_same() {
	local its
	its=$(in_netns rt "$1" stats --json 2>&1) || fail "$1 stats --json: $its"
	ynl --do cache-get
	same "figures of $1" "$said" "$its"
	its=$(in_netns rt "$1" --json dump 2>&1) || fail "$1 --json dump: $its"
	ynl --dump entry-get
	[[ $said == *"\"dst$family\": \"$TARGET\""* ]] || fail "no entry for $TARGET: $said"
	same "entries of $1" "$said" "$its"
}

# The program, where it is installed, and the script that is there in its place elsewhere.
what_it_reads_is_what_rnetnsctl_reads() {
	local program
	warm dst
	for program in $(printf '%s\n' "$(command -v rnetnsctl)" "$HERE/rnetnsctl" | sort -u); do
		reads_the_same "$program"
	done
	ynl --dump entry-get --json "{\"dst$family\": \"$TARGET\"}"
	[[ $said == *"\"dst$family\": \"$TARGET\""* ]] || fail "no entry for $TARGET: $said"
	[[ $said != *"\"dst$family\": \"$SRC\""* ]] || fail "not the entry for $TARGET alone: $said"
}

a_flush_takes_what_it_names() {
	local index
	warm dst
	mark rt
	ynl --do flush --json "{\"dst4\": \"${NET%/*}\", \"dst-len\": ${NET#*/}}"
	expect_equal "answer" "$said" '{"flushed": 1}'
	now "to the network"
	expect_since rt flushed=1
	warm dst
	index=$(ip_in rt -o link show dev b)
	ynl --do flush --json "{\"ifindex\": ${index%%:*}}"
	expect_equal "answer" "$said" '{"flushed": 2}'
	now "of a device"
	expect_cached rt entries"$family"=0
}

settings_are_made() {
	ynl --do cache-set --json '{"quota": 9, "timeout": 7, "enabled": 0}'
	now "set"
	expect_cached rt quota=9 timeout=7 enabled=0
	ctl set --quota 65536 --timeout 3600 --enable on
}

# The message has the name of the attribute. The tool finds it by the place that the kernel reports.
a_refusal_comes_with_the_kernels_words() {
	denied "more than max_quota" --do cache-set --json '{"quota": 4000000000}'
	[[ $said == *".quota"* ]] || fail "it does not say which attribute: $said"
	denied "out of range" --do cache-set --json '{"quota": 5, "timeout": 0}'
	[[ $said == *".timeout"* ]] || fail "it does not say which attribute: $said"
	denied "longer than an address" --do flush --json '{"dst4": "10.9.0.0", "dst-len": 33}'
	[[ $said == *".dst-len"* ]] || fail "it does not say which attribute: $said"
	now "refused"
	expect_cached rt quota=65536 timeout=3600
}

# powerless ARGUMENT...: the tool without the right to manage networks.
powerless() {
	in_netns rt setpriv --inh-caps=-all --bounding-set=-net_admin python3 "$CLI" --no-schema --spec "$SPEC" "$@" 2>&1
}

# Who talks to whom is nothing for everybody.
who_has_no_right_sees_no_entry() {
	warm dst
	said=$(powerless --do cache-get) || fail "may not read figures: $said"
	[[ $said == *"'enabled': 1"* ]] || fail "no figures: $said"
	said=$(powerless --dump entry-get) && fail "may see entries: $said"
	[[ $said == *"not permitted"* ]] || fail "the refusal says: $said"
	[[ $said != *"$TARGET"* ]] || fail "the refusal tells an entry: $said"
}

# An event is told to who has subscribed before.
events_are_told() {
	local events=$TMP/events
	nsenter --net="/run/netns/${PREFIX}rt" timeout "$PATIENCE" \
		python3 -u "$CLI" --no-schema --spec "$SPEC" --output-json \
		--subscribe events --duration "$PATIENCE" >"$events" 2>&1 &
	HOLDERS[ynl]=$!
	wait_until has_listener || fail "nobody listens"
	warm dst
	ctl flush
	wait_until grep -q '"flush-ntf"' "$events" || fail "no event of a flush: $(<"$events")"
	ctl set --quota 4711
	wait_until grep -q '"cache-ntf"' "$events" || fail "no event of a change: $(<"$events")"
	grep -q '"flushed": 2' "$events" || fail "the flush was of others: $(<"$events")"
	grep -q '"quota": 4711' "$events" || fail "the change was another: $(<"$events")"
	ctl set --quota 65536
	end_holder ynl
}

# The checks that the kernel reports are those of the specification.
the_kernel_tells_its_policy() {
	ynl --policy --do cache-set
	[[ $said == *'"quota": '*'"min-value": 1'* ]] || fail "no least quota: $said"
	[[ $said == *'"timeout": '*'"max-value": 86400'* ]] || fail "no largest timeout: $said"
	[[ $said != *'"hits"'* ]] || fail "a counter can be set: $said"
	ynl --policy --do flush
	[[ $said == *'"dst-len": '*'"max-value": 128'* ]] || fail "no largest length: $said"
	ynl --policy --dump entry-get
	[[ $said == *'"dst6": '*'"max-length": 16'* ]] || fail "no length of an address: $said"
}

for_family 6 what_it_reads_is_what_rnetnsctl_reads
for_family 4 what_it_reads_is_what_rnetnsctl_reads a_flush_takes_what_it_names \
	settings_are_made a_refusal_comes_with_the_kernels_words the_kernel_tells_its_policy \
	who_has_no_right_sees_no_entry events_are_told

require python3
[ -f "$CLI" ] || skip_all "no tools/net/ynl in $TREE (KERNEL_SOURCE)"
[ -f "$SPEC" ] || skip_all "no $SPEC (NETLINK_SPEC)"
python3 -c 'import yaml' 2>/dev/null || skip_all "python3 has no yaml (PyYAML)"
begin_route_cache bash rnetnsctl setpriv timeout
TMP=$(mktemp -d) || skip_all "no room for files"
# The tree may be read-only: what python compiles is kept here, and used again.
export PYTHONPYCACHEPREFIX=$TMP/pycache
run_cases "${cases[@]}"
