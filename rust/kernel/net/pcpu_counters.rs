// SPDX-License-Identifier: GPL-2.0

//! Per-CPU counters: counting writes no cache line that another CPU uses.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use core::ptr::NonNull;

use crate::{
    alloc::AllocError,
    bindings,
    cpu::nr_cpu_ids,
    prelude::*, //
};

/// `N` counters of 64 bits on every CPU.
///
/// # Invariants
///
/// `counters` is a per-CPU allocation of `N` `u64`, owned by this value.
///
/// # Examples
///
/// ```
/// # use kernel::net::pcpu_counters::PcpuCounters;
/// let counters = PcpuCounters::<2>::new()?;
/// counters.add(1, 60);
/// counters.add_pair(0, 1, 40);
/// assert_eq!(counters.sum(1), 100);
/// # Ok::<(), Error>(())
/// ```
pub struct PcpuCounters<const N: usize> {
    counters: NonNull<u64>,
}

// SAFETY: The allocation belongs to no thread or CPU as a whole, and can be freed from any.
unsafe impl<const N: usize> Send for PcpuCounters<N> {}

// SAFETY: `add` changes the counters of its own CPU by an operation that interrupts and migration
// cannot split; `sum` reads single words.
unsafe impl<const N: usize> Sync for PcpuCounters<N> {}

// On 32 bits, a reader would need `u64_stats_sync` to see 64-bit words whole: the module is for
// 64-bit kernels.

impl<const N: usize> PcpuCounters<N> {
    /// Allocates the counters, all zero.
    ///
    /// Wraps `alloc_percpu()`. May sleep. There can be from 1 to 4096.
    pub fn new() -> Result<Self, AllocError> {
        // The allocator warns of other sizes: `PCPU_MIN_UNIT_SIZE`.
        const { assert!(N > 0 && size_of::<[u64; N]>() <= 32 << 10) };
        // SAFETY: The size and the alignment are those of an array of `u64`; the function has no
        // other requirement.
        let counters = unsafe {
            bindings::pcpu_alloc_noprof(
                size_of::<[u64; N]>(),
                align_of::<u64>(),
                false,
                bindings::GFP_KERNEL,
            )
        };
        // INVARIANT: Just allocated in that size.
        Ok(Self {
            counters: NonNull::new(counters.cast()).ok_or(AllocError)?,
        })
    }

    /// Adds `value` to counter `index`, on this CPU. May be called from any context.
    ///
    /// An `index` that is out of range is a bug of the caller: nothing is counted.
    #[inline]
    pub fn add(&self, index: usize, value: u64) {
        if index >= N {
            return;
        }
        // SAFETY: By the type invariant there are `N` counters, and `index` is below that.
        // `this_cpu_add()` wants nothing but a valid per-CPU pointer.
        unsafe { bindings::this_cpu_add_u64(self.counters.as_ptr().wrapping_add(index), value) };
    }

    /// Adds `value` to counter `index`, on this CPU, and says what that is then: who counts can so
    /// do something each hundredth time, say. May be called from any context.
    ///
    /// Nothing is counted if `index` is out of range; it says zero.
    #[inline]
    pub fn add_return(&self, index: usize, value: u64) -> u64 {
        if index >= N {
            return 0;
        }
        let counter = self.counters.as_ptr().wrapping_add(index);
        // SAFETY: As in `add`; the operation is one that interrupts and migration cannot split.
        unsafe { bindings::this_cpu_add_return_u64(counter, value) }
    }

    /// Adds to counter `index` and to the next one, on this CPU: packets and their bytes, say.
    ///
    /// As two [`add`](Self::add), by one call. Nothing is counted if either is out of range.
    #[inline]
    pub fn add_pair(&self, index: usize, first: u64, second: u64) {
        if index >= N.saturating_sub(1) {
            return;
        }
        let counter = self.counters.as_ptr().wrapping_add(index);
        // SAFETY: As in `add`; `index + 1` is below `N` too.
        unsafe { bindings::this_cpu_add_u64_pair(counter, first, second) };
    }

    /// Sums counter `index` over all CPUs. Counts that are made meanwhile may be missing.
    pub fn sum(&self, index: usize) -> u64 {
        if index >= N {
            return 0;
        }
        let counter = self.counters.as_ptr().wrapping_add(index);
        possible_cpus().fold(0, |sum, cpu| {
            // SAFETY: The counter is valid, and `cpu` is a possible one; another CPU may be writing
            // to the word, so that it is read once, as `READ_ONCE()` would.
            sum.wrapping_add(unsafe { bindings::per_cpu_ptr_u64(counter, cpu).read_volatile() })
        })
    }
}

impl<const N: usize> Drop for PcpuCounters<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this value owns the allocation.
        unsafe { bindings::free_percpu(self.counters.as_ptr().cast()) };
    }
}

/// The CPUs for which per-CPU memory exists: `for_each_possible_cpu()`.
#[inline]
fn possible_cpus() -> impl Iterator<Item = i32> {
    let next = |cpu: i32| {
        // SAFETY: The mask is a static of the kernel that does not change after boot.
        let cpu = unsafe { bindings::cpumask_next(cpu, &raw const bindings::__cpu_possible_mask) };
        (cpu < nr_cpu_ids()).then_some(cpu as i32)
    };
    core::iter::successors(next(-1), move |&cpu| next(cpu))
}
