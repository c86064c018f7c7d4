//! The handoff: the record goes from the client's socket, by the connection's tuple, to the accepted socket.
//!
//! The client's SYN is not out yet when [`connecting`] runs, and an accept waits for the lock under which
//! [`accepted`] runs, so userspace cannot see an accepted socket before its record is there.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_NOEXIST, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, bpf_sock, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use portcullis_abi::{Address, Counter, Record, Settings, Tuple};

use crate::maps::{self, HANDOFF, count, fail};

const AF_INET6: u32 = 10;
const EEXIST: i32 = -17;

/// Dispatches on the operation. sock_ops ignores what we return; whatever fails here leaves the accepted
/// socket without a record, and userspace refuses that.
#[sock_ops]
pub fn handoff(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if let Some(settings) = ours(u32::from_be(ctx.remote_port())) {
                connecting(&ctx, settings);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            if let Some(settings) = ours(ctx.local_port()) {
                accepted(&ctx, settings);
            }
        }
        // Only sockets that were handed over ask for this.
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(&ctx),
        _ => {}
    }
    0
}

/// The settings, if this is a port that the proxy listens on.
#[inline(always)]
fn ours(port: u32) -> Option<&'static Settings> {
    maps::settings().filter(|settings| port == settings.listen4.port || port == settings.listen6.port)
}

/// A client socket is about to send its SYN to what may be the proxy.
#[inline(always)]
fn connecting(ctx: &SockOpsContext, settings: &Settings) {
    let server = remote(ctx);
    if server != settings.listen4 && server != settings.listen6 {
        return;
    }
    let tuple = Tuple { netns: netns(ctx), client: local(ctx), server };
    let record = unsafe { socket(ctx).and_then(|sk| maps::record_of(sk)) };
    let Some(record) = record.filter(|record| record.stage == Record::ARMED) else {
        // Whatever an earlier connection left under this tuple is not this one's.
        forget(&tuple);
        if tuple.netns == settings.netns {
            fail(Counter::HandoffUnarmed);
        }
        return;
    };
    record.stage = Record::SENT;
    match HANDOFF.insert(tuple, &*record, u64::from(BPF_NOEXIST)) {
        Ok(()) => {}
        Err(EEXIST) => {
            forget(&tuple);
            fail(Counter::HandoffCollision);
            return;
        }
        Err(_) => {
            fail(Counter::HandoffFull);
            return;
        }
    }
    // Tells us when it closes, so that a SYN that nobody answers leaves nothing behind.
    if ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32).is_err() {
        forget(&tuple);
        fail(Counter::HandoffFull);
    }
}

/// The proxy's side of a connection is established.
#[inline(always)]
fn accepted(ctx: &SockOpsContext, settings: &Settings) {
    let server = local(ctx);
    if server != settings.listen4 && server != settings.listen6 {
        return;
    }
    let tuple = Tuple { netns: netns(ctx), client: remote(ctx), server };
    if tuple.netns != settings.netns {
        return;
    }
    // SAFETY: not used after the removal below.
    let Some(handed) = (unsafe { HANDOFF.get(tuple) }) else {
        fail(Counter::HandoffMissed);
        return;
    };
    if let Some(record) = unsafe { socket(ctx).and_then(|sk| maps::new_record_of(sk)) } {
        *record = *handed;
        record.stage = Record::ACCEPTED;
        count(Counter::Attested);
    } else {
        fail(Counter::HandoffStorage);
    }
    forget(&tuple);
}

/// A client socket that was handed over closes; if nobody accepted it, its key is still there.
#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let tuple = Tuple { netns: netns(ctx), client: local(ctx), server: remote(ctx) };
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: read before the removal. By now the tuple may be another socket's, whose key must stay.
    if unsafe { HANDOFF.get(tuple) }.is_some_and(|record| record.cookie == cookie) {
        forget(&tuple);
    }
}

#[inline(always)]
fn forget(tuple: &Tuple) {
    // Fails only where there is nothing to forget.
    let _nothing_there = HANDOFF.remove(tuple);
}

#[inline(always)]
fn netns(ctx: &SockOpsContext) -> u64 {
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// The context's socket; null before it is a full one.
#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}

#[inline(always)]
fn local(ctx: &SockOpsContext) -> Address {
    let port = ctx.local_port();
    if ctx.family() == AF_INET6 {
        Address { ip: words(ctx, |ops| unsafe { (&raw const (*ops).local_ip6).cast() }), port }
    } else {
        Address::v4(ctx.local_ip4(), port)
    }
}

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> Address {
    let port = u32::from_be(ctx.remote_port());
    if ctx.family() == AF_INET6 {
        Address { ip: words(ctx, |ops| unsafe { (&raw const (*ops).remote_ip6).cast() }), port }
    } else {
        Address::v4(ctx.remote_ip4(), port)
    }
}

/// Four words of the context, each read alone as the verifier wants it.
#[inline(always)]
fn words(ctx: &SockOpsContext, of: impl Fn(*const bpf_sock_ops) -> *const u32) -> [u32; 4] {
    let first = of(ctx.ops);
    let word = |index: usize| unsafe { first.add(index).read_volatile() };
    [word(0), word(1), word(2), word(3)]
}
