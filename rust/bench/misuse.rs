// SPDX-License-Identifier: GPL-2.0

//! What safe code may do though it should not: the abstractions must not let it break anything.
//!
//! In `/sys/kernel/debug/rnetns_misuse/`, a write of a name to `run` does it, and returns when it
//! is done: `EBADMSG` if it was not refused. What else is wrong, the kernel log says.
//!
//! - `hooks`: hooks that are others each time they are asked for.
//! - `hook`: a hook in each namespace, and who may switch that of one that is not the initial one;
//!   `unhook`; `switch late`, when the namespace or the registration has ended; `forget hooks`.
//!   `hooked` says how many packets the hook has seen.
//! - `packets`: packets of any size, through `lo` of the initial namespace.
//! - `settings`: reads what a namespace says about IPv6, which may be switched off at boot.
//! - `keep`: holds the destination of the next IPv6 packet of any other namespace, beyond that
//!   namespace's end; `give back`; `forget`, which ends it. `kept` says how many are held, how many
//!   namespaces have ended since, and how many of these while their destination was held.
//! - `watch`: counts the events of the device `misuse` with the index 4242 in the initial
//!   namespace; `look away`. `watched` says how many there were, how many of these when nobody else
//!   could find the device, but for that it goes, and how often it was told so.
//! - `group`: tells a group of a netlink family something that the family does not have.
//! - `register`: registers that family again, which is too late.
//! - `null`: makes the device `null0` in the initial namespace; `no null`.
//! - `hold`: holds that device; `let go`. `watched` says how often the core has repeated meanwhile
//!   that it goes, and to which namespace it leads, 0 if to none.

use kernel::{
    debugfs::module_dir::{
        Entry,
        ModuleDir,
        ModuleFile, //
    },
    fmt,
    net::{
        dst::{
            self,
            OwnedDst, //
        },
        namespace::namespaces,
        net_device::{
            self,
            NetDevice, //
        },
        netdev_notifier::{
            self,
            Event, //
        },
        netfilter::{
            self,
            Hook,
            Packet,
            Protocol,
            Switch,
            Verdict, //
        },
        netlink,
        pernet::{
            self,
            HasSlot, //
        },
        route::Answer,
        LiveNamespace,
        Namespace, //
    },
    new_mutex,
    pernet_slot,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_spinlock_bh,
        rcu,
        Mutex,
        SpinLockBh, //
    },
    uaccess::UserSliceReader, //
};

use crate::{
    control::command,
    device::{
        NetDeviceRef,
        Repeats, //
    },
    family::{
        family,
        GROUP, //
    },
    null::Null,
    packet_type,
    xmit::{
        self,
        Outgoing, //
    },
};

/// The files, for as long as this exists.
pub(crate) type Misuse = ModuleDir<Files>;

/// What the files share.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    keeping: Mutex<Option<Pin<KBox<Keeping>>>>,
    #[pin]
    watch: Mutex<Option<Pin<KBox<netdev_notifier::Registration<Watch>>>>>,
    #[pin]
    held: Mutex<Option<Held>>,
    #[pin]
    family: Mutex<Option<netlink::Registration>>,
    #[pin]
    null: Mutex<Option<Pin<KBox<net_device::Registration<Null>>>>>,
    #[pin]
    late: Mutex<Option<Late>>,
}

/// Makes the files.
pub(crate) fn new() -> impl PinInit<Misuse> {
    let files = pin_init!(Files {
        keeping <- new_mutex!(None),
        watch <- new_mutex!(None),
        held <- new_mutex!(None),
        family <- new_mutex!(family().register().ok()),
        null <- new_mutex!(None),
        late <- new_mutex!(None),
    });
    static FILES: &[Entry<Files>] = &[
        Entry::of::<Run>(),
        Entry::of::<KeptFile>(),
        Entry::of::<Hooked>(),
        Entry::of::<Watched>(),
    ];
    ModuleDir::new(c"rnetns_misuse", FILES, files)
}

struct Run;

#[vtable]
impl ModuleFile for Run {
    type Data = Files;

    const NAME: &'static CStr = c"run";

