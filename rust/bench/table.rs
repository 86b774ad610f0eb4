// SPDX-License-Identifier: GPL-2.0

//! The table that all namespaces share, and its C twins (`table.c`), in the same loops.
//!
//! All tables have the same keys, of five words with the tag, and values of one word. Look-ups are
//! in one RCU critical section. A *dependent* look-up waits for the one before: the index of its
//! key is computed from the value that was found. If nothing was found, a barrier takes its place.

use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    ffi::c_int,
    fmt::Arguments,
    net::{
        net_device::NetDevice,
        tagged_table::{
            Owner,
            Table,
            Tag, //
        },
    },
    new_spinlock,
    prelude::*,
    str::CString,
    sync::{
        rcu,
        Arc,
        SpinLock, //
    },
};

use crate::{
    device::NetDeviceRef,
    figures::{
        rounds,
        time,
        Figure, //
    },
    plan::{
        Plan,
        KEY_WORDS, //
    },
};

/// How many entries are inserted between two looks at whether something else wants to run.
const CHUNK: u32 = 1024;

/// The table takes an entry only in one of a few lines: with one entry a line, 1 in 2800 finds no
/// room there.
const MAY_REFUSE: u32 = 500;

/// What the values point to.
static VALUE: u64 = 0;

mod c {
    use super::{
        c_int,
        NetDevice,
        Plan, //
    };

    /// `struct rnetns_bench_table`.
    pub(super) enum Table {}
    /// `struct rnetns_bench_fib`.
    pub(super) enum Fib {}

    // The functions of `table.c` and `fib.c`. A table is valid from `new` to `free`.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_table_new(
            kind: c_int,
            entries: u32,
            namespaces: u32,
        ) -> *mut Table;
        pub(super) fn rnetns_bench_table_free(table: *mut Table);
        pub(super) fn rnetns_bench_table_look_up(
            table: *mut Table,
            plan: *mut Plan,
            n: u64,
            dependent: bool,
        ) -> u64;
        pub(super) fn rnetns_bench_table_insert(
            table: *mut Table,
            plan: *const Plan,
            first: u32,
            n: u64,
        ) -> u64;
        pub(super) fn rnetns_bench_table_remove(
            table: *mut Table,
            plan: *const Plan,
            first: u32,
            n: u64,
        ) -> u64;
        pub(super) fn rnetns_bench_table_walk(table: *mut Table, tag: u32) -> u64;
        pub(super) fn rnetns_bench_table_settle(table: *mut Table);
        pub(super) safe fn rnetns_bench_yield();
        pub(super) fn rnetns_bench_fib_new(dev: *const NetDevice, routes: u32) -> *mut Fib;
        pub(super) fn rnetns_bench_fib_free(fib: *mut Fib);
        pub(super) fn rnetns_bench_fib_look_up(
            fib: *mut Fib,
            plan: *mut Plan,
            n: u64,
            dependent: bool,
        ) -> u64;
    }
}

/// Lets others run, if they wait: `cond_resched()`.
pub(crate) fn yield_now() {
    c::rnetns_bench_yield();
}

/// Something that keys are looked up in.
pub(crate) trait Contender {
    /// Looks keys up; how many were found.
    fn look_up(&self, plan: &mut Plan, n: u64, dependent: bool) -> u64;

    /// Inserts entries from the one that is inserted as `first` on; how many were taken.
    fn insert(&self, plan: &Plan, first: u32, n: u32) -> u32;

    /// Removes them; how many were there.
    fn remove(&self, plan: &Plan, first: u32, n: u32) -> u32;

    /// Waits until changes have come to rest.
    fn settle(&self);
}

/// The table in Rust.
///
/// A lock is taken around each change, as a namespace's cache does it.
#[pin_data(PinnedDrop)]
pub(crate) struct Tagged<const N: usize> {
    table: Arc<Table<&'static u64, N>>,
    #[pin]
    owners: SpinLock<KVVec<Owner<&'static u64, N>>>,
}

