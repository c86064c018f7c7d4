//! What `/proc` adds to the kernel's record, read once and guarded against a reused pid.
//!
//! A pid names whoever has it *now*. The start time (field 22 of `/proc/<pid>/stat`) is read before and
//! after everything else, and a process that started after the kernel made its record is somebody else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{IdentityError, Pid, Uid, redact};

/// `USER_HZ`: the unit of `/proc/<pid>/stat`, 100 a second on every architecture we run on.
const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;
/// What `loginuid` and `sessionid` hold before a login set them: `(uid_t)-1`, and `AUDIT_SID_UNSET`.
const AUDIT_UNSET: u32 = u32::MAX;
/// Command lines can be 2 MiB and more; this much is kept.
const MAX_CMDLINE: u64 = 64 * 1024;

/// A process as `/proc` shows it. `argv` holds no secret of a known form: see [`redact`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Clock ticks (1/100 s) between boot and the process's start.
    pub start_time: u64,
    /// The executable.
    pub exe: PathBuf,
    /// The command line, cut at 64 KiB and with secrets redacted.
    pub argv: Vec<String>,
    /// Who logged in to start it; `None` when no login did.
    pub loginuid: Option<Uid>,
    /// The kernel's audit session: one for each login, never the same twice while the host runs; `None` when no
    /// login started the process.
    #[serde(default)]
    pub session_id: Option<u32>,
    /// Its controlling terminal, such as `pts/3`.
    pub tty: Option<String>,
    /// Its working directory, where that is readable.
    pub cwd: Option<PathBuf>,
}

impl Process {
    /// Reads `pid` under `proc_root` (`/proc`). `recorded_at_ns` is when the kernel made its record, in
    /// nanoseconds of `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`), or the start time that it recorded: either
    /// way a process that started later is refused.
    ///
    /// # Errors
    /// [`IdentityError::ProcessGone`], [`IdentityError::PidReused`], [`IdentityError::ProcUnreadable`],
    /// [`IdentityError::ProcMalformed`].
    pub fn read(proc_root: &Path, pid: Pid, recorded_at_ns: Option<u64>) -> Result<Process, IdentityError> {
        let dir = Dir { path: proc_root.join(pid.to_string()), pid };
        let before = dir.stat()?;
        if recorded_at_ns.is_some_and(|at| before.start_time > at / NANOS_PER_TICK) {
            return Err(IdentityError::PidReused(pid));
        }
        let process = Process {
            start_time: before.start_time,
            exe: dir.link("exe")?,
            argv: redact(dir.argv()?),
            loginuid: dir.audit("loginuid")?.map(Uid),
            session_id: dir.audit("sessionid")?,
            tty: before.tty,
            cwd: dir.link("cwd").ok(), // another mount namespace may hide it; it decides nothing
        };
        if dir.stat()?.start_time != process.start_time {
            return Err(IdentityError::PidReused(pid));
        }
        Ok(process)
    }
}

/// `/proc/<pid>`.
struct Dir {
    path: PathBuf,
    pid: Pid,
}

struct Stat {
    start_time: u64,
    tty: Option<String>,
}

impl Dir {
    fn stat(&self) -> Result<Stat, IdentityError> {
        let raw = self.bytes("stat", 4096)?;
        parse_stat(&String::from_utf8_lossy(&raw)).ok_or_else(|| self.malformed("stat"))
    }

    fn argv(&self) -> Result<Vec<String>, IdentityError> {
        let raw = self.bytes("cmdline", MAX_CMDLINE)?;
        let raw = raw.strip_suffix(b"\0").unwrap_or(&raw);
        if raw.is_empty() {
            return Ok(Vec::new());
        }
        Ok(raw.split(|&byte| byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
    }

    /// What the audit subsystem keeps of the process's login.
    fn audit(&self, name: &str) -> Result<Option<u32>, IdentityError> {
        let raw = match self.bytes(name, 32) {
            Ok(raw) => raw,
            // A kernel without CONFIG_AUDIT has no such file, while the process is there (checked by `stat`).
            Err(IdentityError::ProcessGone(_)) if !self.path.join(name).exists() => {
                self.stat()?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let text = str::from_utf8(&raw).map_err(|_| self.malformed(name))?;
        match text.trim().parse().map_err(|_| self.malformed(name))? {
            AUDIT_UNSET => Ok(None),
            set => Ok(Some(set)),
        }
    }

    fn link(&self, name: &str) -> Result<PathBuf, IdentityError> {
        let path = self.path.join(name);
        std::fs::read_link(&path).map_err(|source| self.unreadable(path, source))
    }

    fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>, IdentityError> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|source| self.unreadable(path, source))?;
        Ok(bytes)
    }

    fn unreadable(&self, path: PathBuf, source: io::Error) -> IdentityError {
        // Reading a process that exits meanwhile gives ESRCH, one that already did ENOENT.
        let gone = source.kind() == io::ErrorKind::NotFound
            || source.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32);
        if gone {
            IdentityError::ProcessGone(self.pid)
        } else {
            IdentityError::ProcUnreadable { path, source }
        }
    }

    fn malformed(&self, name: &str) -> IdentityError {
        IdentityError::ProcMalformed { path: self.path.join(name) }
    }
}

/// proc(5), `/proc/<pid>/stat`. The second field is the command in parentheses and may itself hold spaces
/// and parentheses, so fields are counted from the last `)`.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect(); // fields[0] is field 3
    Some(Stat { start_time: fields.get(19)?.parse().ok()?, tty: tty_name(fields.get(4)?.parse().ok()?) })
}