    fn write(files: &Files, reader: &mut UserSliceReader) -> Result {
        match command(reader)?.to_bytes() {
            b"hooks" => hooks(),
            b"hook" => {
                *files.late.lock() = Some(Late::new()?);
                Ok(())
            }
            b"unhook" => {
                let hooks = {
                    let mut late = files.late.lock();
                    (*late).as_mut().and_then(|late| late.hooks.take())
                };
                hooks.map(drop).ok_or(ENOENT)
            }
            b"switch late" => files.late.lock().as_ref().ok_or(ENOENT)?.switch(),
            b"forget hooks" => {
                let late = files.late.lock().take();
                late.map(drop).ok_or(ENOENT)
            }
            b"packets" => packets(),
            b"settings" => {
                settings();
                Ok(())
            }
            b"keep" => {
                let keeping = KBox::pin_init(Keeping::new(), GFP_KERNEL)?;
                *files.keeping.lock() = Some(keeping);
                Ok(())
            }
            b"give back" => {
                drop(Kept::take(LiveNamespace::init_net()));
                Ok(())
            }
            b"watch" => {
                GONE.store(0, Relaxed);
                let watch = KBox::pin_init(netdev_notifier::register(), GFP_KERNEL)?;
                *files.watch.lock() = Some(watch);
                Ok(())
            }
            b"look away" => {
                let watch = files.watch.lock().take();
                watch.map(drop).ok_or(ENOENT)
            }
            b"hold" => {
                *files.held.lock() = Some(Held::new()?);
                Ok(())
            }
            b"let go" => {
                let held = files.held.lock().take();
                held.map(drop).ok_or(ENOENT)
            }
            b"group" => group(),
            b"register" => {
                let registered = files.family.lock().take();
                registered.map(drop).ok_or(ENOENT)?;
                match family().register() {
                    Err(EPERM) => Ok(()),
                    _ => Err(EBADMSG),
                }
            }
            b"null" => {
                let null = KBox::pin_init(net_device::register(), GFP_KERNEL)?;
                *files.null.lock() = Some(null);
                Ok(())
            }
            b"no null" => {
                let null = files.null.lock().take();
                null.map(drop).ok_or(ENOENT)
            }
            b"forget" => {
                let keeping = files.keeping.lock().take();
                keeping.map(drop).ok_or(ENOENT)
            }
            _ => Err(EINVAL),
        }
    }
}

struct KeptFile;

#[vtable]
impl ModuleFile for KeptFile {
    type Data = Files;

    const NAME: &'static CStr = c"kept";

    fn show(_files: &Files, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ended, early) = (ENDED.load(Relaxed), EARLY.load(Relaxed));
        let held = u32::from(Kept::is_there());
        f.write_fmt(fmt!("held={held}\nended={ended}\nearly={early}\n"))
    }
}

struct Hooked;

#[vtable]
impl ModuleFile for Hooked {
    type Data = Files;

    const NAME: &'static CStr = c"hooked";

    fn show(_files: &Files, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("{}\n", HOOKED.load(Relaxed)))
    }
}

struct Watched;

#[vtable]
impl ModuleFile for Watched {
    type Data = Files;

    const NAME: &'static CStr = c"watched";

    fn show(files: &Files, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seen, hidden) = (SEEN.load(Relaxed), HIDDEN.load(Relaxed));
        let (gone, repeats) = (GONE.load(Relaxed), Repeats::count());
        let netns = files.held.lock().as_ref().map_or(0, Held::netns);
        f.write_fmt(fmt!(
            "seen={seen}\nhidden={hidden}\ngone={gone}\nrepeats={repeats}\nnetns={netns}\n"
        ))
    }
}

/// Watches one device.
struct Watch;

/// Its index.
const WATCHED: i32 = 4242;

/// Its events, those when nobody else could find it, and how often it has gone.
static SEEN: Atomic<u32> = Atomic::new(0);
static HIDDEN: Atomic<u32> = Atomic::new(0);
static GONE: Atomic<u32> = Atomic::new(0);

impl netdev_notifier::Watcher for Watch {
    fn event(net: &Namespace, dev: &NetDevice, event: Event) {
        if !net.is_init_net() || dev.ifindex() != WATCHED {
            return;
        }
        if event == Event::Unregister {
            GONE.add(1, Relaxed);
            return;
        }
        SEEN.add(1, Relaxed);
        let found = NetDeviceRef::get_by_name(LiveNamespace::init_net(), c"misuse");
        if !found.is_ok_and(|found| found.ifindex() == WATCHED) {
            HIDDEN.add(1, Relaxed);
        }
    }
}

