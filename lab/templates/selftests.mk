# SPDX-License-Identifier: GPL-2.0
#
# kselftest's layout. The lab runs `make programs` for the names, and compiles programs in C itself.

TEST_PROGS := counter.sh
TEST_GEN_PROGS := namespaces

-include ../../lib.mk

.PHONY: programs
programs:
	@printf '%s\n' $(TEST_PROGS) $(notdir $(TEST_GEN_PROGS))
