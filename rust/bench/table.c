// SPDX-License-Identifier: GPL-2.0
/*
 * The C twins of table.rs: tables with the same keys, in the same loops.
 *
 * - rhashtable, through its inlined look-up;
 * - a plain table of hlists, two buckets an entry;
 * - such a table for each namespace, found as net_generic() finds state: by an
 *   index into an array of pointers.
 *
 * An entry is what a route cache in C has: what a look-up needs in its first
 * cache line, the rest behind. It is freed after a grace period.
 */

#include <linux/hash.h>
#include <linux/jhash.h>
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/barrier.h>

#include "plan.h"

/* Keep in step with table.rs. */
struct rnetns_bench_key {
	u32 tag;
	u32 saddr;
	u32 daddr;
	/* The DSCP is in the upper half. */
	u32 iif;
	u32 mark;
};

enum rnetns_bench_kind { RHASHTABLE, HLIST, PER_NAMESPACE };

struct entry {
	union {
		struct rhash_head rhash;
		struct hlist_node hlist;
	};
	struct rnetns_bench_key key;
	u64 value;
	/* Not used here: what an owner's list and an expiry take. */
	struct list_head owned;
	unsigned long used;
	struct rcu_head rcu;
};

struct buckets {
	struct hlist_head *heads;
	u32 mask;
	u32 seed;
};

#define LOCKS 256

struct rnetns_bench_table {
	enum rnetns_bench_kind kind;
	u32 namespaces;
	struct kmem_cache *cache;
	struct rhashtable rhash;
	/* One, or one for each tag. */
	struct buckets **buckets;
	/* The buckets with this remainder. */
	spinlock_t locks[LOCKS];
};

static const struct rhashtable_params rhash_params = {
	.head_offset = offsetof(struct entry, rhash),
	.key_offset = offsetof(struct entry, key),
	.key_len = sizeof(struct rnetns_bench_key),
};

/* The key of an index: the same in table.rs. */
static __always_inline void key_of(const struct rnetns_bench_plan *plan, u32 i,
				   struct rnetns_bench_key *key)
{
	u32 mixed = rnetns_bench_mix(i);

	key->tag = plan->tag + (u32)(((u64)mixed * plan->namespaces) >> 32);
	key->saddr = mixed;
	key->daddr = i ^ 0x0a000000u;
	key->iif = 2 + (i & 3);
	key->mark = 0;
}

/*
 * Entries are inserted and removed in an order that has nothing to do with that
 * of their indices. The number of indices is a power of two.
 */
static __always_inline u32 nth(const struct rnetns_bench_plan *plan, u32 n)
{
	return ((n * 0x2c1b3c6du) & plan->mask) * plan->step + plan->offset;
}

static __always_inline u32 bucket_of(const struct buckets *buckets,
				     const struct rnetns_bench_key *key)
{
	return buckets->mask &
	       jhash2((const u32 *)key, sizeof(*key) / sizeof(u32), buckets->seed);
}

static __always_inline struct entry *find(const struct buckets *buckets,
					  const struct rnetns_bench_key *key,
					  u32 bucket)
{
	struct entry *entry;

	hlist_for_each_entry_rcu(entry, &buckets->heads[bucket], hlist, true)
		if (!memcmp(&entry->key, key, sizeof(*key)))
			return entry;
	return NULL;
}

static __always_inline struct buckets *
buckets_of(const struct rnetns_bench_table *table, const struct rnetns_bench_key *key,
	   enum rnetns_bench_kind kind)
{
	return table->buckets[kind == PER_NAMESPACE ? key->tag : 0];
}

static __always_inline struct entry *look_up(struct rnetns_bench_table *table,
					     const struct rnetns_bench_key *key,
					     enum rnetns_bench_kind kind)
{
	struct buckets *buckets;

	if (kind == RHASHTABLE)
		return rhashtable_lookup(&table->rhash, key, rhash_params);
	buckets = buckets_of(table, key, kind);
	return find(buckets, key, bucket_of(buckets, key));
}

static __always_inline u64 loop(struct rnetns_bench_table *table,
				struct rnetns_bench_plan *plan, u64 n,
				bool dependent, enum rnetns_bench_kind kind)
{
	u64 state = plan->state, found = 0;
	struct rnetns_bench_key key;
	struct entry *entry;

	rcu_read_lock();
	while (n--) {
		key_of(plan, rnetns_bench_next(plan, &state), &key);
		entry = look_up(table, &key, kind);
		if (entry) {
			u64 value = READ_ONCE(entry->value);

			found++;
			/* Adds nothing, but waits for the value. */
			if (dependent)
				state += value ^ plan->value;
		} else if (dependent) {
			/* Nothing to wait for but the branch itself. */
			barrier_nospec();
		}
	}
	rcu_read_unlock();
	plan->state = state;
	return found;
}

