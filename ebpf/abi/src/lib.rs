//! The records that the kernel programs and userspace share, byte for byte.
//!
//! Everything here is `repr(C)`, without padding that either side could read as data, and its size is
//! asserted: the two sides are compiled by different compilers for different targets. [`VERSION`] changes
//! whenever the meaning of any of it does; pins of another version are refused.
#![no_std]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Changes with any change of layout or meaning in this file.
pub const VERSION: u32 = 1;
/// Room for a target's name in [`Endpoint`], the ending NUL included.
pub const NAME_LEN: usize = 64;
/// The kernel's `TASK_COMM_LEN`.
pub const COMM_LEN: usize = 16;
/// Endpoints that the gate can hold; one target usually needs two for each of its addresses.
pub const MAX_ENDPOINTS: usize = 8192;
/// Connections that can be between `connect(2)` and accepted at one time.
pub const MAX_HANDOFFS: usize = 65_536;
/// Cgroups that can be exempt at one time.
pub const MAX_EXEMPT: usize = 256;

/// Names of the maps, also of their pins.
pub mod maps {
    /// `Array<Settings>`, one entry.
    pub const SETTINGS: &str = "SETTINGS";
    /// `HashMap<Address, Endpoint>`: what is intercepted, and our own ports.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// `HashMap<u64, u32>`: cgroup ids whose connects pass.
    pub const EXEMPT: &str = "EXEMPT";
    /// `SkStorage<Record>`: of client sockets and of accepted sockets.
    pub const RECORDS: &str = "RECORDS";
    /// `HashMap<Tuple, Record>`: records between a client's SYN and our accept.
    pub const HANDOFF: &str = "HANDOFF";
    /// `PerCpuArray<Tally>`, indexed by [`Counter`](super::Counter).
    pub const COUNTERS: &str = "COUNTERS";
    /// All of them.
    pub const ALL: [&str; 6] = [SETTINGS, ENDPOINTS, EXEMPT, RECORDS, HANDOFF, COUNTERS];
}

/// An IP address and port. IPv4 is spelt as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), so that one map and one
/// comparison serve both families.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address in network byte order, as in `struct sockaddr_in6`.
    pub ip: [u32; 4],
    /// The port in host byte order. 0: no address at all.
    pub port: u32,
}

impl Address {
    /// The word that marks an IPv4-mapped address, in network byte order.
    pub const MAPPED: u32 = 0xffff_u32.to_be();
    /// 127.0.0.1 in network byte order.
    pub const LOOPBACK4: u32 = 0x7f00_0001_u32.to_be();
    /// The last word of `::1` in network byte order.
    pub const LOOPBACK6: u32 = 1_u32.to_be();

    /// From an IPv4 address in network byte order and a port in host byte order.
    #[inline(always)]
    pub const fn v4(ip: u32, port: u32) -> Self {
        Self { ip: [0, 0, Self::MAPPED, ip], port }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.ip[0] == 0 && self.ip[1] == 0 && self.ip[2] == Self::MAPPED
    }

    /// Where Linux takes a connect to this address: the unspecified address means this host.
    #[inline(always)]
    pub const fn canonical(self) -> Self {
        let last = match self.ip {
            [0, 0, Self::MAPPED, 0] => Self::LOOPBACK4,
            [0, 0, 0, 0] => Self::LOOPBACK6,
            _ => return self,
        };
        Self { ip: [self.ip[0], self.ip[1], self.ip[2], last], port: self.port }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        Self { ip: words.map(u32::from_ne_bytes), port: u32::from(addr.port()) }
    }
}

impl From<Address> for SocketAddr {
    /// IPv4-mapped addresses come out as IPv4.
    fn from(addr: Address) -> Self {
        let [a, b, c, d] = addr.ip.map(u32::from_be);
        let ip = Ipv6Addr::from_bits(
            u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d),
        );
        let ip = if addr.is_v4() { IpAddr::V4(Ipv4Addr::from_bits(d)) } else { IpAddr::V6(ip) };
        SocketAddr::new(ip, addr.port as u16)
    }
}

/// What the gate does with connects to an [`Address`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// [`Endpoint::TARGET`] or [`Endpoint::OWN`]; anything else is refused.
    pub kind: u32,
    /// The target's name, ended by NUL; for people, the programs do not read it.
    pub name: [u8; NAME_LEN],
}

impl Endpoint {
    /// A target's address: connects to it go to the proxy.
    pub const TARGET: u32 = 1;
    /// An address that the proxy listens on: direct connects to it are refused.
    pub const OWN: u32 = 2;
}

/// What `gate load` tells the programs, and the daemon checks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// [`VERSION`] of who wrote this.
    pub version: u32,
    /// Zero.
    pub reserved: u32,
    /// Cookie of the network namespace that the proxy listens in.
    pub netns: u64,
    /// Where connects over IPv4 go; port 0 where nothing listens on IPv4.
    pub listen4: Address,
    /// Where connects over IPv6 go; port 0 where nothing listens on IPv6.
    pub listen6: Address,
}

