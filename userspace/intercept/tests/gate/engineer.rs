//! An engineer: an unprivileged process in a cgroup of its own that does as it is told.
//!
//! It is this test binary, run again; orders come as JSON lines on stdin, answers leave as lines that start
//! with `@` on stdout (the test harness writes there too).

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};
use socket2::SockAddr;

const ORDERS: &str = "PORTCULLIS_TEST_ENGINEER";
const IPPROTO_MPTCP: i32 = 262;
const TCP_FASTOPEN_CONNECT: i32 = 30;

/// Ways to reach a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    /// `connect(2)`, of the address's own family.
    Plain,
    /// An IPv6 socket to an IPv4 address.
    Mapped,
    /// A multipath TCP socket.
    Mptcp,
    /// `sendto(2)` with `MSG_FASTOPEN`, without a `connect(2)`.
    FastOpenSendto,
    /// `TCP_FASTOPEN_CONNECT`: the SYN leaves with the first write.
    FastOpenConnect,
    /// `connect(2)` that does not wait.
    NonBlocking,
    /// io_uring's.
    IoUring,
    /// From a port of its own choice.
    FromPort(u16),
}

impl How {
    pub(crate) const ALL: [How; 7] = [
        How::Plain,
        How::Mapped,
        How::Mptcp,
        How::FastOpenSendto,
        How::FastOpenConnect,
        How::NonBlocking,
        How::IoUring,
    ];
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Connect { how: How, to: SocketAddr },
    Reconnect { socket: usize, to: SocketAddr },
    Disconnect { socket: usize },
    Send { socket: usize, text: String },
    Receive { socket: usize },
    Close { socket: usize },
    Bind { at: SocketAddr },
    Storm { count: usize, to: Vec<SocketAddr> },
    TimePlain { count: usize, to: SocketAddr },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Connected(Connected),
    Text(String),
    Done,
    Failed(i32),
}

/// A connection, as the engineer sees it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Connected {
    pub(crate) socket: usize,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// What an engineer runs as.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Guise {
    pub(crate) uid: u32,
    pub(crate) user_namespace: bool,
    pub(crate) network_namespace: bool,
}

/// The handle on an engineer's process; it ends with it.
pub(crate) struct Engineer {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Of the process that connects.
    pub(crate) pid: u32,
}

impl Engineer {
    pub(crate) fn start(cgroup: &Path, guise: &Guise) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "engineer::engineer", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ORDERS, serde_json::to_string(&(cgroup, guise)).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut engineer = Self { child, orders, answers, pid: 0 };
        let Answer::Text(pid) = engineer.answer() else { panic!("the engineer did not start") };
        engineer.pid = pid.parse().unwrap();
        engineer
    }

    pub(crate) fn connect(&mut self, how: How, to: SocketAddr) -> io::Result<Connected> {
        self.connected(&Order::Connect { how, to })
    }

    pub(crate) fn reconnect(&mut self, socket: usize, to: SocketAddr) -> io::Result<Connected> {
        self.connected(&Order::Reconnect { socket, to })
    }

    pub(crate) fn disconnect(&mut self, socket: usize) {
        self.done(&Order::Disconnect { socket }).unwrap();
    }

    pub(crate) fn send(&mut self, socket: usize, text: &str) -> io::Result<()> {
        self.done(&Order::Send { socket, text: text.to_owned() })
    }

    /// What arrives within two seconds.
    pub(crate) fn receive(&mut self, socket: usize) -> io::Result<String> {
        match self.ask(&Order::Receive { socket }) {
            Answer::Text(text) => Ok(text),
            other => Err(other.error()),
        }
    }

    pub(crate) fn close(&mut self, socket: usize) {
        self.done(&Order::Close { socket }).unwrap();
    }

    pub(crate) fn bind(&mut self, at: SocketAddr) -> io::Result<()> {
        self.done(&Order::Bind { at })
    }

    /// Starts many connects at once; [`Engineer::calm`] waits for their end.
    pub(crate) fn storm(&mut self, count: usize, to: &[SocketAddr]) {
        self.tell(&Order::Storm { count, to: to.to_vec() });
    }

    pub(crate) fn calm(&mut self) -> io::Result<()> {
        match self.answer() {
            Answer::Done => Ok(()),
            other => Err(other.error()),
        }
    }

    /// Connects and closes, over and over.
    pub(crate) fn hammer(&mut self, count: usize, to: SocketAddr) -> io::Result<()> {
        self.done(&Order::TimePlain { count, to })
    }

    fn connected(&mut self, order: &Order) -> io::Result<Connected> {
        match self.ask(order) {
            Answer::Connected(connected) => Ok(connected),
            other => Err(other.error()),
        }
    }

    fn done(&mut self, order: &Order) -> io::Result<()> {
        match self.ask(order) {
            Answer::Done => Ok(()),
            other => Err(other.error()),
        }
    }

    fn ask(&mut self, order: &Order) -> Answer {
        self.tell(order);
        self.answer()
    }

    fn tell(&mut self, order: &Order) {
        writeln!(self.orders, "{}", serde_json::to_string(order).unwrap()).unwrap();
    }

    fn answer(&mut self) -> Answer {
        loop {
            let line = self.answers.next().expect("the engineer died").unwrap();
            if let Some((_, answer)) = line.split_once('@') {
                return serde_json::from_str(answer).unwrap();
            }
        }
    }
}

