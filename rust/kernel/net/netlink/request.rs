// SPDX-License-Identifier: GPL-2.0

//! Generic netlink: requests, replies and dumps.
//!
//! A family is described in YAML; `tools/net/ynl` generates its UAPI header, the policies that
//! attributes are checked by, and a table of operations, in C. Here is what the operations are made
//! of: [`genl_doit!`](crate::genl_doit) and [`genl_dumpit!`](crate::genl_dumpit) define the
//! functions that the generated header declares, and [`genl_family!`](crate::genl_family) makes the
//! generated family a [`GeneratedFamily`].
//!
//! An operation works in the namespace of the socket that the request came by, which it is given
//! with the request.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use crate::{
    bindings,
    net::LiveNamespace,
    prelude::*, //
};

use super::{
    message::Message,
    Family,
    GenlMsg,
    NetlinkSkBuff,
    Registration,
    GENLMSG_DEFAULT_SIZE, //
};

/// How long the header of an attribute is.
const NLA_HDRLEN: usize = 4;

/// A family that was generated in C.
///
/// It is no [`Family`], which can be registered at any time: the memory of this one can be written
/// while its module is initialised, and not any more after that (`__ro_after_init`).
///
/// # Invariants
///
/// It is a static of the code that uses it, and generic netlink's to use.
#[repr(transparent)]
pub struct GeneratedFamily(pub(super) Family);

impl GeneratedFamily {
    /// Makes one of what was generated. For [`genl_family!`](crate::genl_family).
    ///
    /// # Safety
    ///
    /// `family` must be a static that was generated with its operations, which nobody else uses,
    /// and whose `module` is the one that calls.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn from_raw(family: *mut bindings::genl_family) -> &'static Self {
        // INVARIANT: The caller promises it.
        // SAFETY: The types are transparent over the structure, which may be written through a
        // shared reference.
        unsafe { &*family.cast::<Self>() }
    }

    /// Registers the family: in the `init` of its module, not later, nor in a thread that it leaves
    /// behind. `EPERM` if that is over, else the errors of `genl_register_family()`.
    pub fn register(&'static self) -> Result<Registration> {
        if !self.is_being_initialised() {
            return Err(EPERM);
        }
        self.0.register()
    }

    /// Whether what is written in initialisation alone can still be written.
    fn is_being_initialised(&self) -> bool {
        #[cfg(CONFIG_MODULES)]
        {
            // SAFETY: By the type invariant the structure is valid; the word is constant.
            let module = unsafe { (*self.0.as_raw()).module };
            if !module.is_null() {
                // SAFETY: It is the module whose code this is. The state is read whole.
                let state = unsafe {
                    (&raw const (*module.cast::<bindings::module>()).state).read_volatile()
                };
                return state == bindings::module_state_MODULE_STATE_COMING;
            }
        }
        // A part of the kernel is initialised at boot.
        // SAFETY: The word is read whole.
        let state = unsafe { (&raw const bindings::system_state).read_volatile() };
        state < bindings::system_states_SYSTEM_FREEING_INITMEM
    }
}

/// A request, whose attributes were checked by the policy of its operation.
///
/// # Invariants
///
/// `info` is valid for `'a`, as generic netlink makes it for an operation of a family with split
/// operations; so is the message that it points into. A socket of user space sends it for `'a`, and
/// generic netlink has handed it to its own socket in the same namespace.
pub struct Request<'a> {
    info: NonNull<bindings::genl_info>,
    _info: PhantomData<&'a bindings::genl_info>,
}

