# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests share that need rnetns_bench, which has experiments.

cleanup_bench() {
	if loaded rnetns_bench; then rmmod rnetns_bench; fi
	cleanup
}

# begin_bench [PROGRAM...]: with rnetns_bench loaded.
begin_bench() {
	begin "$@"
	require_module rnetns_bench
	trap cleanup_bench EXIT
	if loaded rnetns_bench; then rmmod rnetns_bench; fi
	load_module rnetns_bench || skip_all "rnetns_bench does not load"
}
