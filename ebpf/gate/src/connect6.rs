//! `connect(2)` of IPv6 sockets, which also reach IPv4 as `::ffff:a.b.c.d`; connect4 does not see those.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::caller::{self, Fate, PROCEED, REFUSE};

/// Sends connects to targets to the proxy, IPv4-mapped ones to its IPv4 listener.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    match caller::decide(&ctx, caller::address6(&ctx).canonical()) {
        Fate::Proceed => PROCEED,
        Fate::Refuse => REFUSE,
        Fate::Redirect(listener) => {
            caller::set_address6(&ctx, listener);
            PROCEED
        }
    }
}