impl<'a> Request<'a> {
    #[inline]
    fn info(&self) -> &'a bindings::genl_info {
        // SAFETY: By the type invariant.
        unsafe { self.info.as_ref() }
    }

    /// The namespace of the socket that asks. Wraps `genl_info_net()`.
    #[inline]
    pub fn net(&self) -> &'a LiveNamespace {
        // SAFETY: The namespace is that of generic netlink's own socket, which does not keep it. By
        // the type invariant, it is that of the sender's socket, too, which does: those of user
        // space hold a reference.
        unsafe { LiveNamespace::from_raw(bindings::genl_info_net(self.info.as_ptr())) }
    }

    /// What it says.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        // INVARIANT: By the type invariant it is that of a `doit` operation.
        Attributes {
            info: self.info(),
            kind: bindings::GENL_CMD_CAP_DO,
        }
    }

    /// Refuses the request, and tells user space why and because of which attribute.
    ///
    /// Returns `error`. As `NL_SET_ERR_MSG_ATTR()`.
    pub fn refuse(&self, error: Error, attr: Option<u32>, why: &'static CStr) -> Error {
        let extack = self.info().extack;
        if !extack.is_null() {
            // SAFETY: By the type invariant the structure is valid, and the operation's to write.
            // The message is a static, the attribute part of the request.
            unsafe {
                (*extack)._msg = why.as_char_ptr();
                if let Some(attr) = attr.and_then(|attr| self.attributes().find(attr)) {
                    (*extack).bad_attr = attr.as_ptr();
                }
            }
        }
        error
    }

    /// Answers with a message that `fill` puts attributes into.
    ///
    /// `ENOMEM`, `EMSGSIZE` if they do not fit, or the error of `fill`. Process context.
    pub fn reply(&self, fill: impl FnOnce(&mut Message<'_>) -> Result) -> Result {
        let info = self.info();
        // SAFETY: By the type invariant the family is that of the operation, which lasts as long as
        // it is registered; `Family` is transparent over it. The header is that of the request.
        let (family, cmd) = unsafe { (&*info.family.cast::<Family>(), (*info.genlhdr).cmd) };
        let skb = NetlinkSkBuff::new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL)?;
        let mut msg = skb.genlmsg_put(info.snd_portid, info.snd_seq, family, cmd)?;
        fill(&mut Message::new(&mut msg))?;
        // SAFETY: By the type invariant it is that of a request.
        unsafe { msg.reply(self.info) }
    }
}

/// The attributes of a request, which were checked by the policy of its operation.
///
/// # Invariants
///
/// `info` is made by generic netlink for an operation of `kind` (`GENL_CMD_CAP_DO` or
/// `GENL_CMD_CAP_DUMP`) of a family with split operations, and valid for `'a`, as is the message
/// that it points into.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    info: &'a bindings::genl_info,
    kind: u32,
}

impl<'a> Attributes<'a> {
    /// How many attributes the operation knows: the length of `attrs`, without the first.
    fn max(&self) -> usize {
        // SAFETY: By the type invariant family and message are valid, and the table of operations
        // has as many elements as the family says.
        let (ops, cmd) = unsafe {
            let family = &*self.info.family;
            if family.split_ops.is_null() {
                return 0;
            }
            let n_ops = usize::from(family.n_split_ops);
            let ops = core::slice::from_raw_parts(family.split_ops, n_ops);
            (ops, (*self.info.genlhdr).cmd)
        };
        let is_ours =
            |op: &&bindings::genl_split_ops| op.cmd == cmd && u32::from(op.flags) & self.kind != 0;
        ops.iter().find(is_ours).map_or(0, |op| op.maxattr as usize)
    }

    fn find(&self, attr: u32) -> Option<NonNull<bindings::nlattr>> {
        let attrs = self.info.attrs;
        if attrs.is_null() || attr as usize > self.max() {
            return None;
        }
        // SAFETY: The array, where there is one, has an element for each attribute that the
        // operation knows. Those that the message has not got are null.
        NonNull::new(unsafe { *attrs.add(attr as usize) })
    }

    /// The bytes of an attribute, if it is there.
    #[inline]
    pub fn bytes(&self, attr: u32) -> Option<&'a [u8]> {
        let attr = self.find(attr)?.as_ptr();
        // SAFETY: By the type invariant the message is valid; that the attribute, with as many
        // bytes as its header says, is in it was checked before.
        unsafe {
            let len = usize::from((*attr).nla_len).saturating_sub(NLA_HDRLEN);
            let data = attr.cast::<u8>().add(NLA_HDRLEN);
            Some(core::slice::from_raw_parts(data, len))
        }
    }

    /// As many bytes as fit into `N`, if the attribute is there and has them.
    #[inline]
    pub fn chunk<const N: usize>(&self, attr: u32) -> Option<[u8; N]> {
        self.bytes(attr)?.first_chunk().copied()
    }

    /// A number of 32 bits, if it is there.
    #[inline]
    pub fn u32(&self, attr: u32) -> Option<u32> {
        self.chunk(attr).map(u32::from_ne_bytes)
    }
}

/// A part of a dump: what fits into one buffer.
///
/// # Invariants
///
/// `skb` is the buffer of this part and nobody else's for `'a`, `cb` is that of a dump of generic
/// netlink, and the socket that asks for it, which is in the namespace of the request, lasts for
/// `'a`.
pub struct Dump<'a> {
    skb: NonNull<bindings::sk_buff>,
    cb: NonNull<bindings::netlink_callback>,
    _skb: PhantomData<&'a mut bindings::sk_buff>,
}