/* Looks n keys up; the number of those that were found. */
u64 rnetns_bench_table_look_up(struct rnetns_bench_table *table,
			       struct rnetns_bench_plan *plan, u64 n, bool dependent);
noinline u64 rnetns_bench_table_look_up(struct rnetns_bench_table *table,
					struct rnetns_bench_plan *plan, u64 n,
					bool dependent)
{
	switch (table->kind) {
	case RHASHTABLE:
		return dependent ? loop(table, plan, n, true, RHASHTABLE) :
				   loop(table, plan, n, false, RHASHTABLE);
	case HLIST:
		return dependent ? loop(table, plan, n, true, HLIST) :
				   loop(table, plan, n, false, HLIST);
	case PER_NAMESPACE:
		return dependent ? loop(table, plan, n, true, PER_NAMESPACE) :
				   loop(table, plan, n, false, PER_NAMESPACE);
	}
	return 0;
}

static bool insert(struct rnetns_bench_table *table, struct entry *new)
{
	struct buckets *buckets;
	bool there;
	u32 bucket;

	if (table->kind == RHASHTABLE)
		return !rhashtable_lookup_insert_fast(&table->rhash, &new->rhash,
						      rhash_params);
	buckets = buckets_of(table, &new->key, table->kind);
	bucket = bucket_of(buckets, &new->key);
	spin_lock_bh(&table->locks[bucket % LOCKS]);
	there = find(buckets, &new->key, bucket);
	if (!there)
		hlist_add_head_rcu(&new->hlist, &buckets->heads[bucket]);
	spin_unlock_bh(&table->locks[bucket % LOCKS]);
	return !there;
}

static struct entry *remove(struct rnetns_bench_table *table,
			    const struct rnetns_bench_key *key)
{
	struct buckets *buckets;
	struct entry *entry;
	u32 bucket;

	rcu_read_lock();
	if (table->kind == RHASHTABLE) {
		entry = rhashtable_lookup(&table->rhash, key, rhash_params);
		if (entry && rhashtable_remove_fast(&table->rhash, &entry->rhash,
						    rhash_params))
			entry = NULL;
	} else {
		buckets = buckets_of(table, key, table->kind);
		bucket = bucket_of(buckets, key);
		spin_lock_bh(&table->locks[bucket % LOCKS]);
		entry = find(buckets, key, bucket);
		if (entry)
			hlist_del_rcu(&entry->hlist);
		spin_unlock_bh(&table->locks[bucket % LOCKS]);
	}
	rcu_read_unlock();
	return entry;
}

/* Inserts n entries from the one that is inserted as `first` on; the number inserted. */
u64 rnetns_bench_table_insert(struct rnetns_bench_table *table,
			      const struct rnetns_bench_plan *plan, u32 first, u64 n);
noinline u64 rnetns_bench_table_insert(struct rnetns_bench_table *table,
				       const struct rnetns_bench_plan *plan,
				       u32 first, u64 n)
{
	u64 inserted = 0;

	for (; n--; first++) {
		struct entry *entry = kmem_cache_alloc(table->cache, GFP_ATOMIC);

		if (!entry)
			break;
		key_of(plan, nth(plan, first), &entry->key);
		entry->value = plan->value;
		if (insert(table, entry))
			inserted++;
		else
			kmem_cache_free(table->cache, entry);
	}
	return inserted;
}

/* Removes them; the number removed. */
u64 rnetns_bench_table_remove(struct rnetns_bench_table *table,
			      const struct rnetns_bench_plan *plan, u32 first, u64 n);
noinline u64 rnetns_bench_table_remove(struct rnetns_bench_table *table,
				       const struct rnetns_bench_plan *plan,
				       u32 first, u64 n)
{
	struct rnetns_bench_key key;
	u64 removed = 0;

	for (; n--; first++) {
		struct entry *entry;

		key_of(plan, nth(plan, first), &key);
		entry = remove(table, &key);
		if (entry) {
			removed++;
			kfree_rcu(entry, rcu);
		}
	}
	return removed;
}

/*
 * The end of a namespace by a walk of the whole table, as tcp_metrics does it.
 * For tables of hlists; the number of entries removed.
 */
u64 rnetns_bench_table_walk(struct rnetns_bench_table *table, u32 tag);
noinline u64 rnetns_bench_table_walk(struct rnetns_bench_table *table, u32 tag)
{
	struct buckets *buckets = table->buckets[0];
	u64 removed = 0;

	for (u32 i = 0; i <= buckets->mask; i++) {
		struct hlist_head *head = &buckets->heads[i];
		struct hlist_node *after;
		struct entry *entry;

		if (hlist_empty(head))
			continue;
		spin_lock_bh(&table->locks[i % LOCKS]);
		hlist_for_each_entry_safe(entry, after, head, hlist) {
			if (entry->key.tag != tag)
				continue;
			hlist_del_rcu(&entry->hlist);
			kfree_rcu(entry, rcu);
			removed++;
		}
		spin_unlock_bh(&table->locks[i % LOCKS]);
		cond_resched();
	}
	return removed;
}

