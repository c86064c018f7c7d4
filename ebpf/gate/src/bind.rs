//! `bind(2)`: while the proxy is down its ports stay refused, not open to whoever binds them first, who
//! would be sent everybody's connections.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use portcullis_abi::{Address, Counter};

use crate::caller::{self, PROCEED, REFUSE, SOCK_STREAM};
use crate::maps::{self, fail};

/// Refuses others the proxy's port on IPv4.
#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    keep(&ctx, caller::address4)
}

/// Refuses others the proxy's port on IPv6, and on IPv4 through dual-stack sockets.
#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    keep(&ctx, caller::address6)
}

#[inline(always)]
fn keep(ctx: &SockAddrContext, address: impl Fn(&SockAddrContext) -> Address) -> i32 {
    let Some(settings) = maps::settings() else { return PROCEED };
    let port = caller::port(ctx);
    let ours = port == settings.listen4.port || port == settings.listen6.port;
    if port == 0 || !ours || caller::kind(ctx) != SOCK_STREAM {
        return PROCEED;
    }
    // The unspecified address, of either family, takes the port on every address.
    let asked = address(ctx);
    let whole = asked.ip[3] == 0 && asked.ip[0] == 0 && asked.ip[1] == 0;
    if !whole && asked != settings.listen4 && asked != settings.listen6 {
        return PROCEED;
    }
    let allowed = ctx.uid() == 0
        || maps::is_exempt(unsafe { bpf_get_current_cgroup_id() })
        || unsafe { bpf_get_netns_cookie(ctx.as_ptr()) } != settings.netns;
    if allowed {
        return PROCEED;
    }
    fail(Counter::DeniedBind);
    REFUSE
}
