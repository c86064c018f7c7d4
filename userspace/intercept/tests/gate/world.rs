//! A small world for one test: a network namespace, a cgroup with a gate on it, a daemon's listeners, and the
//! targets themselves, which nobody but the daemon may reach.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use portcullis_identity::{AttestError, Attestation, Attestor};
use portcullis_intercept::gate::{self, Gate, Loaded};
use portcullis_intercept::{Counter, GateConfig, TargetName};
use socket2::{Domain, Socket, Type};

use super::engineer::{Engineer, Guise};

/// Whom the engineers run as.
pub(crate) const UID: u32 = 4711;

/// Tests move this whole process between cgroups, so they take turns.
static TURN: Mutex<()> = Mutex::new(());
static SERIAL: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) config: GateConfig,
    pub(crate) cgroup: PathBuf,
    pub(crate) targets: BTreeMap<TargetName, Vec<SocketAddr>>,
    /// The targets' own listeners.
    pub(crate) upstreams: Vec<TcpListener>,
    /// The proxy's; taken by tests in which the daemon is dead.
    pub(crate) listeners: Vec<TcpListener>,
    before: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// A world without a gate yet.
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the gate's tests load programs into the kernel: run them as root"
        );
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        loopback_up();
        // Data in the SYN without a cookie: the hardest form of fast open.
        fs::write("/proc/sys/net/ipv4/tcp_fastopen", "5").unwrap();

        let mount = cgroup2();
        let before = mount.join(own_cgroup().strip_prefix("/").unwrap());
        let name =
            format!("portcullis-test-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let cgroup = mount.join(&name);
        for below in ["daemon", "engineers", "exempt"] {
            fs::create_dir_all(cgroup.join(below)).unwrap();
        }
        fs::write(cgroup.join("daemon/cgroup.procs"), "0").unwrap();

        let listeners: Vec<_> = ["127.0.0.1:0", "[::1]:0"].map(listen).into();
        let upstreams: Vec<_> = ["127.1.2.3:0", "[::1]:0"].map(listen).into();
        let addresses =
            |sockets: &[TcpListener]| sockets.iter().map(|s| s.local_addr().unwrap()).collect::<Vec<_>>();
        Self {
            config: GateConfig {
                cgroup: Some(cgroup.clone()),
                pin_dir: Path::new("/sys/fs/bpf").join(name),
                listen: addresses(&listeners),
                ..GateConfig::default()
            },
            targets: BTreeMap::from([("prod".parse().unwrap(), addresses(&upstreams))]),
            cgroup,
            upstreams,
            listeners,
            before,
            _turn: turn,
        }
    }

    /// A world with a gate, and the daemon's view of it.
    pub(crate) fn gated() -> (Self, Gate) {
        let world = Self::new();
        world.load();
        let gate = world.open();
        (world, gate)
    }

    pub(crate) fn load(&self) -> Loaded {
        gate::load(&self.config, &self.targets).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn open(&self) -> Gate {
        gate::open(&self.config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The target over IPv4.
    pub(crate) fn target4(&self) -> SocketAddr {
        self.upstreams[0].local_addr().unwrap()
    }

    /// The target over IPv6.
    pub(crate) fn target6(&self) -> SocketAddr {
        self.upstreams[1].local_addr().unwrap()
    }

    pub(crate) fn engineer(&self) -> Engineer {
        self.engineer_as(&Guise { uid: UID, ..Guise::default() })
    }

    pub(crate) fn engineer_as(&self, guise: &Guise) -> Engineer {
        Engineer::start(&self.cgroup.join("engineers"), guise)
    }

    /// The daemon accepts the next connection, and attests it.
    pub(crate) fn accept(&self, gate: &Gate) -> (TcpStream, Result<Attestation, AttestError>) {
        let (stream, _) = accept(&self.listeners).expect("nothing arrives at the proxy");
        let attestation = gate.attestor.attest(stream.as_fd());
        (stream, attestation)
    }

    /// The daemon dies.
    pub(crate) fn kill_daemon(&mut self) {
        self.listeners.clear();
    }

    /// Fails if anybody reached a target.
    pub(crate) fn assert_targets_untouched(&self) {
        assert!(accept_now(&self.upstreams).is_none(), "somebody reached the target itself");
    }

    pub(crate) fn count(&self, gate: &Gate, counter: Counter) -> u64 {
        gate.counters.read(counter).unwrap().count
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let unloaded = gate::unload(&self.config);
        fs::write(self.before.join("cgroup.procs"), "0").unwrap();
        for below in ["daemon", "engineers", "exempt", ""] {
            // An engineer's children end a moment after it.
            for _ in 0..200 {
                match fs::remove_dir(self.cgroup.join(below)) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
        if !std::thread::panicking() {
            unloaded.unwrap();
            assert!(!self.cgroup.exists(), "{} is left behind", self.cgroup.display());
            assert!(!self.config.pin_dir.exists(), "{} is left behind", self.config.pin_dir.display());
        }
    }
}

/// The next connection within five seconds.
pub(crate) fn accept(listeners: &[TcpListener]) -> Option<(TcpStream, SocketAddr)> {
    accept_within(listeners, 5000)
}

/// A connection that is there already.
pub(crate) fn accept_now(listeners: &[TcpListener]) -> Option<(TcpStream, SocketAddr)> {
    accept_within(listeners, 0)
}

fn accept_within(listeners: &[TcpListener], milliseconds: u16) -> Option<(TcpStream, SocketAddr)> {
    let mut ready: Vec<_> =
        listeners.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut ready, milliseconds).unwrap();
    let arrived = |ready: &PollFd<'_>| ready.any().unwrap_or(false);
    let index = ready.iter().position(arrived)?;
    Some(listeners[index].accept().unwrap())
}

/// Brings up the loopback interface of this thread's network namespace.
pub(crate) fn loopback_up() {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    // SAFETY: a plain structure, of which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is ours and of the type that SIOCSIFFLAGS takes.
    let result =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &request) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn listen(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("no cgroup2 file system is mounted");
    line.split(' ').nth(4).unwrap().into()
}

fn own_cgroup() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().into()
}
