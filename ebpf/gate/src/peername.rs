//! `getpeername(2)` of redirected sockets: clients see the endpoint that they connected to.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use portcullis_abi::{Address, Record};

use crate::caller::{self, PROCEED};
use crate::maps;

/// The original endpoint in place of the proxy's IPv4 address.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    if let Some(destination) = original(&ctx, caller::address4) {
        caller::set_address4(&ctx, &destination);
    }
    PROCEED
}

/// The original endpoint in place of the proxy's IPv6 (or IPv4-mapped) address.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    if let Some(destination) = original(&ctx, caller::address6) {
        caller::set_address6(&ctx, &destination);
    }
    PROCEED
}

/// Where the socket wanted to go, if it is connected to the proxy now: it may have been, and have gone
/// elsewhere since.
#[inline(always)]
fn original(ctx: &SockAddrContext, peer: impl Fn(&SockAddrContext) -> Address) -> Option<Address> {
    let settings = maps::settings()?;
    let peer = peer(ctx);
    if peer != settings.listen4 && peer != settings.listen6 {
        return None;
    }
    // SAFETY: a sock_addr context always has a socket.
    let record = unsafe { maps::record_of((*ctx.sock_addr).__bindgen_anon_1.sk) }?;
    (record.stage != Record::ACCEPTED).then_some(record.destination)
}
