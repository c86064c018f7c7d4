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
            let header: Header4 = read(ctx)?;
            if header.protocol != IPPROTO_TCP {
                return None;
            }
            let port = match header.version_length & 0xf {
                5 => header.port,
                words => ctx.load(usize::from(words) * 4 + 2).ok()?, // with options
            };
            Some(Address::v4(header.destination, u32::from(u16::from_be(port))))
        }
        ETH_P_IPV6 => {
            let header: Header6 = read(ctx)?;
            if header.next != IPPROTO_TCP {
                return None; // extension headers need CAP_NET_RAW, or end at a router that refuses them
            }
            Some(Address { ip: header.destination, port: u32::from(u16::from_be(header.port)) })
        }
        _ => None,
    }
}

/// An IPv4 header without options (RFC 791, 3.1), and TCP's ports.
#[repr(C)]
struct Header4 {
    version_length: u8,
    _to_protocol: [u8; 8],
    protocol: u8,
    _to_destination: [u8; 6],
    destination: u32,
    _source_port: u16,
    port: u16,
}

/// An IPv6 header (RFC 8200, 3), and TCP's ports.
#[repr(C)]
struct Header6 {
    _to_next: [u8; 6],
    next: u8,
    _to_destination: [u8; 17],
    destination: [u32; 4],
    _source_port: u16,
    port: u16,
}

const _: () = assert!(size_of::<Header4>() == 24 && size_of::<Header6>() == 44);

/// The start of the packet: in place where it is linear, as what TCP sends is, else copied out.
#[inline(always)]
fn read<T>(ctx: &SkBuffContext) -> Option<T> {
    let (start, end) = unsafe { ((*ctx.skb.skb).data as usize, (*ctx.skb.skb).data_end as usize) };
    if start + size_of::<T>() <= end {
        // SAFETY: within the packet, as the verifier insists, also on alignment where that matters.
        return Some(unsafe { (start as *const T).read() });
    }
    ctx.load(0).ok()
}