/// proc(5), `tty_nr`: the minor number in bits 31–20 and 7–0, the major in bits 15–8. Majors as in
/// Documentation/admin-guide/devices.txt.
fn tty_name(device: i32) -> Option<String> {
    let device = device.cast_unsigned();
    let (major, minor) = ((device >> 8) & 0xff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match (major, minor) {
        (0, 0) => None,
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        (4, 0..=63) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        _ => Some(format!("{major}:{minor}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const STAT: &str = "42 (we) ird (x) S 1 42 42 34819 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 500 1 2 3\n";

    fn fake(stat: &str, loginuid: &str, cmdline: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("42");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("stat"), stat).unwrap();
        std::fs::write(dir.join("loginuid"), loginuid).unwrap();
        std::fs::write(dir.join("cmdline"), cmdline).unwrap();
        symlink("/usr/bin/kubectl", dir.join("exe")).unwrap();
        root
    }

    #[test]
    fn reads_every_field_and_redacts() {
        let root = fake(STAT, "1001\n", b"kubectl\0--token=s3cret\0get\0pods\0");
        let process = Process::read(root.path(), Pid(42), None).unwrap();
        assert_eq!(process.start_time, 500);
        assert_eq!(process.exe, Path::new("/usr/bin/kubectl"));
        assert_eq!(process.argv, ["kubectl", "--token=[redacted]", "get", "pods"]);
        assert_eq!(process.loginuid, Some(Uid(1001)));
        assert_eq!(process.session_id, None, "no such file: a kernel without audit");
        assert_eq!(process.tty.as_deref(), Some("pts/3"));
        assert_eq!(process.cwd, None);
    }

    #[test]
    fn an_unset_loginuid_is_none() {
        let root = fake(STAT, "4294967295", b"kubectl\0");
        assert_eq!(Process::read(root.path(), Pid(42), None).unwrap().loginuid, None);
    }

    #[test]
    fn a_loginuid_that_is_no_number_is_refused() {
        let root = fake(STAT, "alice", b"kubectl\0");
        let error = Process::read(root.path(), Pid(42), None).unwrap_err();
        assert!(matches!(error, IdentityError::ProcMalformed { .. }), "{error}");
    }

    #[test]
    fn the_audit_session_is_read_like_the_login_uid() {
        let root = fake(STAT, "1001", b"kubectl\0");
        let session = |text: &str| {
            std::fs::write(root.path().join("42/sessionid"), text).unwrap();
            Process::read(root.path(), Pid(42), None)
        };
        assert_eq!(session("7\n").unwrap().session_id, Some(7));
        assert_eq!(session("4294967295").unwrap().session_id, None);
        assert!(matches!(session("seven"), Err(IdentityError::ProcMalformed { .. })));
    }

    #[test]
    fn a_process_recorded_before_sessions_were_is_still_read() {
        let json = r#"{"startTime":1,"exe":"/x","argv":[],"loginuid":null,"tty":null,"cwd":null}"#;
        assert_eq!(serde_json::from_str::<Process>(json).unwrap().session_id, None);
    }

    #[test]
    fn a_process_that_started_after_the_record_is_another_one() {
        let root = fake(STAT, "1001", b"kubectl\0"); // started at tick 500 = 5.00 s
        Process::read(root.path(), Pid(42), Some(5_000_000_000)).unwrap();
        let error = Process::read(root.path(), Pid(42), Some(4_999_999_999)).unwrap_err();
        assert!(matches!(error, IdentityError::PidReused(Pid(42))), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = Process::read(root.path(), Pid(42), None).unwrap_err();
        assert!(matches!(error, IdentityError::ProcessGone(Pid(42))), "{error}");
    }

    #[test]
    fn a_long_command_line_is_cut() {
        let root = fake(STAT, "1001", &vec![b'x'; 100_000]);
        let process = Process::read(root.path(), Pid(42), None).unwrap();
        assert_eq!(process.argv[0].len(), 64 * 1024);
    }

    #[test]
    fn reads_this_very_process() {
        let process = Process::read(Path::new("/proc"), Pid(std::process::id()), None).unwrap();
        assert_eq!(process.exe, std::env::current_exe().unwrap());
        assert_eq!(process.cwd, Some(std::env::current_dir().unwrap()));
    }

    #[test]
    fn terminals_have_their_usual_names() {
        let names = [(0, None), (34816, Some("pts/0")), (1025, Some("tty1")), (1088, Some("ttyS0"))];
        for (device, name) in names {
            assert_eq!(tty_name(device).as_deref(), name);
        }
        assert_eq!(tty_name(0x10_8802).as_deref(), Some("pts/258"));
    }
}