/// A held device, and who counts what the core says of it.
struct Held {
    dev: NetDeviceRef,
    _repeats: Repeats,
}

impl Held {
    fn new() -> Result<Self> {
        Ok(Self {
            _repeats: Repeats::begin()?,
            dev: NetDeviceRef::get_by_name(LiveNamespace::init_net(), c"misuse")?,
        })
    }

    /// The number of the namespace that the device leads to, 0 if it leads to none.
    fn netns(&self) -> u32 {
        self.dev.net(&rcu::read_lock()).map_or(0, Namespace::inum)
    }
}

/// Whom destinations are held for.
struct Keeper;

pernet_slot!(Keeper: dst::Holds);

/// What is held, in the initial namespace, which does not end.
#[pin_data]
struct Kept {
    #[pin]
    dst: SpinLockBh<Option<OwnedDst<Keeper>>>,
}

pernet_slot!(Kept);

#[vtable]
impl pernet::Operations for Kept {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        net.is_init_net()
    }

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        try_pin_init!(Self { dst <- new_spinlock_bh!(None) }? Error)
    }
}

impl Kept {
    fn take(net: &Namespace) -> Option<OwnedDst<Keeper>> {
        let guard = rcu::read_lock();
        let dst = Self::slot().get(net, &guard)?.dst.lock().take();
        dst
    }

    fn is_there() -> bool {
        let guard = rcu::read_lock();
        let kept = Self::slot().get(LiveNamespace::init_net(), &guard);
        kept.is_some_and(|kept| kept.dst.lock().is_some())
    }
}

/// Namespaces that have ended, and those that did so while a destination was held.
static ENDED: Atomic<u32> = Atomic::new(0);
static EARLY: Atomic<u32> = Atomic::new(0);

/// Notes that a namespace has ended, after the state of all that was registered later.
struct End;

pernet_slot!(End);

#[vtable]
impl pernet::Operations for End {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        !net.is_init_net()
    }

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        ENDED.add(1, Relaxed);
        if Kept::is_there() {
            EARLY.add(1, Relaxed);
        }
    }
}

/// Holds the destination of a packet.
struct Catch;

impl netfilter::PreRouting for Catch {
    const PROTOCOL: Protocol = Protocol::Ipv6;
    const PRIORITY: i32 = 0;

    fn pre_routing(net: &Namespace, packet: &mut Packet<'_>) -> Verdict {
        let guard = packet.rcu();
        let kept = Kept::slot().get(LiveNamespace::init_net(), guard);
        if let Some(kept) = kept.filter(|_| !net.is_init_net()) {
            let dst = packet.ip6_route_input().map(Answer::dst);
            let mut kept = kept.dst.lock();
            if kept.is_none() {
                *kept = dst.and_then(|dst| dst.hold(guard));
            }
        }
        Verdict::Accept
    }
}

pernet_slot!(Catch: netfilter::Registered);

impl netfilter::Hooks for Catch {
    fn hooks() -> &'static [Hook] {
        static HOOKS: [Hook; 1] = [Hook::pre_routing::<Catch>()];
        &HOOKS
    }
}

/// All that it takes, until what is held is given back.
#[pin_data]
struct Keeping {
    #[pin]
    hooks: netfilter::Registration<Catch>,
    #[pin]
    kept: pernet::Registration<Kept>,
    #[pin]
    keeper: dst::Registration<Keeper>,
    #[pin]
    end: pernet::Registration<End>,
}

impl Keeping {
    fn new() -> impl PinInit<Self, Error> {
        ENDED.store(0, Relaxed);
        EARLY.store(0, Relaxed);
        try_pin_init!(Self {
            end <- pernet::register_pernet_subsys(),
            keeper <- dst::register(),
            kept <- pernet::register_pernet_subsys(),
            hooks <- netfilter::register(),
        })
    }
}

/// A hook that lets packets pass.
struct Pass;

impl netfilter::PreRouting for Pass {
    const PROTOCOL: Protocol = Protocol::Ipv4;
    const PRIORITY: i32 = 0;

    fn pre_routing(_net: &Namespace, _packet: &mut Packet<'_>) -> Verdict {
        Verdict::Accept
    }
}