impl<const N: usize> Tagged<N> {
    /// How many entries `lines` lines are for, as in a namespace's cache: at most five for four
    /// lines of two slots, three for four lines of one.
    const fn most(lines: u32) -> u32 {
        match Table::<&'static u64, N>::WAYS {
            1 => lines / 4 * 3,
            _ => lines / 4 * 5,
        }
    }

    fn new(lines: u32, namespaces: u32) -> Result<Pin<KBox<Self>>> {
        let table = Table::new(lines, Self::most(lines))?;
        let mut owners = KVVec::with_capacity(namespaces as usize, GFP_KERNEL)?;
        for number in 1..=namespaces {
            let owner = Owner::new(table.clone())?;
            // As the keys have them.
            if owner.tag().map(Tag::get) != Some(number) {
                return Err(EIO);
            }
            owners.push(owner, GFP_KERNEL)?;
        }
        let init = pin_init!(Self {
            table,
            owners <- new_spinlock!(owners),
        });
        KBox::pin_init(init, GFP_KERNEL)
    }

    #[inline(always)]
    fn look_up_all<const DEPENDENT: bool>(&self, plan: &mut Plan, n: u64) -> u64 {
        let table = &*self.table;
        let mut state = plan.state;
        let mut hits = 0;
        let guard = rcu::read_lock();
        for _ in 0..n {
            let (tag, key) = plan.key::<N>(plan.next(&mut state));
            let Some(tag) = Tag::from_number(tag) else {
                break;
            };
            if let Some(found) = table.find(&table.query(tag, &key), &guard) {
                hits += 1;
                if DEPENDENT {
                    let value = ptr::from_ref(found.value).addr() as u64;
                    state = state.wrapping_add(value ^ plan.value);
                }
            } else if DEPENDENT {
                speculation_barrier();
            }
        }
        drop(guard);
        plan.state = state;
        hits
    }

    #[inline(never)]
    fn look_up_dependent(&self, plan: &mut Plan, n: u64) -> u64 {
        self.look_up_all::<true>(plan, n)
    }

    #[inline(never)]
    fn look_up_independent(&self, plan: &mut Plan, n: u64) -> u64 {
        self.look_up_all::<false>(plan, n)
    }

    /// Does something with owner and key of entries; how often it worked.
    #[inline(always)]
    fn change(
        &self,
        plan: &Plan,
        first: u32,
        n: u32,
        mut change: impl FnMut(&mut Owner<&'static u64, N>, &[u32; N]) -> bool,
    ) -> u32 {
        let mut done = 0;
        for i in 0..n {
            let (tag, key) = plan.key(plan.nth(first.wrapping_add(i)));
            let mut owners = self.owners.lock();
            if let Some(owner) = owners.get_mut(tag as usize - 1) {
                done += u32::from(change(owner, &key));
            }
        }
        done
    }
}

/// Nothing goes on before all that came before is done: `barrier_nospec()`.
#[inline(always)]
fn speculation_barrier() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: The instruction only waits.
    unsafe {
        core::arch::asm!("lfence", options(nostack, preserves_flags));
    }
}

impl<const N: usize> Contender for Tagged<N> {
    fn look_up(&self, plan: &mut Plan, n: u64, dependent: bool) -> u64 {
        if dependent {
            self.look_up_dependent(plan, n)
        } else {
            self.look_up_independent(plan, n)
        }
    }

    fn insert(&self, plan: &Plan, first: u32, n: u32) -> u32 {
        self.change(plan, first, n, |owner, key| {
            owner
                .tag()
                .is_some_and(|tag| owner.insert(tag, key, &VALUE, 0) == Ok(true))
        })
    }

    fn remove(&self, plan: &Plan, first: u32, n: u32) -> u32 {
        self.change(plan, first, n, |owner, key| owner.remove(key))
    }

    // A removed entry is dropped a grace period later. That is not measured, and neither is the
    // `kfree_rcu()` of the twins.
    fn settle(&self) {
        while !self.settle_all() {
            rcu::synchronize_rcu();
        }
    }
}

impl<const N: usize> Tagged<N> {
    /// Whether no slot waits for a grace period any more.
    fn settle_all(&self) -> bool {
        let mut settled = true;
        self.each(|owner| settled &= owner.settle(usize::MAX, 1));
        settled
    }

