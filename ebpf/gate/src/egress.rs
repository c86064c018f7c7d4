//! What leaves for a target although no connect hook sent it to the proxy: connections older than the gate,
//! addresses that netfilter translates into a target's, and ways to connect that nobody has thought of.

use aya_ebpf::helpers::generated::bpf_skb_cgroup_id;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use portcullis_abi::{Address, Counter, Endpoint};

use crate::maps::{self, ENDPOINTS, fail};

const PASS: i32 = 1;
const DROP: i32 = 0;
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;

/// Drops TCP packets to a target unless their socket belongs to an exempt cgroup. Redirected sockets send to
/// the proxy, so whatever else goes to a target did not pass the gate.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let Some(destination) = destination(&ctx) else { return PASS };
    // SAFETY: read before anything is inserted or removed.
    let target = unsafe { ENDPOINTS.get(destination) }.is_some_and(|to| to.kind == Endpoint::TARGET);
    if !target || maps::is_exempt(unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }) {
        return PASS;
    }
    fail(Counter::DroppedEgress);
    DROP
}

/// Where a TCP packet goes. The hook sees packets from the network header on, after translation.
#[inline(always)]
fn destination(ctx: &SkBuffContext) -> Option<Address> {
    match unsafe { (*ctx.skb.skb).protocol } {
        ETH_P_IP => {
            let header: [u8; 20] = ctx.load(0).ok()?;
            if header[9] != IPPROTO_TCP {
                return None;
            }
            let length = usize::from(header[0] & 0xf) * 4;
            let port = u16::from_be(ctx.load(length + 2).ok()?);
            let ip = u32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
            Some(Address::v4(ip, u32::from(port)))
        }
        ETH_P_IPV6 => {
            if ctx.load::<u8>(6).ok()? != IPPROTO_TCP {
                return None; // extension headers need CAP_NET_RAW, or end at a router that refuses them
            }
            let port = u16::from_be(ctx.load(42).ok()?);
            Some(Address { ip: ctx.load(24).ok()?, port: u32::from(port) })
        }
        _ => None,
    }
}
