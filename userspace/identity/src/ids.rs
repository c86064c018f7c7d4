//! The kernel's numbers as types, so that a gid is never passed where a uid is meant.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A user id in the initial user namespace, as `bpf_get_current_uid_gid` reports it.
    Uid(u32)
}
id! {
    /// A group id in the initial user namespace.
    Gid(u32)
}
id! {
    /// A process id (the kernel's tgid) in the initial pid namespace. For the record, never for authorisation.
    Pid(u32)
}
id! {
    /// A cgroup v2 id: the inode number of its directory (`bpf_get_current_cgroup_id`).
    CgroupId(u64)
}
id! {
    /// A network namespace's cookie (`bpf_get_netns_cookie`), never reused while the host runs.
    NetnsCookie(u64)
}
id! {
    /// The address that the client asked to reach, before the gate rewrote it.
    OriginalDst(SocketAddr)
}

impl Uid {
    /// The superuser.
    pub const ROOT: Uid = Uid(0);
}
