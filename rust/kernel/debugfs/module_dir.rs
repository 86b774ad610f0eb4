// SPDX-License-Identifier: GPL-2.0

//! Folders of a module, whose files keep it loaded while somebody has them open.
//!
//! The files of a [`Scope`](super::Scope) have no owner. A module can be unloaded while one of them
//! is open, and whoever closes it then has the kernel look for `release` in memory that is gone.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

// Without debugfs, nobody makes a file.
#![cfg_attr(not(CONFIG_DEBUG_FS), allow(dead_code))]

use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr, //
};

use crate::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    fmt,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};

/// A file of a [`ModuleDir`], which only root can open: for reading if there is
/// [`show`](Self::show), else for writing.
#[vtable]
pub trait ModuleFile: 'static {
    /// What the files of the folder share.
    type Data: Sync + 'static;

    /// The name of the file.
    const NAME: &'static CStr;

    /// Writes what a reader reads. Process context, may sleep. May be called again for a reader
    /// whose buffer was too small.
    fn show(_data: &Self::Data, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes what was written by one call of `write()`, whose result an error becomes. Process
    /// context, may sleep.
    fn write(_data: &Self::Data, _reader: &mut UserSliceReader) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What a [`ModuleDir`] has to know of a file.
///
/// # Invariants
///
/// `operations` are for files whose inode has a pointer to a `T` that is shared. Their owner is the
/// module that they are in.
pub struct Entry<T> {
    name: &'static CStr,
    mode: u16,
    operations: &'static bindings::file_operations,
    _data: PhantomData<fn(&T)>,
}

// SAFETY: Nobody writes to the operations, and the kernel calls them from any thread.
unsafe impl<T> Sync for Entry<T> {}

impl<T: Sync + 'static> Entry<T> {
    /// The file `F`.
    pub const fn of<F: ModuleFile<Data = T>>() -> Self {
        // INVARIANT: Both are those of `F`, whose data is a `T`.
        Self {
            name: F::NAME,
            mode: if F::HAS_SHOW { 0o400 } else { 0o200 },
            operations: if F::HAS_SHOW {
                &Operations::<F>::SHOW
            } else {
                &Operations::<F>::WRITE
            },
            _data: PhantomData,
        }
    }
}

