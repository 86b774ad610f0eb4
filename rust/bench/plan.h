/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which keys are looked up, and in which order: the same in plan.rs.
 */

#ifndef _RNETNS_BENCH_PLAN_H
#define _RNETNS_BENCH_PLAN_H

#include <linux/types.h>
#include <asm/byteorder.h>

struct rnetns_bench_plan {
	/* The state of a generator of pseudo-random numbers. */
	u64 state;
	/* The value of every entry. */
	u64 value;
	/* The tags of the namespaces: this number, and those that follow it. */
	u32 tag;
	u32 namespaces;
	/* Keys have indices: (random & mask) * step + offset. */
	u32 mask;
	u32 step;
	u32 offset;
};

static __always_inline u64 rnetns_bench_step(u64 state)
{
	return state * 6364136223846793005ull + 1442695040888963407ull;
}

/* The index of the key that comes next. */
static __always_inline u32 rnetns_bench_next(const struct rnetns_bench_plan *plan, u64 *state)
{
	*state = rnetns_bench_step(*state);
	return ((u32)(*state >> 33) & plan->mask) * plan->step + plan->offset;
}

/* Neighbours lie far from each other. */
static __always_inline u32 rnetns_bench_mix(u32 i)
{
	return i * 0x9e3779b1u;
}

/*
 * The addresses of a flow that comes by one of the routes 10.0.0.0/24,
 * 10.0.1.0/24, and so on, as `routes` in measure.sh makes them. Sources are of
 * 30.0.0.0/8.
 */
static inline __be32 rnetns_bench_saddr(u32 flow)
{
	return htonl(0x1e000000u | (rnetns_bench_mix(flow) >> 8));
}

static inline __be32 rnetns_bench_daddr(u32 flow, u32 routes)
{
	u32 route = (u32)(((u64)rnetns_bench_mix(flow) * routes) >> 32);

	/* Neither .0 nor .255. */
	return htonl(0x0a000000u + (route << 8) + 1 + (flow & 127));
}

#endif