    /// Does something with each owner.
    fn each(&self, mut work: impl FnMut(&mut Owner<&'static u64, N>)) {
        let mut at = 0;
        while let Some(owner) = self.owners.lock().get_mut(at) {
            work(owner);
            at += 1;
        }
    }
}

#[pinned_drop]
impl<const N: usize> PinnedDrop for Tagged<N> {
    fn drop(self: Pin<&mut Self>) {
        self.each(take_out);
        // One grace period for all of them, instead of one each.
        rcu::synchronize_rcu();
    }
}

/// Which table in C.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Rhashtable,
    Hlist,
    PerNamespace,
}

/// A table in C.
///
/// # Invariants
///
/// The pointer is valid, and nobody else frees it.
pub(crate) struct Twin(NonNull<c::Table>);

impl Twin {
    fn new(kind: Kind, entries: u32, namespaces: u32) -> Result<Self> {
        // SAFETY: May be called at any time.
        let table = unsafe { c::rnetns_bench_table_new(kind as c_int, entries, namespaces) };
        // INVARIANT: It is new.
        NonNull::new(table).map(Self).ok_or(ENOMEM)
    }

    /// The end of a namespace, by a walk of the whole table of hlists; how many entries are gone.
    fn walk(&self, tag: u32) -> u64 {
        // SAFETY: By the type invariant the table is valid.
        unsafe { c::rnetns_bench_table_walk(self.0.as_ptr(), tag) }
    }
}

// SAFETY: The table belongs to no thread.
unsafe impl Send for Twin {}

impl Contender for Twin {
    fn look_up(&self, plan: &mut Plan, n: u64, dependent: bool) -> u64 {
        // SAFETY: By the type invariant the table is valid, and the plan is borrowed.
        unsafe { c::rnetns_bench_table_look_up(self.0.as_ptr(), plan, n, dependent) }
    }

    fn insert(&self, plan: &Plan, first: u32, n: u32) -> u32 {
        // SAFETY: As above. It takes no more than it is told.
        unsafe { c::rnetns_bench_table_insert(self.0.as_ptr(), plan, first, n.into()) as u32 }
    }

    fn remove(&self, plan: &Plan, first: u32, n: u32) -> u32 {
        // SAFETY: As above.
        unsafe { c::rnetns_bench_table_remove(self.0.as_ptr(), plan, first, n.into()) as u32 }
    }

    fn settle(&self) {
        // SAFETY: As above; called where sleeping is allowed.
        unsafe { c::rnetns_bench_table_settle(self.0.as_ptr()) };
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours.
        unsafe { c::rnetns_bench_table_free(self.0.as_ptr()) };
    }
}

/// `ip_route_input_noref()` for packets that come in on a device.
///
/// # Invariants
///
/// The pointer is valid, and nobody else frees it.
struct Fib {
    fib: NonNull<c::Fib>,
    _dev: NetDeviceRef,
}

impl Fib {
    fn new(dev: NetDeviceRef, routes: u32) -> Result<Self> {
        // SAFETY: The device outlives it.
        let fib = unsafe { c::rnetns_bench_fib_new(&raw const *dev, routes) };
        // INVARIANT: It is new.
        Ok(Self {
            fib: NonNull::new(fib).ok_or(ENOMEM)?,
            _dev: dev,
        })
    }
}

impl Contender for Fib {
    fn look_up(&self, plan: &mut Plan, n: u64, dependent: bool) -> u64 {
        // SAFETY: By the type invariant it is valid, and the plan is borrowed.
        unsafe { c::rnetns_bench_fib_look_up(self.fib.as_ptr(), plan, n, dependent) }
    }

    // User space has made the routes.
    fn insert(&self, _plan: &Plan, _first: u32, n: u32) -> u32 {
        n
    }

    fn remove(&self, _plan: &Plan, _first: u32, n: u32) -> u32 {
        n
    }

    fn settle(&self) {}
}

impl Drop for Fib {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours.
        unsafe { c::rnetns_bench_fib_free(self.fib.as_ptr()) };
    }
}

/// A contender, and how its keys are made.
struct Entrant {
    name: CString,
    plan: Plan,
    table: Entered,
}

enum Entered {
    Rust(Pin<KBox<Tagged<KEY_WORDS>>>),
    Twin(Twin),
    Fib(Fib),
}