/*
 * Waits until what was removed is free, and what was inserted is where it stays:
 * rhashtable moves entries to a larger table by and by.
 */
void rnetns_bench_table_settle(struct rnetns_bench_table *table);
void rnetns_bench_table_settle(struct rnetns_bench_table *table)
{
	bool moving = table->kind == RHASHTABLE;

	while (moving) {
		flush_work(&table->rhash.run_work);
		rcu_read_lock();
		moving = rcu_access_pointer(rcu_dereference(table->rhash.tbl)->future_tbl);
		rcu_read_unlock();
	}
	rcu_barrier();
}

void rnetns_bench_yield(void);
void rnetns_bench_yield(void)
{
	cond_resched();
}

static void free_entry(void *entry, void *cache)
{
	kmem_cache_free(cache, entry);
}

static void free_buckets(struct rnetns_bench_table *table, struct buckets *buckets)
{
	struct hlist_node *after;
	struct entry *entry;

	if (!buckets)
		return;
	for (u32 i = 0; i <= buckets->mask; i++)
		hlist_for_each_entry_safe(entry, after, &buckets->heads[i], hlist)
			kmem_cache_free(table->cache, entry);
	kvfree(buckets->heads);
	kfree(buckets);
}

static struct buckets *new_buckets(u32 entries)
{
	u32 n = roundup_pow_of_two(2 * max(entries, 1u));
	struct buckets *buckets = kzalloc(sizeof(*buckets), GFP_KERNEL);

	if (!buckets)
		return NULL;
	buckets->mask = n - 1;
	buckets->seed = get_random_u32();
	buckets->heads = kvzalloc(array_size(n, sizeof(*buckets->heads)), GFP_KERNEL);
	if (!buckets->heads) {
		kfree(buckets);
		return NULL;
	}
	return buckets;
}

/* No entry may be in use any more, nor a look-up under way. */
void rnetns_bench_table_free(struct rnetns_bench_table *table);
void rnetns_bench_table_free(struct rnetns_bench_table *table)
{
	if (!table)
		return;
	if (table->kind == RHASHTABLE && table->rhash.key_len)
		rhashtable_free_and_destroy(&table->rhash, free_entry, table->cache);
	for (u32 i = 0; table->buckets && i <= table->namespaces; i++)
		free_buckets(table, table->buckets[i]);
	kvfree(table->buckets);
	/* Waits for what kfree_rcu() has not freed yet. */
	kmem_cache_destroy(table->cache);
	kfree(table);
}

static const char *const cache_names[] = {
	[RHASHTABLE] = "rnetns_bench_rhashtable",
	[HLIST] = "rnetns_bench_hlist",
	[PER_NAMESPACE] = "rnetns_bench_per_namespace",
};

/* A table with room for `entries` in all; NULL without memory. */
struct rnetns_bench_table *rnetns_bench_table_new(int kind, u32 entries, u32 namespaces);
struct rnetns_bench_table *rnetns_bench_table_new(int kind, u32 entries, u32 namespaces)
{
	struct rhashtable_params params = rhash_params;
	struct rnetns_bench_table *table = kzalloc(sizeof(*table), GFP_KERNEL);

	if (!table)
		return NULL;
	for (int i = 0; i < LOCKS; i++)
		spin_lock_init(&table->locks[i]);
	table->kind = kind;
	table->namespaces = kind == PER_NAMESPACE ? namespaces : 0;
	table->cache = kmem_cache_create(cache_names[kind], sizeof(struct entry), 0,
					 SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE, NULL);
	if (!table->cache)
		goto fail;
	if (kind == RHASHTABLE) {
		params.nelem_hint = min_t(u32, entries, 65535);
		if (rhashtable_init(&table->rhash, &params)) {
			table->rhash.key_len = 0;
			goto fail;
		}
		return table;
	}
	table->buckets = kvcalloc(table->namespaces + 1, sizeof(*table->buckets), GFP_KERNEL);
	if (!table->buckets)
		goto fail;
	/* Tags begin at 1. */
	for (u32 i = table->namespaces ? 1 : 0; i <= table->namespaces; i++) {
		table->buckets[i] = new_buckets(kind == PER_NAMESPACE ? entries / namespaces :
								entries);
		if (!table->buckets[i])
			goto fail;
	}
	return table;
fail:
	rnetns_bench_table_free(table);
	return NULL;
}
