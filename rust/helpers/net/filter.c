// SPDX-License-Identifier: GPL-2.0

#include <linux/filter.h>

#ifdef CONFIG_INET

__rust_helper bool rust_helper_bpf_sk_lookup_is_enabled(void)
{
	return static_branch_unlikely(&bpf_sk_lookup_enabled);
}

#endif
