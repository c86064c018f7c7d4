//! What connect4 and connect6 share: whether a connect is intercepted, and who makes it.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_netns_cookie,
    bpf_get_socket_cookie, bpf_ktime_get_boot_ns,
};
use aya_ebpf::programs::SockAddrContext;
use portcullis_abi::{Address, Counter, Endpoint, Record};

use crate::maps::{self, ENDPOINTS, count, fail};

/// What to return from a sock_addr program to let the call go on.
pub const PROCEED: i32 = 1;
/// What to return from a sock_addr program to fail the call with EPERM.
pub const REFUSE: i32 = 0;

/// `SOCK_STREAM`: TCP, MPTCP and whatever else could reach a TCP port. The protocol is not asked, so that no
/// protocol can be forgotten; UDP (QUIC) is not ours.
pub const SOCK_STREAM: u32 = 1;

/// What becomes of a connect.
pub enum Fate {
    /// Not ours.
    Proceed,
    /// EPERM.
    Refuse,
    /// To the proxy.
    Redirect(&'static Address),
}

/// Decides on a connect to `destination`, and records who makes it before it is redirected.
#[inline(always)]
pub fn decide(ctx: &SockAddrContext, destination: Address) -> Fate {
    // SAFETY: used before anything is inserted or removed.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(destination) }) else { return Fate::Proceed };
    if kind(ctx) != SOCK_STREAM {
        return Fate::Proceed;
    }
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if maps::is_exempt(cgroup) {
        count(Counter::Exempt);
        return Fate::Proceed;
    }
    let Some(settings) = maps::settings() else {
        fail(Counter::DeniedUnset);
        return Fate::Refuse;
    };
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let home = netns == settings.netns;
    match endpoint.kind {
        Endpoint::TARGET if home => {}
        // Loopback there is not loopback here, and here is where the proxy listens.
        Endpoint::TARGET => {
            fail(Counter::DeniedNetns);
            return Fate::Refuse;
        }
        Endpoint::OWN if home => {
            fail(Counter::DeniedOwnPort);
            return Fate::Refuse;
        }
        Endpoint::OWN => return Fate::Proceed,
        _ => {
            fail(Counter::DeniedUnset);
            return Fate::Refuse;
        }
    }
    let listener = if destination.is_v4() { &settings.listen4 } else { &settings.listen6 };
    if listener.port == 0 {
        fail(Counter::DeniedFamily);
        return Fate::Refuse;
    }
    // SAFETY: a sock_addr context always has a socket.
    let Some(record) = (unsafe { maps::new_record_of((*ctx.sock_addr).__bindgen_anon_1.sk) }) else {
        fail(Counter::DeniedStorage);
        return Fate::Refuse;
    };
    let uid_gid = unsafe { bpf_get_current_uid_gid() };
    *record = Record {
        stage: Record::ARMED,
        uid: uid_gid as u32,
        gid: (uid_gid >> 32) as u32,
        pid: (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32,
        connected_at: unsafe { bpf_ktime_get_boot_ns() },
        cgroup,
        netns,
        cookie: unsafe { bpf_get_socket_cookie(ctx.as_ptr()) },
        destination,
        comm: ctx.command().unwrap_or([0; 16]), // for people; it decides nothing
        reserved: 0,
    };
    count(Counter::Redirected);
    Fate::Redirect(listener)
}

/// One 32-bit field of the context, read as the verifier wants it: alone.
#[inline(always)]
fn field(ctx: &SockAddrContext, of: impl Fn(*const bpf_sock_addr) -> *const u32) -> u32 {
    unsafe { of(ctx.sock_addr).read_volatile() }
}

/// The socket's type, such as [`SOCK_STREAM`].
#[inline(always)]
pub fn kind(ctx: &SockAddrContext) -> u32 {
    field(ctx, |addr| unsafe { &raw const (*addr).type_ })
}

/// The port in the context, in host byte order.
#[inline(always)]
pub fn port(ctx: &SockAddrContext) -> u32 {
    u32::from(u16::from_be(field(ctx, |addr| unsafe { &raw const (*addr).user_port }) as u16))
}

/// The IPv4 address and port in the context.
#[inline(always)]
pub fn address4(ctx: &SockAddrContext) -> Address {
    Address::v4(field(ctx, |addr| unsafe { &raw const (*addr).user_ip4 }), port(ctx))
}

/// The IPv6 address and port in the context; IPv4-mapped addresses are IPv4 in [`Address`] already.
#[inline(always)]
pub fn address6(ctx: &SockAddrContext) -> Address {
    let word =
        |index: usize| field(ctx, |addr| unsafe { (&raw const (*addr).user_ip6).cast::<u32>().add(index) });
    Address { ip: [word(0), word(1), word(2), word(3)], port: port(ctx) }
}

/// Puts an IPv4 address and port into the context.
#[inline(always)]
pub fn set_address4(ctx: &SockAddrContext, to: &Address) {
    unsafe {
        (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(to.ip[3]);
        (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from((to.port as u16).to_be()));
    }
}

/// Puts an IPv6 address and port into the context, word by word for the verifier.
#[inline(always)]
pub fn set_address6(ctx: &SockAddrContext, to: &Address) {
    unsafe {
        let words = (&raw mut (*ctx.sock_addr).user_ip6).cast::<u32>();
        words.write_volatile(to.ip[0]);
        words.add(1).write_volatile(to.ip[1]);
        words.add(2).write_volatile(to.ip[2]);
        words.add(3).write_volatile(to.ip[3]);
        (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from((to.port as u16).to_be()));
    }
}