impl<'a> Dump<'a> {
    #[inline]
    fn info(&self) -> &'a bindings::genl_info {
        // SAFETY: By the type invariant it is such a dump, whose request is kept until its end.
        unsafe { &*bindings::genl_info_dump(self.cb.as_ptr().cast()).cast::<bindings::genl_info>() }
    }

    /// The namespace of the socket that asks.
    #[inline]
    pub fn net(&self) -> &'a LiveNamespace {
        let info: *const bindings::genl_info = self.info();
        // SAFETY: As in `Request::net`: the socket that asks is the one that reads this part.
        unsafe { LiveNamespace::from_raw(bindings::genl_info_net(info.cast())) }
    }

    /// What the request says.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        // INVARIANT: By the type invariant it is that of a `dumpit` operation.
        Attributes {
            info: self.info(),
            kind: bindings::GENL_CMD_CAP_DUMP,
        }
    }

    /// How many bytes of messages still fit into this part.
    #[inline]
    pub fn room(&self) -> usize {
        // SAFETY: By the type invariant the buffer is valid.
        unsafe { bindings::skb_tailroom(self.skb.as_ptr().cast()) as usize }
    }

    /// Refuses to go on: user space is told why with the end of the dump.
    ///
    /// Returns `error`. As `NL_SET_ERR_MSG()`.
    pub fn refuse(&self, error: Error, why: &'static CStr) -> Error {
        let extack = self.info().extack;
        if !extack.is_null() {
            // SAFETY: Generic netlink sets it for each part of the dump, to a structure that is the
            // operation's to write meanwhile. The message is a static.
            unsafe { (*extack)._msg = why.as_char_ptr() };
        }
        error
    }

    /// Says which state of things the following messages show. If it is another than that of those
    /// before, the next one says that the dump was interrupted (`NLM_F_DUMP_INTR`): at the latest
    /// the one that ends it.
    pub fn set_generation(&mut self, generation: u32) {
        // Zero means that there is nothing to compare.
        let seq = if generation == 0 {
            u32::MAX
        } else {
            generation
        };
        // SAFETY: By the type invariant the callback is ours meanwhile.
        unsafe { (*self.cb.as_ptr()).seq = seq };
    }

    /// Adds a message. `EMSGSIZE` if it does not fit: the dump goes on with it in the next buffer.
    pub fn message(&mut self, fill: impl FnOnce(&mut Message<'_>) -> Result) -> Result {
        let info = self.info();
        // SAFETY: By the type invariant the buffer is ours, and the request valid.
        let hdr = unsafe {
            bindings::genlmsg_put(
                self.skb.as_ptr(),
                info.snd_portid,
                info.snd_seq,
                info.family,
                0,
                (*info.genlhdr).cmd,
            )
        };
        let hdr = NonNull::new(hdr).ok_or(EMSGSIZE)?;
        // INVARIANT: The header was put there just now. The buffer is the dump's: this is never
        // dropped, and `fill` gets no reference by which it could be.
        let mut msg = ManuallyDrop::new(GenlMsg {
            skb: NetlinkSkBuff { skb: self.skb },
            hdr,
        });
        if let Err(error) = fill(&mut Message::new(&mut msg)) {
            // SAFETY: The header is that of a message in this buffer.
            unsafe { bindings::genlmsg_cancel(self.skb.as_ptr(), hdr.as_ptr()) };
            return Err(error);
        }
        // Only now: what is compared is then taken for seen, and a message that is taken back
        // would take the mark with it.
        // SAFETY: By the type invariant, and the header is that of a message.
        unsafe {
            bindings::genl_dump_check_consistent(self.cb.as_ptr().cast(), hdr.as_ptr());
            bindings::genlmsg_end(self.skb.as_ptr(), hdr.as_ptr());
        }
        Ok(())
    }
}

