#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The KUnit tests of the table that namespaces share. KUnit finds them in the module. In a kernel tree
# they are a part of the kernel, and run when it boots.

. "$(dirname "$0")/lib.sh"

SUITE=/sys/kernel/debug/kunit/rust_tagged_table

the_kunit_tests_of_the_table_pass() {
	local line planned=0 passed=0
	load || { fail "the module does not load"; return; }
	[ -d "$SUITE" ] || { fail "the module has no KUnit tests"; return; }
	echo run >"$SUITE/run"
	while IFS= read -r line; do
		# The line of the suite itself is not indented.
		case $line in
		"    1.."*) planned=${line#*..} ;;
		"    ok "*"# SKIP"*) ;;
		"    ok "*) passed=$((passed + 1)) ;;
		*"not ok "* | *"# "*"ASSERT"* | *"# "*"EXPECT"*) fail "$line" ;;
		esac
	done <"$SUITE/results"
	expect_at_least "tests" "$planned" 1
	expect_equal "tests that pass" "$passed" "$planned"
	unload
}

begin
[ -d /sys/kernel/debug/kunit ] || skip_all "no KUnit (CONFIG_KUNIT, CONFIG_KUNIT_DEBUGFS)"
run_cases the_kunit_tests_of_the_table_pass