impl Drop for Engineer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Answer {
    fn error(&self) -> io::Error {
        match self {
            Answer::Failed(errno) => io::Error::from_raw_os_error(*errno),
            other => panic!("unexpected answer {other:?}"),
        }
    }
}

/// The engineer's own end: not a test, but where [`Engineer::start`] lands.
#[test]
#[ignore = "run by the other tests"]
fn engineer() {
    let Ok(told) = env::var(ORDERS) else { return };
    let (cgroup, mut guise): (std::path::PathBuf, Guise) = serde_json::from_str(&told).unwrap();
    fs::write(cgroup.join("cgroup.procs"), "0").unwrap_or_else(|error| {
        assert!(guise.uid == 0, "cannot enter {}: {error}", cgroup.display());
    });
    if guise.uid != 0 {
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setgid(guise.uid.into()).unwrap();
        nix::unistd::setuid(guise.uid.into()).unwrap();
        if guise.user_namespace {
            let mut flags = CloneFlags::CLONE_NEWUSER;
            flags.set(CloneFlags::CLONE_NEWNET, guise.network_namespace);
            // The namespaces are the next image's: unsharing a user namespace takes a process of one thread.
            guise.uid = 0;
            let mut again = Command::new("/proc/self/exe");
            again.args(env::args_os().skip(1));
            again.env(ORDERS, serde_json::to_string(&(&cgroup, &guise)).unwrap());
            // SAFETY: unshare is a system call and touches nothing of ours.
            let again = unsafe {
                again.pre_exec(move || {
                    unshare(flags)?;
                    if flags.contains(CloneFlags::CLONE_NEWNET) {
                        super::world::loopback_up(); // now: exec takes the namespace's capabilities away
                    }
                    Ok(())
                })
            };
            let status = again.status().unwrap();
            std::process::exit(status.code().unwrap_or(1));
        }
    }
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 4096, 4096).unwrap();
    say(&Answer::Text(std::process::id().to_string()));
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    for line in io::stdin().lines() {
        let order = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = obey(order, &mut sockets);
        say(&answer.unwrap_or_else(|error| Answer::Failed(error.raw_os_error().unwrap_or(-1))));
    }
    std::process::exit(0); // without the test harness's last words, which nobody reads
}

fn say(answer: &Answer) {
    println!("@{}", serde_json::to_string(answer).unwrap());
}

