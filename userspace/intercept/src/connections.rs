//! Connections that are there already, by sock_diag(7): those older than the gate, and who listens.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc::{AF_INET, AF_INET6};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use portcullis_identity::CgroupId;
use serde::Serialize;

use crate::GateError;
use crate::cgroup::Cgroup;
use crate::targets::TargetName;

// include/uapi/linux/sock_diag.h, inet_diag.h, netlink.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_CGROUP_ID: u16 = 21;
const IPPROTO_TCP: u8 = 6;
/// `struct nlmsghdr`
const HEADER: usize = 16;
/// `struct inet_diag_msg`
const MESSAGE: usize = 72;
/// `struct inet_diag_sockid`, within a message from byte 4.
const SOCKET_ID: usize = 48;

/// `TCP_LISTEN` as a bit of `idiag_states`.
const LISTENING: u32 = 1 << 10;
/// Every state in which bytes can still flow: all but TIME_WAIT (6), CLOSE (7) and LISTEN (10).
const ALIVE: u32 = 0xfff & !(1 << 0 | 1 << 6 | 1 << 7 | 1 << 10);

/// A TCP connection of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whose it is.
    pub target: TargetName,
    /// Owner of the socket.
    pub uid: u32,
    /// The socket's cgroup; `None` before Linux 5.8.
    pub cgroup: Option<CgroupId>,
    /// Address family and `struct inet_diag_sockid`, to name it to the kernel.
    #[serde(skip)]
    id: (u8, [u8; SOCKET_ID]),
}

/// Connections to targets from sockets that the gate sees and does not exempt.
pub(crate) fn to_targets(
    attached: &Cgroup,
    targets: &BTreeMap<TargetName, Vec<SocketAddr>>,
    exempt: &HashSet<CgroupId>,
) -> Result<Vec<Connection>, GateError> {
    let tree = if attached.is_root() { None } else { Some(attached.tree()?) };
    let guarded = |cgroup: Option<CgroupId>| {
        cgroup.is_none_or(|id| !exempt.contains(&id) && tree.as_ref().is_none_or(|tree| tree.contains(&id)))
    };
    let mut found = Vec::new();
    for socket in dump(ALIVE)? {
        let owner = targets.iter().find(|(_, addresses)| addresses.contains(&socket.remote));
        if let Some((target, _)) = owner.filter(|_| guarded(socket.cgroup)) {
            let Socket { local, remote, uid, cgroup, id } = socket;
            found.push(Connection { local, remote, target: target.clone(), uid, cgroup, id });
        }
    }
    Ok(found)
}

/// Addresses that somebody listens on in this network namespace.
pub(crate) fn listening() -> Result<BTreeSet<SocketAddr>, GateError> {
    Ok(dump(LISTENING)?.into_iter().map(|socket| socket.local).collect())
}

/// Resets a connection; one that is gone already is reset.
pub(crate) fn reset(connection: &Connection) -> Result<(), GateError> {
    const WHAT: &str = "cannot reset a connection that is older than the gate (CONFIG_INET_DIAG_DESTROY)";
    let (family, id) = connection.id;
    let answer = exchange(&request(SOCK_DESTROY, NLM_F_ACK, family, u32::MAX, &id), |_| Ok(()));
    match answer {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(GateError::system(WHAT)(error)),
        _ => Ok(()),
    }
}

/// What sock_diag says of a socket.
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    cgroup: Option<CgroupId>,
    id: (u8, [u8; SOCKET_ID]),
}

fn dump(states: u32) -> Result<Vec<Socket>, GateError> {
    let mut sockets = Vec::new();
    for family in [AF_INET as u8, AF_INET6 as u8] {
        let message = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, states, &[0; SOCKET_ID]);
        exchange(&message, |payload| {
            sockets.push(parse(payload).ok_or(io::ErrorKind::InvalidData)?);
            Ok(())
        })
        .map_err(GateError::system("cannot list connections (sock_diag)"))?;
    }
    Ok(sockets)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; SOCKET_ID]) -> Vec<u8> {
    let length = (HEADER + 8 + SOCKET_ID) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend([family, IPPROTO_TCP, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id);
    message
}

/// Sends a request and hands each answer's payload on, until the last.
fn exchange(request: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let diag: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    sendto(diag.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(diag.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, payload, next)) = split(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = word(payload, 0).ok_or(io::ErrorKind::InvalidData)? as i32;
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(payload)?,
            }
            rest = next;
        }
    }
}

/// The first netlink message: its type, its payload, what follows.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = word(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEADER..length)?;
    Some((kind, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// `struct inet_diag_msg` and its attributes.
fn parse(message: &[u8]) -> Option<Socket> {
    let family = *message.first()?;
    let id: [u8; SOCKET_ID] = message.get(4..4 + SOCKET_ID)?.try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let address = |at: usize| {
        let octets: [u8; 16] = id[at..at + 16].try_into().ok()?;
        let [a, b, c, d, ..] = octets;
        let v6 = IpAddr::V6(Ipv6Addr::from(octets)).to_canonical();
        Some(if i32::from(family) == AF_INET { IpAddr::from([a, b, c, d]) } else { v6 })
    };
    Some(Socket {
        local: SocketAddr::new(address(4)?, port(0)),
        remote: SocketAddr::new(address(20)?, port(2)),
        uid: word(message, 64)?,
        cgroup: cgroup(message.get(MESSAGE..)?),
        id: (family, id),
    })
}

/// `INET_DIAG_CGROUP_ID` among netlink attributes.
fn cgroup(mut attributes: &[u8]) -> Option<CgroupId> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind == INET_DIAG_CGROUP_ID {
            return Some(CgroupId(u64::from_ne_bytes(attributes.get(4..12)?.try_into().ok()?)));
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sees_connections_and_listeners_of_both_families() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            assert!(listening().unwrap().contains(&address));
            let sockets = dump(ALIVE).unwrap();
            let ours = sockets.iter().find(|socket| socket.local == client.local_addr().unwrap()).unwrap();
            assert_eq!(ours.remote, address);
            assert_eq!(ours.cgroup, Some(Cgroup::own().unwrap().id));
        }
    }

    #[test]
    fn truncated_messages_are_not_read_past_their_end() {
        let mut message = vec![0; MESSAGE];
        message[0] = AF_INET as u8;
        assert!(parse(&message).is_some());
        for length in 0..MESSAGE {
            assert!(parse(&message[..length]).is_none());
        }
        message.extend([12, 0, 21, 0, 1, 0]);
        assert!(parse(&message).unwrap().cgroup.is_none());
        assert!(split(&[255, 255, 0, 0, 0, 0]).is_none());
    }
}
