#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The table that namespaces share, without routes: rnetns_bench compares it with a plain list, in
# random operations on tables of several sizes, then on several CPUs at once.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench_lib.sh"

CHECK=/sys/kernel/debug/rnetns_table_check
STEPS=4000
CHURN_MS=5000

# check COMMAND: runs it, and expects no difference.
check() {
	echo "$1" 2>/dev/null >"$CHECK/run" || fail "'$1' failed: $(tail -n 1 "$CHECK/report")"
}

# for_each_done COMMAND COUNT NAME...: calls COMMAND NAME HOW-OFTEN COUNT for each.
for_each_done() {
	local command=$1 count=$2 name value
	local -A report=()
	shift 2
	while IFS='=' read -r name value; do report[$name]=$value; done <"$CHECK/report"
	for name in "$@"; do "$command" "$name" "${report[$name]}" "$count" || return; done
}

# done_at_least COUNT NAME...: each happened that often; otherwise the check would prove nothing.
done_at_least() {
	for_each_done expect_at_least "$@"
}

is_at_least() {
	[ "$2" -ge "$3" ]
}

# has_done_at_least COUNT NAME...: whether it did.
has_done_at_least() {
	for_each_done is_at_least "$@"
}

a_wrong_model_is_noticed() {
	echo "lie 2000" 2>/dev/null >"$CHECK/run" && fail "nothing was noticed"
	grep -q '^wrong in step 1[0-9][0-9][0-9]:' "$CHECK/report" ||
		fail "not noticed when it happened: $(tail -n 1 "$CHECK/report")"
}

# With one to eight lines, a look-up reads all of them: the table wraps around, and holds as many
# entries as it has slots. With an odd seed, it is limited to fewer entries.
small_tables_do_what_a_list_does() {
	local lines words steps
	for words in 4 11; do
		for lines in 1 2 4 8; do
			# Where there are one or two slots, most entries find no room.
			steps=$((lines == 1 ? 3 * STEPS : STEPS))
			check "model $words $lines $steps 2"
			done_at_least 10 inserts no_room found not_found evicted flushes
			done_at_least 1 expired owners
			# The old entry still waits in its slot, so the new one needs another.
			[ $lines -eq 1 ] || done_at_least 1 displaced
			[ $lines -eq 1 ] || done_at_least 1 replaced
			check "model $words $lines $STEPS 3"
			done_at_least 10 limited
		done
	done
}

larger_tables_do_what_a_list_does() {
	local lines words seed
	for words in 4 11; do
		for lines in 32 64 1024; do
			for seed in 4 5; do
				check "model $words $lines $STEPS $seed"
				done_at_least 10 inserts replaced found not_found evicted expired flushes
				done_at_least 1 owners
				[ $lines -eq 1024 ] || done_at_least 1 displaced no_room
			done
		done
	done
}

flushed_tags_come_back_after_a_grace_period() {
	check flushes
	done_at_least 4 flushes
}

chosen_keys_do_not_lengthen_chains() {
	local words
	for words in 4 11; do
		check "attack $words"
		done_at_least 20000 inserts
		done_at_least 1 displaced
	done
}

# A neighbour has filled the table, and as many of its entries as may wait for a grace period.
promises_are_kept_beside_owners_that_take_all() {
	local words
	for words in 4 11; do
		check "fair $words"
		done_at_least 100 inserts evicted found displaced
	done
}

all_tags_come_back() {
	check tags
	done_at_least 4 flushes inserts owners
}

made_up_tags_find_nothing() {
	check forgery
	done_at_least 1 found
	done_at_least 100 not_found
}

walks_go_on_when_their_place_has_gone() {
	check walks
}

entries_in_use_outlast_expiry() {
	check expiry
	done_at_least 1000 found expired
}

owners_on_several_cpus_do_not_meet() {
	local seed=0
	if [ "$(nproc)" -lt 2 ]; then
		skip "one CPU"
		return
	fi
	check begin
	wait_until churned_enough
	check end
	grep '^wrong' "$CHECK/report" && fail "$(tail -n 1 "$CHECK/report")"
	done_at_least 100 inserts replaced limited found not_found evicted expired flushes
	done_at_least 5 owners
	done_at_least 1 no_room
}

# churned_enough: does it once more, and says whether all has happened by now, or something is wrong.
churned_enough() {
	local jobs= job which
	for which in 0 1; do
		seed=$((seed + 1))
		check "churn $which $CHURN_MS $seed" &
		jobs="$jobs $!"
		check "read $CHURN_MS $((seed + 1000))" &
		jobs="$jobs $!"
	done
	for job in $jobs; do wait "$job"; done
	grep -q '^wrong' "$CHECK/report" && return
	has_done_at_least 100 inserts replaced limited found not_found evicted expired flushes &&
		has_done_at_least 5 owners && has_done_at_least 1 no_room
}

begin_bench
run_cases a_wrong_model_is_noticed small_tables_do_what_a_list_does larger_tables_do_what_a_list_does \
	chosen_keys_do_not_lengthen_chains flushed_tags_come_back_after_a_grace_period \
	promises_are_kept_beside_owners_that_take_all all_tags_come_back made_up_tags_find_nothing walks_go_on_when_their_place_has_gone entries_in_use_outlast_expiry \
	owners_on_several_cpus_do_not_meet