impl Entrant {
    fn new(name: Arguments<'_>, entries: u32, namespaces: u32, table: Entered) -> Result<Self> {
        let value = ptr::from_ref(&VALUE).addr() as u64;
        Ok(Self {
            name: CString::try_from_fmt(name)?,
            plan: Plan::all(entries, namespaces, value),
            table,
        })
    }

    fn rust(name: Arguments<'_>, entries: u32, namespaces: u32) -> Result<Self> {
        let table = Entered::Rust(Tagged::new(entries, namespaces)?);
        Self::new(name, entries, namespaces, table)
    }

    fn twin(name: Arguments<'_>, kind: Kind, entries: u32, namespaces: u32) -> Result<Self> {
        let table = Entered::Twin(Twin::new(kind, entries, namespaces)?);
        Self::new(name, entries, namespaces, table)
    }

    fn contender(&self) -> &dyn Contender {
        match &self.table {
            Entered::Rust(table) => &**table,
            Entered::Twin(table) => table,
            Entered::Fib(fib) => fib,
        }
    }

    fn fill(&self) -> Result {
        fill(self.contender(), &self.plan)
    }
}

/// Inserts every key. A cache may refuse some; here 1 in [`MAY_REFUSE`], at most.
pub(crate) fn fill(table: &dyn Contender, plan: &Plan) -> Result {
    let mut taken = 0;
    for first in (0..plan.keys()).step_by(CHUNK as usize) {
        taken += table.insert(plan, first, CHUNK.min(plan.keys() - first));
        yield_now();
    }
    table.settle();
    if plan.keys() - taken > plan.keys() / MAY_REFUSE {
        return Err(ENOSPC);
    }
    Ok(())
}

/// What counts as many namespaces.
const MANY: u32 = 10_000;

/// Which contenders meet. Not all at once: they must fit into the memory of a small machine.
fn entrants(set: &str, entries: u32, namespaces: u32) -> Result<KVec<Entrant>> {
    let mut all = KVec::with_capacity(4, GFP_KERNEL)?;
    let rust = |name| Entrant::rust(name, entries, namespaces);
    let twin = |name, kind| Entrant::twin(name, kind, entries, namespaces);
    match set {
        "rhashtable" => {
            all.push(rust(fmt!("rust"))?, GFP_KERNEL)?;
            all.push(twin(fmt!("rhashtable"), Kind::Rhashtable)?, GFP_KERNEL)?;
        }
        "hlist" => {
            all.push(rust(fmt!("rust_beside_hlist"))?, GFP_KERNEL)?;
            all.push(twin(fmt!("hlist"), Kind::Hlist)?, GFP_KERNEL)?;
            let one_each = twin(fmt!("per_namespace"), Kind::PerNamespace)?;
            all.push(one_each, GFP_KERNEL)?;
        }
        _ => return Err(EINVAL),
    }
    Ok(all)
}

/// What is looked up.
#[derive(Clone, Copy)]
enum Way {
    Hit,
    Miss,
    Hot,
}

/// The number of entries that are looked up again and again.
const HOT: u32 = 4096;

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Hit => "hit",
            Way::Miss => "miss",
            Way::Hot => "hot",
        }
    }

    fn plan(self, all: Plan) -> Plan {
        match self {
            Way::Hit => all,
            Way::Miss => all.missing(),
            Way::Hot => all.hot(HOT),
        }
    }

    fn found(self, n: u64) -> u64 {
        match self {
            Way::Miss => 0,
            _ => n,
        }
    }
}

/// Dependent, and not.
const ORDERS: [(bool, &str); 2] = [(true, "dependent"), (false, "independent")];

/// A figure for each contender.
fn figures(
    entrants: &[Entrant],
    way: Way,
    order: &str,
    namespaces: u32,
    figures: &mut KVec<Figure>,
) -> Result {
    for entrant in entrants {
        let name = CString::try_from_fmt(fmt!(
            "{}_{}_{}_{}_{}",
            way.name(),
            order,
            entrant.plan.keys(),
            namespaces,
            &*entrant.name
        ))?;
        figures.push(Figure::named(name), GFP_KERNEL)?;
    }
    Ok(())
}

