//! `connect(2)` of IPv4 sockets; fast open's `sendto(2)` and io_uring come here too.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::caller::{self, Fate, PROCEED, REFUSE};

/// Sends connects to targets to the proxy.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    match caller::decide(&ctx, caller::address4(&ctx).canonical()) {
        Fate::Proceed => PROCEED,
        Fate::Refuse => REFUSE,
        Fate::Redirect(listener) => {
            caller::set_address4(&ctx, listener);
            PROCEED
        }
    }
}
