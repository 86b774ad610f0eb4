// SPDX-License-Identifier: GPL-2.0

//! Counts, in each network namespace, how often `/dev/@name@` was opened there.

mod pernet;

use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CString, //
};

use pernet::{
    Id,
    Namespaces,
    Registration, //
};

module! {
    type: Module,
    name: "@name@",
    authors: ["The authors of @name@"],
    description: "Counts how often its device is opened in each network namespace",
    license: "GPL",
    params: {
        start: u64 {
            default: 0,
            description: "What a namespace's counter begins with",
        },
    },
}

kernel::sync::global_lock! {
    // SAFETY: Initialised first thing when the module is, before anything else uses it.
    unsafe(uninit) static COUNTERS: Mutex<KVec<(Id, u64)>> = KVec::new();
}

/// Its fields are dropped in this order: first the device, which uses the counters.
#[pin_data]
struct Module {
    #[pin]
    _device: MiscDeviceRegistration<Opened>,
    _namespaces: Registration<Counters>,
    _counters: Counters,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: A module is initialised once.
        unsafe { COUNTERS.init() };
        try_pin_init!(Self {
            _counters: Counters,
            _namespaces: Registration::new()?,
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"@name@" }),
        })
    }
}

/// Owns the counters, one for each namespace. Frees their memory when it is dropped, since a static
/// is never dropped.
struct Counters;

impl Namespaces for Counters {
    fn begin(net: Id) -> Result {
        let counter = (net, module_parameters::start.value());
        COUNTERS.lock().push(counter, GFP_KERNEL)?;
        Ok(())
    }

    fn end(net: Id) {
        COUNTERS.lock().retain(|(id, _)| *id != net);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        *COUNTERS.lock() = KVec::new();
    }
}

/// Increments the counter of the running process's namespace, and returns its new value.
fn count() -> Result<u64> {
    let net = Id::current();
    let mut counters = COUNTERS.lock();
    let (_, counter) = counters
        .iter_mut()
        .find(|(id, _)| *id == net)
        .ok_or(ENODEV)?;
    *counter += 1;
    Ok(*counter)
}

/// An open file, with the counter's value when it was opened.
struct Opened {
    text: CString,
}

#[vtable]
impl MiscDevice for Opened {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let text = CString::try_from_fmt(fmt!("{}\n", count()?))?;
        Ok(KBox::new(Opened { text }, GFP_KERNEL)?)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, to: &mut IovIterDest<'_>) -> Result<usize> {
        let text = kiocb.file().text.to_bytes();
        to.simple_read_from_buffer(kiocb.ki_pos_mut(), text)
    }
}