/// A folder in debugfs, which goes when this is dropped.
///
/// Like all of debugfs, it is not there where that is switched off, and nobody is told of files
/// that could not be made.
///
/// A module whose `init` fails goes even while one of its files is open. So make this last there,
/// when nothing can fail any more.
///
/// # Invariants
///
/// `dentry` is null, an error, or a folder that is ours.
///
/// # Examples
///
/// ```
/// # use core::sync::atomic::{AtomicU32, Ordering};
/// # use kernel::{debugfs::module_dir::{Entry, ModuleDir, ModuleFile}, fmt, prelude::*};
/// struct Count;
///
/// #[vtable]
/// impl ModuleFile for Count {
///     type Data = AtomicU32;
///     const NAME: &'static CStr = c"count";
///
///     fn show(data: &AtomicU32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         f.write_fmt(fmt!("{}\n", data.load(Ordering::Relaxed)))
///     }
/// }
///
/// static FILES: &[Entry<AtomicU32>] = &[Entry::of::<Count>()];
///
/// let dir = KBox::pin_init(ModuleDir::new(c"example", FILES, AtomicU32::new(1)), GFP_KERNEL)?;
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct ModuleDir<T> {
    #[pin]
    data: T,
    dentry: *mut bindings::dentry,
    // The files have a pointer to the data.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A folder belongs to no thread.
unsafe impl<T: Send> Send for ModuleDir<T> {}

// SAFETY: A shared folder gives nothing but the shared data.
unsafe impl<T: Sync> Sync for ModuleDir<T> {}

impl<T: Sync + 'static> ModuleDir<T> {
    /// Makes the folder, and the files in it.
    ///
    /// They can be opened before this returns. Wraps `debugfs_create_dir()` and
    /// `debugfs_create_file()`. Process context, sleeps.
    pub fn new<E>(
        name: &'static CStr,
        files: &'static [Entry<T>],
        data: impl PinInit<T, E>,
    ) -> impl PinInit<Self, E> {
        try_pin_init!(&this in Self {
            data <- data,
            // INVARIANT: The folder is ours.
            // SAFETY: The data is there by now, and stays where it is: it is pinned, and only
            // dropped after the folder has gone.
            dentry: unsafe { Self::create(name, files, &raw mut (*this.as_ptr()).data) },
            _pin: PhantomPinned,
        }? E)
    }

    /// # Safety
    ///
    /// `data` must be valid and shared until the folder has gone.
    #[cfg(CONFIG_DEBUG_FS)]
    unsafe fn create(
        name: &'static CStr,
        files: &'static [Entry<T>],
        data: *mut T,
    ) -> *mut bindings::dentry {
        // SAFETY: The name is a C string. Without a parent, the folder is at the root.
        let dir = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), ptr::null_mut()) };
        for file in files {
            // SAFETY: The name is a C string, and the parent the folder, or an error, which this
            // function knows. By the invariant of `Entry` and the caller's promise, the operations
            // are for files with a pointer to this data; they are there for as long as the module.
            unsafe {
                bindings::debugfs_create_file_full(
                    file.name.as_char_ptr(),
                    file.mode,
                    dir,
                    data.cast(),
                    ptr::null(),
                    file.operations,
                )
            };
        }
        dir
    }

    /// # Safety
    ///
    /// None: there is no folder.
    #[cfg(not(CONFIG_DEBUG_FS))]
    unsafe fn create(
        _name: &'static CStr,
        _files: &'static [Entry<T>],
        _data: *mut T,
    ) -> *mut bindings::dentry {
        ptr::null_mut()
    }
}

#[pinned_drop]
impl<T> PinnedDrop for ModuleDir<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is null, an error, both of which this function knows, or
        // ours. It waits until nobody uses a file any more: those who have one open get an error.
        #[cfg(CONFIG_DEBUG_FS)]
        unsafe {
            bindings::debugfs_remove(self.dentry)
        };
    }
}

/// What the kernel calls for the file `F`.
struct Operations<F>(PhantomData<F>);

impl<F: ModuleFile> Operations<F> {
    const SHOW: bindings::file_operations = bindings::file_operations {
        owner: this_module::<F::OwnerModule>().as_ptr(),
        open: Some(Self::open_to_show),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    const WRITE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<F::OwnerModule>().as_ptr(),
        open: Some(bindings::simple_open),
        write: Some(Self::write),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must have a pointer to the data, and `file` be one of it that is being opened.
    unsafe extern "C" fn open_to_show(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// `seq` must be of a file that `open_to_show` has opened, while debugfs lets it be read.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: `single_open()` was given the inode's pointer, to data that is shared and there
        // for as long as debugfs lets the file be read.
        let data = unsafe { &*(*seq).private.cast::<F::Data>() };
        // SAFETY: By the caller's promise it is valid; its lock is held meanwhile.
        let seq = unsafe { SeqFile::from_raw(seq) };
        seq_print!(seq, "{}", Shown::<F>(data));
        0
    }

    /// # Safety
    ///
    /// `file` must be one that `simple_open()` has opened, while debugfs lets it be written to.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buffer: *const c_char,
        count: usize,
        _offset: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: `simple_open()` has copied the inode's pointer, as above.
        let data = unsafe { &*(*file).private_data.cast::<F::Data>() };
        let buffer = UserPtr::from_ptr(buffer.cast_mut().cast());
        match F::write(data, &mut UserSlice::new(buffer, count).reader()) {
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// What the file `F` shows.
struct Shown<'a, F: ModuleFile>(&'a F::Data);

impl<F: ModuleFile> fmt::Display for Shown<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        F::show(self.0, f)
    }
}