/// One repeat for each contender.
///
/// What was not found, or was found and should not have been, counts as lost.
fn turn(
    figures: &mut [Figure],
    entrants: &mut [Entrant],
    way: Way,
    dependent: bool,
    n: u64,
    repeat: usize,
) {
    for (figure, entrant) in figures.iter_mut().zip(entrants) {
        let mut plan = way.plan(entrant.plan);
        let table = entrant.contender();
        let (nanoseconds, found) = time(|| table.look_up(&mut plan, n, dependent));
        entrant.plan.state = plan.state;
        figure.note(repeat, nanoseconds, n);
        figure.note_lost(found.abs_diff(way.found(n)));
        yield_now();
    }
}

/// Measures look-ups, the contenders in turn, so that drift does not favour one.
fn look_ups(
    entrants: &mut [Entrant],
    ways: &[Way],
    namespaces: u32,
    n: u64,
) -> Result<KVec<Figure>> {
    let mut all = KVec::new();
    for &way in ways {
        for (dependent, order) in ORDERS {
            let first = all.len();
            figures(entrants, way, order, namespaces, &mut all)?;
            for repeat in rounds() {
                turn(&mut all[first..], entrants, way, dependent, n, repeat);
            }
        }
    }
    Ok(all)
}

/// The same entries in one namespace, in as many as the command says, and in many.
///
/// The contenders are the same code: what differs by a few percent is which memory each got. So
/// each repeat has new tables, made in another order.
fn measure_namespaces(entries: u32, namespaces: u32, ways: &[Way], n: u64) -> Result<KVec<Figure>> {
    let mut all = KVec::new();
    for repeat in rounds() {
        let mut counts = [1, namespaces, MANY];
        let turned = repeat % counts.len();
        counts.rotate_left(turned);
        let mut entrants = KVec::with_capacity(counts.len(), GFP_KERNEL)?;
        for count in counts {
            let name = fmt!("rust_in_{}", count);
            entrants.push(Entrant::rust(name, entries, count)?, GFP_KERNEL)?;
        }
        entrants.rotate_right(turned);
        for entrant in entrants.iter() {
            entrant.fill()?;
        }
        let mut first = 0;
        for &way in ways {
            for (dependent, order) in ORDERS {
                if all.len() == first {
                    figures(&entrants, way, order, namespaces, &mut all)?;
                }
                // The first turn warms up, and is overwritten.
                for _ in 0..2 {
                    let figures = &mut all[first..first + entrants.len()];
                    turn(figures, &mut entrants, way, dependent, n, repeat);
                }
                first += entrants.len();
            }
        }
    }
    Ok(all)
}

/// `table SET ENTRIES NAMESPACES LOOK_UPS`: look-ups in full tables.
pub(crate) fn measure(set: &str, entries: u32, namespaces: u32, n: u64) -> Result<KVec<Figure>> {
    check(entries, namespaces)?;
    let ways: &[Way] = if entries > HOT {
        &[Way::Hit, Way::Miss, Way::Hot]
    } else {
        &[Way::Hit, Way::Miss]
    };
    if set == "namespaces" {
        return measure_namespaces(entries, namespaces, ways, n);
    }
    let mut entrants = entrants(set, entries, namespaces)?;
    for entrant in entrants.iter() {
        entrant.fill()?;
    }
    look_ups(&mut entrants, ways, namespaces, n)
}

/// `fib ENTRIES LOOK_UPS ROUTES PID DEVICE`: the table beside what the kernel asks without one.
pub(crate) fn measure_fib(
    entries: u32,
    n: u64,
    routes: u32,
    dev: NetDeviceRef,
) -> Result<KVec<Figure>> {
    check(entries, 1)?;
    let mut entrants = KVec::with_capacity(2, GFP_KERNEL)?;
    let rust = Entrant::rust(fmt!("rust_beside_fib_{}", routes), entries, 1)?;
    entrants.push(rust, GFP_KERNEL)?;
    let fib = Entered::Fib(Fib::new(dev, routes)?);
    let fib = Entrant::new(fmt!("fib_{}", routes), entries, 1, fib)?;
    entrants.push(fib, GFP_KERNEL)?;
    for entrant in entrants.iter() {
        entrant.fill()?;
    }
    look_ups(&mut entrants, &[Way::Hit, Way::Hot], 1, n)
}