/// Runs a `doit` operation. For [`genl_doit!`](crate::genl_doit).
///
/// # Safety
///
/// To be called by generic netlink, as an operation of a family with split operations.
#[doc(hidden)]
#[inline]
pub unsafe fn doit(info: *mut bindings::genl_info, operation: fn(&Request<'_>) -> Result) -> c_int {
    let Some(info) = NonNull::new(info.cast()) else {
        return EINVAL.to_errno();
    };
    // INVARIANT: Generic netlink calls operations with a request that is valid meanwhile, on behalf
    // of the socket that it came by.
    let request = Request {
        info,
        _info: PhantomData,
    };
    operation(&request).map_or_else(|error| error.to_errno(), |()| 0)
}

/// Runs a `dumpit` operation. For [`genl_dumpit!`](crate::genl_dumpit).
///
/// # Safety
///
/// To be called by generic netlink, as an operation of a family, always with the same `C` for the
/// same dump.
#[doc(hidden)]
pub unsafe fn dumpit<C: Zeroable + Copy + Send + 'static>(
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
    operation: fn(&mut Dump<'_>, &mut C) -> Result,
) -> c_int {
    const {
        assert!(size_of::<C>() <= size_of::<bindings::netlink_callback__bindgen_ty_1>());
        assert!(align_of::<C>() <= align_of::<bindings::netlink_callback__bindgen_ty_1>());
    }
    let (Some(skb), Some(cb)) = (NonNull::new(skb.cast()), NonNull::new(cb.cast())) else {
        return EINVAL.to_errno();
    };
    let cb: NonNull<bindings::netlink_callback> = cb;
    // SAFETY: The callback has this room for the operation's own use, zeroed at first, then as it
    // was left, by us, perhaps in another thread. It is large enough, and nobody else looks at it
    // meanwhile.
    let mut cursor = unsafe {
        (&raw mut (*cb.as_ptr()).__bindgen_anon_1)
            .cast::<C>()
            .read()
    };
    // INVARIANT: Generic netlink lends both to the operation.
    let mut dump = Dump {
        skb,
        cb,
        _skb: PhantomData,
    };
    let result = operation(&mut dump, &mut cursor);
    // SAFETY: The room is that of the read, and still the operation's own.
    unsafe {
        (&raw mut (*cb.as_ptr()).__bindgen_anon_1)
            .cast::<C>()
            .write(cursor)
    };
    // What is not complete, because the buffer is full, is called again.
    result.map_or_else(|error| error.to_errno(), |()| 0)
}

/// Defines the `doit` function of an operation, which the generated header declares.
///
/// # Examples
///
/// ```ignore
/// genl_doit!(rnetns_nl_flush_doit => flush);
///
/// fn flush(request: &Request<'_>) -> Result {
///     let ifindex = request.attributes().u32(uapi::RNETNS_FLUSH_A_IFINDEX);
///     request.reply(|message| message.put_uint(uapi::RNETNS_FLUSH_A_FLUSHED, 0))
/// }
/// ```
#[macro_export]
macro_rules! genl_doit {
    ($symbol:ident => $operation:path) => {
        const _: () = {
            // It has to be declared, with the right type.
            const _: unsafe extern "C" fn(
                *mut $crate::bindings::sk_buff,
                *mut $crate::bindings::genl_info,
            ) -> $crate::ffi::c_int = $crate::bindings::$symbol;

            /// # Safety
            ///
            /// Called by generic netlink only.
            #[no_mangle]
            unsafe extern "C" fn $symbol(
                _skb: *mut $crate::bindings::sk_buff,
                info: *mut $crate::bindings::genl_info,
            ) -> $crate::ffi::c_int {
                // SAFETY: Only the generated table, which is one of split operations, has it.
                unsafe { $crate::net::netlink::request::doit(info, $operation) }
            }
        };
    };
}

/// Defines the `dumpit` function of an operation, which the generated header declares.
///
/// The operation gets a place that it keeps from one part of the dump to the next, which another
/// thread may ask for; at first, all of its bytes are zero. It returns `Ok` when the dump is
/// complete, and `EMSGSIZE` when a message did not fit.
#[macro_export]
macro_rules! genl_dumpit {
    ($symbol:ident => $operation:path) => {
        const _: () = {
            // As above.
            const _: unsafe extern "C" fn(
                *mut $crate::bindings::sk_buff,
                *mut $crate::bindings::netlink_callback,
            ) -> $crate::ffi::c_int = $crate::bindings::$symbol;

            /// # Safety
            ///
            /// Called by generic netlink only.
            #[no_mangle]
            unsafe extern "C" fn $symbol(
                skb: *mut $crate::bindings::sk_buff,
                cb: *mut $crate::bindings::netlink_callback,
            ) -> $crate::ffi::c_int {
                // SAFETY: Only the generated table has it; this is the only operation of its dumps.
                unsafe { $crate::net::netlink::request::dumpit(skb, cb, $operation) }
            }
        };
    };
}

/// Makes the family that was generated in C a
/// [`GeneratedFamily`](crate::net::netlink::request::GeneratedFamily).
#[macro_export]
macro_rules! genl_family {
    ($symbol:ident) => {{
        // A family and nothing else: what is generated beside it has another type.
        let family: *mut $crate::bindings::genl_family = &raw mut $crate::bindings::$symbol;
        // SAFETY: The static is generated with its operations and the module it is linked into, and
        // is for generic netlink to use from here on.
        unsafe { $crate::net::netlink::request::GeneratedFamily::from_raw(family) }
    }};
}

/// The number of a multicast group within its family, as the generated header declares it.
#[macro_export]
macro_rules! genl_group {
    ($group:ident) => {
        $crate::bindings::$group
    };
}
