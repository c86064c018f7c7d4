//! The few system calls that neither aya nor nix wraps: what needs `unsafe`, and nothing else.
//!
//! Layouts are those of `include/uapi/linux/bpf.h`, by way of aya's bindings.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};
use nix::libc;

/// `SO_NETNS_COOKIE`, asm-generic/socket.h, Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What a cgroup link is attached to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkInfo {
    pub(crate) program: u32,
    /// 0 once the cgroup is gone, and the link with it.
    pub(crate) cgroup: u64,
}

/// The kernel's own figures of a program; zeros unless `kernel.bpf_stats_enabled` is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTime {
    pub(crate) runs: u64,
    pub(crate) nanoseconds: u64,
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty_attr();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program behind an attached link, atomically.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty_attr();
    attr.link_update.link_fd = link.as_raw_fd() as u32;
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link at once; unpinning alone does so some time after the last descriptor is closed.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty_attr();
    attr.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// What a cgroup link is attached to.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    // SAFETY: a plain structure of integers, of which zeros are valid.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    object_info(link, &mut info)?;
    // SAFETY: `cgroup` is valid for zeroed bytes; only cgroup links are asked.
    let cgroup = unsafe { info.__bindgen_anon_1.cgroup.cgroup_id };
    Ok(LinkInfo { program: info.prog_id, cgroup })
}

/// The run-time figures of the program with this id.
pub(crate) fn run_time(program: u32) -> io::Result<RunTime> {
    let mut attr = empty_attr();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = program;
    let fd = bpf(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a plain structure of integers, of which zeros are valid.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    object_info(fd.as_fd(), &mut info)?;
    Ok(RunTime { runs: info.run_cnt, nanoseconds: info.run_time_ns })
}

/// The cookie of the network namespace that `socket` lives in.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = mem::size_of::<u64>() as libc::socklen_t;
    // SAFETY: value and length are ours, and the length says the value's size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = empty_attr();
    attr.info.bpf_fd = object.as_raw_fd() as u32;
    attr.info.info_len = mem::size_of::<T>() as u32;
    attr.info.info = (&raw mut *info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

fn empty_attr() -> bpf_attr {
    // SAFETY: a union of plain structures of integers, of which zeros are valid; the kernel demands zeros in
    // what a command does not use.
    unsafe { mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attribute is ours and its size is told; what it points to outlives the call at every caller.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_uint, &raw mut *attr, mem::size_of::<bpf_attr>())
    };
    i32::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
}