fn check(entries: u32, namespaces: u32) -> Result {
    if !entries.is_power_of_two() || entries > 1 << 24 || namespaces == 0 {
        return Err(EINVAL);
    }
    Ok(())
}

/// `update ENTRIES NAMESPACES`: takes entries of a full table out, and puts them in again.
pub(crate) fn measure_updates(entries: u32, namespaces: u32) -> Result<KVec<Figure>> {
    check(entries, namespaces)?;
    let entrants = entrants("rhashtable", entries, namespaces)?;
    let mut figures = KVec::new();
    for entrant in entrants.iter() {
        entrant.fill()?;
        for what in ["delete", "insert"] {
            let name = CString::try_from_fmt(fmt!(
                "{}_{}_{}_{}",
                what,
                entries,
                namespaces,
                &*entrant.name
            ))?;
            figures.push(Figure::named(name), GFP_KERNEL)?;
        }
    }
    let n = entries.min(UPDATES);
    for repeat in rounds() {
        for (pair, entrant) in figures.chunks_exact_mut(2).zip(entrants.iter()) {
            let [delete, insert] = pair else {
                return Err(EIO);
            };
            let table = entrant.contender();
            let first = repeat as u32 * n;
            let (nanoseconds, gone) = time(|| table.remove(&entrant.plan, first, n));
            delete.note(repeat, nanoseconds, n.into());
            delete.note_lost((n - gone).into());
            table.settle();
            let (nanoseconds, taken) = time(|| table.insert(&entrant.plan, first, n));
            insert.note(repeat, nanoseconds, n.into());
            insert.note_lost((n - taken).into());
            table.settle();
        }
    }
    Ok(figures)
}

/// Entries that are taken out and put in again in one repeat.
const UPDATES: u32 = 16384;

/// Namespaces that end in one repeat.
const ENDING: u32 = 8;
/// Entries that each of them has: about a hundred, a power of two.
const ENTRIES_OF_ENDING: u32 = 128;

/// `end ENTRIES`: namespaces with a hundred entries or so each end, alone and beside ENTRIES of
/// another one. The twin in C does the same with a walk of the whole table, as `tcp_metrics` does.
pub(crate) fn measure_ends(entries: u32) -> Result<KVec<Figure>> {
    check(entries, 1)?;
    let mut tables = KVec::with_capacity(4, GFP_KERNEL)?;
    for place in ["alone", "beside"] {
        let name = fmt!("end_{}_{}_rust", place, entries);
        tables.push(Entrant::rust(name, entries, 1)?, GFP_KERNEL)?;
        let name = fmt!("end_{}_{}_walk", place, entries);
        let walk = Entrant::twin(name, Kind::Hlist, entries, 1)?;
        tables.push(walk, GFP_KERNEL)?;
    }
    let mut figures = KVec::new();
    for (i, entrant) in tables.iter().enumerate() {
        // The last two.
        if i >= 2 {
            entrant.fill()?;
        }
        figures.push(Figure::new(entrant.name.to_str()?)?, GFP_KERNEL)?;
    }
    for repeat in rounds() {
        for i in 0..tables.len() {
            let missing = end(&tables, i, &mut figures[i], repeat)?;
            figures[i].note_lost(missing);
        }
    }
    Ok(figures)
}