/// Who connected, from where, to where. Written at `connect(2)`, moved to the accepted socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// [`Record::ARMED`], [`Record::SENT`] or [`Record::ACCEPTED`].
    pub stage: u32,
    /// Real uid, in the initial user namespace.
    pub uid: u32,
    /// Real gid, in the initial user namespace.
    pub gid: u32,
    /// Process (tgid), in the initial pid namespace.
    pub pid: u32,
    /// When it connected, `CLOCK_BOOTTIME`, in nanoseconds: a process that started later is not it.
    pub connected_at: u64,
    /// The process's cgroup v2 id.
    pub cgroup: u64,
    /// The socket's network namespace.
    pub netns: u64,
    /// The client socket's cookie.
    pub cookie: u64,
    /// Where it wanted to go.
    pub destination: Address,
    /// Thread's command name, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Zero.
    pub reserved: u32,
}

impl Record {
    /// On a client socket: redirected, its SYN not sent yet. Only such a record is handed over, and once.
    pub const ARMED: u32 = 1;
    /// On a client socket: handed over.
    pub const SENT: u32 = 2;
    /// On an accepted socket: this attests it.
    pub const ACCEPTED: u32 = 3;
}

/// A connection as both its ends can name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The network namespace that both ends are in.
    pub netns: u64,
    /// The end that connected.
    pub client: Address,
    /// The end that listens.
    pub server: Address,
}

/// One counter of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// When last, `CLOCK_BOOTTIME` in nanoseconds; 0 for counters of what goes well.
    pub last: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What the programs count. The names are stable: they appear in `gate status` and in metrics.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// All of them, in the order of their indices.
            pub const ALL: &[Counter] = &[$(Counter::$name,)*];

            /// A stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$name => $text,)* }
            }
        }
    };
}

counters! {
    /// Connects to a target that were sent to the proxy.
    Redirected = "redirected",
    /// Connects to a target that passed because of their cgroup.
    Exempt = "exempt",
    /// Accepted connections that were given their record.
    Attested = "attested",
    /// Refused: a connect to a target from another network namespace.
    DeniedNetns = "deniedNetns",
    /// Refused: a direct connect to the proxy's own port.
    DeniedOwnPort = "deniedOwnPort",
    /// Refused: the proxy does not listen on this address family.
    DeniedFamily = "deniedFamily",
    /// Refused: somebody else's bind to the proxy's own port.
    DeniedBind = "deniedBind",
    /// Refused: the client socket had no room for the record.
    DeniedStorage = "deniedStorage",
    /// Refused: the gate has no settings, or an endpoint of unknown kind.
    DeniedUnset = "deniedUnset",
    /// Packets to a target from sockets that never passed the gate.
    DroppedEgress = "droppedEgress",
    /// Connections to the proxy's port without a fresh record; their accept is refused.
    HandoffUnarmed = "handoffUnarmed",
    /// Two connections under one tuple; the accepts of both are refused.
    HandoffCollision = "handoffCollision",
    /// The handoff map was full; the accept is refused.
    HandoffFull = "handoffFull",
    /// Accepted without a record; the accept is refused.
    HandoffMissed = "handoffMissed",
    /// The accepted socket had no room for the record; the accept is refused.
    HandoffStorage = "handoffStorage",
}

const _: () = {
    assert!(size_of::<Address>() == 20);
    assert!(size_of::<Endpoint>() == 68);
    assert!(size_of::<Settings>() == 56);
    assert!(size_of::<Record>() == 88);
    assert!(size_of::<Tuple>() == 48);
    assert!(size_of::<Tally>() == 16);
};

// SAFETY: `repr(C)`, of integers only, no padding (the sizes above are the sums of the fields), and any
// bytes are a valid value.
#[cfg(feature = "user")]
mod pod {
    unsafe impl aya::Pod for super::Address {}
    unsafe impl aya::Pod for super::Endpoint {}
    unsafe impl aya::Pod for super::Settings {}
    unsafe impl aya::Pod for super::Record {}
    unsafe impl aya::Pod for super::Tuple {}
    unsafe impl aya::Pod for super::Tally {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["10.1.2.3:443", "[2001:db8::1]:6443", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(SocketAddr::from(address(text)), text.parse().unwrap());
        }
        assert_eq!(address("[::ffff:10.1.2.3]:443"), address("10.1.2.3:443"));
    }

    #[test]
    fn words_are_in_network_order() {
        assert_eq!(address("10.1.2.3:443").ip[3].to_ne_bytes(), [10, 1, 2, 3]);
        assert_eq!(address("10.1.2.3:443"), Address::v4(u32::from_ne_bytes([10, 1, 2, 3]), 443));
    }

    #[test]
    fn the_unspecified_address_is_this_host() {
        assert_eq!(address("0.0.0.0:443").canonical(), address("127.0.0.1:443"));
        assert_eq!(address("[::]:443").canonical(), address("[::1]:443"));
        assert_eq!(address("10.0.0.0:443").canonical(), address("10.0.0.0:443"));
        assert_eq!(address("[2001:db8::]:443").canonical(), address("[2001:db8::]:443"));
    }

    #[test]
    fn counters_are_their_index() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
    }
}