/// Hooks that are others each time they are asked for.
struct Fickle;

pernet_slot!(Fickle: netfilter::Registered);

impl netfilter::Hooks for Fickle {
    fn hooks() -> &'static [Hook] {
        static ONE: [Hook; 1] = [Hook::pre_routing::<Pass>()];
        static OTHER: [Hook; 2] = [Hook::pre_routing::<Pass>(), Hook::pre_routing::<Pass>()];
        static ASKED: Atomic<u32> = Atomic::new(0);
        if ASKED.fetch_add(1, Relaxed) % 2 == 0 {
            &ONE
        } else {
            &OTHER
        }
    }
}

/// What was registered must be unregistered, in each namespace. The kernel warns of hooks that it
/// does not find.
fn hooks() -> Result {
    let hooks = KBox::pin_init(netfilter::register::<Fickle>(), GFP_KERNEL)?;
    let net = LiveNamespace::init_net();
    let switch = Switch::of::<Fickle>(net, &rcu::read_lock()).ok_or(ENOENT)?;
    for _ in 0..2 {
        if !switch.turn_off_if_alone() {
            return Err(EBUSY);
        }
        netfilter::turn_on::<Fickle>(net)?;
    }
    drop(hooks);
    Ok(())
}

/// How many packets [`Count`] has seen.
static HOOKED: Atomic<u32> = Atomic::new(0);

/// A hook that counts packets.
struct Count;

impl netfilter::PreRouting for Count {
    const PROTOCOL: Protocol = Protocol::Ipv4;
    const PRIORITY: i32 = 0;

    fn pre_routing(_net: &Namespace, _packet: &mut Packet<'_>) -> Verdict {
        HOOKED.add(1, Relaxed);
        Verdict::Accept
    }
}

pernet_slot!(Count: netfilter::Registered);

impl netfilter::Hooks for Count {
    fn hooks() -> &'static [Hook] {
        static HOOKS: [Hook; 1] = [Hook::pre_routing::<Count>()];
        &HOOKS
    }
}

/// Whoever may switch the hook of a namespace, maybe longer than there is one.
struct Late {
    switch: Switch,
    hooks: Option<Pin<KBox<netfilter::Registration<Count>>>>,
}

impl Late {
    fn new() -> Result<Self> {
        HOOKED.store(0, Relaxed);
        let hooks = KBox::pin_init(netfilter::register(), GFP_KERNEL)?;
        let guard = rcu::read_lock();
        let mut others = namespaces(&guard).filter(|net| !net.is_init_net());
        let switch = others.find_map(|net| Switch::of::<Count>(net, &guard));
        drop(guard);
        Ok(Self {
            switch: switch.ok_or(ENOENT)?,
            hooks: Some(hooks),
        })
    }

    /// Too late.
    fn switch(&self) -> Result {
        match self.switch.turn_on() {
            Err(error) if error == ENODEV && self.switch.turn_off_if_alone() => Ok(()),
            _ => Err(EBADMSG),
        }
    }
}

/// Where IPv6 is switched off (`ipv6.disable=1`), there is little behind these.
fn settings() {
    let net = LiveNamespace::init_net();
    let _ = (net.fib6_generation(), net.forwards_ipv6(), net.has_rules6());
    let _ = (net.rules6_look_into_packets(), net.rt_genid_ipv4());
}

/// There is no such group.
fn group() -> Result {
    match family().notify(
        LiveNamespace::init_net(),
        GROUP + 1,
        0,
        GFP_KERNEL,
        |_message| Ok(()),
    ) {
        Err(EINVAL) => Ok(()),
        _ => Err(EBADMSG),
    }
}

/// A packet is made with the size that was asked for, or not at all.
fn packets() -> Result {
    let dev = NetDeviceRef::get_by_name(LiveNamespace::init_net(), c"lo")?;
    let new = |len| Outgoing::new(&dev, packet_type::Protocol::EXPERIMENTAL, len);
    new(0)?;
    new(1500)?;
    let edges = [0, u32::MAX / 2, u32::MAX];
    for len in edges
        .iter()
        .flat_map(|edge| (0..4096).map(|less| edge.wrapping_sub(less)))
    {
        if len > xmit::MAX_LEN && new(len).is_ok() {
            return Err(EBADMSG);
        }
    }
    Ok(())
}