/// Fills namespaces of one of the tables and ends them; gives the number of entries that were
/// missing.
fn end(tables: &[Entrant], which: usize, figure: &mut Figure, repeat: usize) -> Result<u64> {
    let entrant = tables.get(which).ok_or(EINVAL)?;
    let plan = |number| entrant.plan.of_another(number, ENTRIES_OF_ENDING);
    let mut gone = 0;
    // Of those that walk, one is enough: each takes as long as all others together.
    let ending = match &entrant.table {
        Entered::Twin(_) => 1,
        _ => ENDING,
    };
    let nanoseconds = match &entrant.table {
        Entered::Rust(tagged) => {
            let mut owners = KVec::with_capacity(ending as usize, GFP_KERNEL)?;
            for number in 0..ending {
                let mut owner = Owner::new(tagged.table.clone())?;
                let tag = owner.tag().ok_or(EIO)?;
                for n in 0..ENTRIES_OF_ENDING {
                    let plan = plan(number);
                    let (_, key) = plan.key::<KEY_WORDS>(plan.nth(n));
                    // One that is refused is missing at the end.
                    let _ = owner.insert(tag, &key, &VALUE, 0);
                }
                owners.push(owner, GFP_KERNEL)?;
            }
            cool(tables);
            let before = tagged.table.entries();
            let taken_out = time(|| owners.iter_mut().for_each(take_out)).0;
            gone += before - tagged.table.entries();
            // One for all namespaces that end together, and nobody's work.
            rcu::synchronize_rcu();
            taken_out + time(|| owners.clear()).0
        }
        Entered::Twin(twin) => {
            for number in 0..ending {
                twin.insert(&plan(number), 0, ENTRIES_OF_ENDING);
            }
            twin.settle();
            cool(tables);
            let work = || (0..ending).map(|number| twin.walk(plan(number).tag));
            let (nanoseconds, walked) = time(|| work().sum::<u64>());
            gone += walked;
            twin.settle();
            nanoseconds
        }
        Entered::Fib(_) => return Err(EINVAL),
    };
    figure.note(repeat, nanoseconds, ending.into());
    let want = u64::from(ending * ENTRIES_OF_ENDING);
    Ok(want.saturating_sub(gone))
}

/// As the cache of a namespace does it at its end: the rest comes a grace period later.
fn take_out<const N: usize>(owner: &mut Owner<&'static u64, N>) {
    owner.flush();
    while owner.reap_one() {}
    owner.seal();
}

/// Reads lines of all tables, so that a namespace's are not the ones that were used last.
fn cool(tables: &[Entrant]) {
    for entrant in tables {
        let mut plan = entrant.plan.missing();
        let n = plan.keys() / 4;
        entrant.contender().look_up(&mut plan, n.into(), false);
        yield_now();
    }
}

/// Tables that are there to be seen in the machine's memory.
pub(crate) enum Held {
    Inet(Pin<KBox<Tagged<KEY_WORDS>>>),
    Inet6(Pin<KBox<Tagged<KEY_WORDS_INET6>>>),
    Twin(Twin),
}

/// Words of an IPv6 key: what lines with one slot have room for.
const KEY_WORDS_INET6: usize = 11;

/// How full a table is that is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    Empty,
    /// With an entry for each line.
    OneALine,
    /// With as many as it takes.
    Full,
}

impl Held {
    /// `hold WHAT LINES FILLING`: keeps a table in memory.
    pub(crate) fn new(what: &str, lines: u32, filling: Filling) -> Result<Self> {
        check(lines, 1)?;
        let (held, most) = match what {
            "inet" => (
                Self::Inet(Tagged::new(lines, 1)?),
                Tagged::<KEY_WORDS>::most(lines),
            ),
            "inet6" => (
                Self::Inet6(Tagged::new(lines, 1)?),
                Tagged::<KEY_WORDS_INET6>::most(lines),
            ),
            "rhashtable" => (Self::Twin(Twin::new(Kind::Rhashtable, lines, 1)?), lines),
            "hlist" => (Self::Twin(Twin::new(Kind::Hlist, lines, 1)?), lines),
            _ => return Err(EINVAL),
        };
        let entries = match filling {
            Filling::Empty => 0,
            Filling::OneALine => lines,
            Filling::Full => most,
        };
        let (mut taken, mut tried) = (0, 0);
        // More keys than entries: some are refused.
        let plan = Plan::all(lines * 2, 1, 0);
        while taken < entries {
            if tried == plan.keys() {
                // A table counts its entries on each CPU, and refuses the last few of them.
                if taken < entries - entries / 64 {
                    return Err(ENOSPC);
                }
                break;
            }
            let n = CHUNK.min(entries - taken).min(plan.keys() - tried);
            taken += held.contender().insert(&plan, tried, n);
            tried += n;
            yield_now();
        }
        held.contender().settle();
        Ok(held)
    }

    fn contender(&self) -> &dyn Contender {
        match self {
            Held::Inet(table) => &**table,
            Held::Inet6(table) => &**table,
            Held::Twin(table) => table,
        }
    }
}
