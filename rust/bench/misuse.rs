// SPDX-License-Identifier: GPL-2.0

//! What safe code may do though it should not: the abstractions must not let it break anything.
//!
//! In `/sys/kernel/debug/rnetns_misuse/`, a write of a name to `run` does it, and returns when it is
//! done: `EBADMSG` if it was not refused. What else is wrong, the kernel log says.
//!
//! - `hooks`: hooks that are others each time they are asked for.
//! - `packets`: packets of any size, through `lo` of the initial namespace.

use kernel::{
    debugfs::Scope,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    uaccess::UserSliceReader, //
};

use crate::{
    control::command,
    net::{
        netfilter::{
            self,
            Hook,
            Packet,
            Protocol,
            Verdict, //
        },
        packet_type,
        xmit::{
            self,
            Outgoing, //
        },
        ActiveNamespace,
        Namespace, //
    },
    pernet_slot,
};

/// The files, for as long as this exists.
pub(crate) type Misuse = Scope<()>;

/// Makes the files.
pub(crate) fn new() -> impl PinInit<Misuse> {
    Scope::dir((), c"rnetns_misuse", |nothing, dir| {
        dir.write_only_callback_file(c"run", nothing, &|(), reader: &mut UserSliceReader| {
            match command(reader)?.to_bytes() {
                b"hooks" => hooks(),
                b"packets" => packets(),
                _ => Err(EINVAL),
            }
        });
    })
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
    for on in [false, true, false, true] {
        netfilter::Registration::set(&hooks, ActiveNamespace::init_net(), on)?;
    }
    drop(hooks);
    Ok(())
}

/// A packet is made with the size that was asked for, or not at all.
fn packets() -> Result {
    let dev = ActiveNamespace::init_net().dev_get_by_name(c"lo")?;
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
