// SPDX-License-Identifier: GPL-2.0

#include <linux/cpumask.h>
#include <linux/percpu.h>

__rust_helper unsigned int
rust_helper_cpumask_next(int n, const struct cpumask *srcp)
{
	return cpumask_next(n, srcp);
}

__rust_helper u64 *rust_helper_per_cpu_ptr_u64(u64 __percpu *ptr, int cpu)
{
	return per_cpu_ptr(ptr, cpu);
}

__rust_helper void rust_helper_this_cpu_add_u64(u64 __percpu *ptr, u64 val)
{
	this_cpu_add(*ptr, val);
}

__rust_helper u64 rust_helper_this_cpu_add_return_u64(u64 __percpu *ptr, u64 val)
{
	return this_cpu_add_return(*ptr, val);
}

__rust_helper void rust_helper_this_cpu_add_u64_pair(u64 __percpu *ptr,
						     u64 first, u64 second)
{
	this_cpu_add(ptr[0], first);
	this_cpu_add(ptr[1], second);
}