fn obey(order: Order, sockets: &mut Vec<Option<TcpStream>>) -> io::Result<Answer> {
    let held = |sockets: &mut Vec<Option<TcpStream>>, socket: usize| sockets[socket].take().unwrap();
    Ok(match order {
        Order::Connect { how, to } => {
            sockets.push(Some(reach(how, to)?.into()));
            describe(sockets, sockets.len() - 1)?
        }
        Order::Reconnect { socket, to } => {
            connect(sockets[socket].as_ref().unwrap().as_raw_fd(), &to.into())?;
            describe(sockets, socket)?
        }
        Order::Disconnect { socket } => {
            let nothing = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
            let fd = sockets[socket].as_ref().unwrap().as_raw_fd();
            // SAFETY: the address is ours, and its length is told.
            check(unsafe { libc::connect(fd, &nothing, mem::size_of_val(&nothing) as u32) })?;
            Answer::Done
        }
        Order::Send { socket, text } => {
            sockets[socket].as_mut().unwrap().write_all(text.as_bytes())?;
            Answer::Done
        }
        Order::Receive { socket } => {
            let stream = sockets[socket].as_mut().unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
            let mut buffer = [0; 256];
            let length = stream.read(&mut buffer)?;
            Answer::Text(String::from_utf8_lossy(&buffer[..length]).into_owned())
        }
        Order::Close { socket } => {
            drop(held(sockets, socket));
            Answer::Done
        }
        Order::Bind { at } => {
            drop(std::net::TcpListener::bind(at)?);
            Answer::Done
        }
        Order::Storm { count, to } => {
            for index in 0..count {
                let to = to[index % to.len()];
                let mut stream: TcpStream = reach(How::Plain, to)?.into();
                writeln!(stream, "{} {} {to}", std::process::id(), stream.local_addr()?)?;
                sockets.push(Some(stream));
            }
            Answer::Done
        }
        Order::TimePlain { count, to } => {
            for _ in 0..count {
                drop(reach(How::Plain, to)?);
            }
            Answer::Done
        }
    })
}

fn describe(sockets: &[Option<TcpStream>], socket: usize) -> io::Result<Answer> {
    let stream = sockets[socket].as_ref().unwrap();
    Ok(Answer::Connected(Connected { socket, local: stream.local_addr()?, peer: stream.peer_addr()? }))
}

fn reach(how: How, to: SocketAddr) -> io::Result<OwnedFd> {
    let address = match (how, to) {
        (How::Mapped, SocketAddr::V4(v4)) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        _ => to,
    };
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let protocol = if how == How::Mptcp { IPPROTO_MPTCP } else { 0 };
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: just made, and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let to = SockAddr::from(address);
    match how {
        How::Plain | How::Mapped | How::Mptcp => connect(fd, &to)?,
        How::FromPort(port) => {
            let own = match address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            };
            set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
            let own = SockAddr::from(own);
            // SAFETY: as `connect`.
            check(unsafe { libc::bind(fd, own.as_ptr().cast(), own.len()) })?;
            connect(fd, &to)?;
        }
        How::FastOpenSendto => {
            // SAFETY: buffer and address are ours, and their lengths are told.
            let sent = unsafe {
                libc::sendto(
                    fd,
                    c"early".as_ptr().cast(),
                    5,
                    libc::MSG_FASTOPEN,
                    to.as_ptr().cast(),
                    to.len(),
                )
            };
            check(sent as i32)?;
        }
        How::FastOpenConnect => {
            set(fd, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT)?;
            connect(fd, &to)?;
            let mut stream = TcpStream::from(socket.try_clone()?);
            stream.write_all(b"early")?;
            wait_connected(fd)?;
        }
        How::NonBlocking => {
            let stream = TcpStream::from(socket.try_clone()?);
            stream.set_nonblocking(true)?;
            match connect(fd, &to) {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => wait_connected(fd)?,
                result => result?,
            }
            stream.set_nonblocking(false)?;
        }
        How::IoUring => ring_connect(fd, &to)?,
    }
    Ok(socket)
}

fn ring_connect(fd: i32, to: &SockAddr) -> io::Result<()> {
    let mut ring = io_uring::IoUring::new(2)?;
    let connect =
        io_uring::opcode::Connect::new(io_uring::types::Fd(fd), to.as_ptr().cast(), to.len()).build();
    // SAFETY: socket and address outlive the wait below.
    unsafe { ring.submission().push(&connect).map_err(io::Error::other)? };
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if done.result() < 0 { Err(io::Error::from_raw_os_error(-done.result())) } else { Ok(()) }
}

fn connect(fd: i32, to: &SockAddr) -> io::Result<()> {
    // SAFETY: the address is ours, and its length is told.
    check(unsafe { libc::connect(fd, to.as_ptr().cast(), to.len()) }).map(drop)
}

/// Waits until a connect has ended, and tells how.
fn wait_connected(fd: i32) -> io::Result<()> {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one descriptor of ours.
    check(unsafe { libc::poll(&raw mut poll, 1, 5000) })?;
    // SAFETY: the descriptor is open for as long as the caller's.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    socket2::SockRef::from(&socket).take_error()?.map_or(Ok(()), Err)
}

fn set(fd: i32, level: i32, option: i32) -> io::Result<()> {
    let one = 1_i32;
    // SAFETY: the value is ours, and its length is told.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const one).cast(), 4) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
