// SPDX-License-Identifier: GPL-2.0
/*
 * Each network namespace has a counter of its own.
 *
 * kselftest.h is the kernel tree's, in tools/testing/selftests.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest.h"

/* Opens the device, which increments the counter. Returns its value, or -1. */
static long count(void)
{
	char text[32] = "";
	int fd = open("/dev/@name@", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		ksft_print_msg("cannot read /dev/@name@: %m\n");
	if (fd >= 0)
		close(fd);
	return text[0] ? atol(text) : -1;
}

int main(void)
{
	long first, second, other;

	ksft_print_header();
	ksft_set_plan(2);
	if (system("insmod \"$MODULES_DIR/@name@.ko\""))
		ksft_exit_fail_msg("the module does not load\n");

	first = count();
	second = count();
	ksft_test_result(first == 1 && second == 2,
			 "the first namespace counts\n");

	if (unshare(CLONE_NEWNET))
		ksft_exit_fail_msg("no new namespace: %m\n");
	other = count();
	ksft_test_result(other == 1, "a new namespace begins anew\n");

	if (system("rmmod @name@"))
		ksft_exit_fail_msg("the module does not unload\n");
	ksft_finished();
}
