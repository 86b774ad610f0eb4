// SPDX-License-Identifier: GPL-2.0

//! A device that says as little of itself as it may, and counts where it need not.

use kernel::{
    net::{
        net_device::{
            self,
            LinkStats,
            OwnNetDevice,
            Setup,
            XmitResult, //
        },
        sk_buff::SkBuff,
        Namespace, //
    },
    pernet_slot,
    prelude::*, //
};

/// The device `null0` of the initial namespace.
pub(crate) struct Null;

pernet_slot!(Null: net_device::Registered);

#[vtable]
impl net_device::Operations for Null {
    const NAME: &'static CStr = c"null0";

    fn applies_to(net: &Namespace) -> bool {
        net.is_init_net()
    }

    fn setup(dev: &mut Setup<'_>) {
        dev.loopback().mtu(u32::MAX).no_queue();
    }

    fn start_xmit(_net: &Namespace, _dev: &OwnNetDevice, _skb: SkBuff<'_>) -> XmitResult {
        XmitResult::Ok
    }

    fn get_stats64(_net: &Namespace, dev: &OwnNetDevice, stats: &mut LinkStats<'_>) {
        let (packets, bytes) = dev.lstats_read();
        stats.set_tx(packets, bytes);
    }

    /// Counts each question as a packet, in process context.
    fn get_link(_net: &Namespace, dev: &OwnNetDevice) -> bool {
        dev.lstats_add(1);
        true
    }
}
