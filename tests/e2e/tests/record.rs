//! What was recorded, and that nothing is forwarded when it cannot be.

mod common;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use common::{LIMIT, everything_role, newest, programs};
use e2e::{ALICE, Kubectl, Stage, StageOptions, installed, output, wait_for};
use serde_json::Value;

#[test]
fn an_exec_is_replayed_byte_for_byte_on_every_protocol() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    for kubectl in installed()? {
        let script = "printf 'out-%s\\n' one; printf 'err\\n' >&2; exit 7";
        let ran = output(
            &mut stage.kubectl(ALICE, &kubectl, &["exec", "shell", "-c", "sh", "--", "sh", "-c", script]),
            LIMIT,
        )?;
        assert_eq!((ran.code, ran.stdout.as_str()), (7, "out-one\n"), "{ran:?}");
        let session = newest_session(&stage, &kubectl)?;
        let id = session["id"].as_str().context("id")?;
        let played = stage.operator(&["sessions", "play", id, "--speed", "100"])?;
        assert!(played.stdout.contains("out-one\n") && played.stdout.contains("err\n"), "{played:?}");
        let shown = stage.operator(&["sessions", "show", id])?;
        for part in ["alice", "exec", "shell", "printf"] {
            assert!(shown.stdout.contains(part), "{part:?} is not in {}", shown.stdout);
        }
        let exported = stage.operator(&["sessions", "export", id, "--format", "asciicast"])?;
        let head: Value = serde_json::from_str(exported.stdout.lines().next().context("empty")?)?;
        assert_eq!(head["version"], 2);
        let lines = stage.operator(&["sessions", "export", id, "--format", "jsonl"])?;
        let exit = lines.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let exit = exit.map(|entry| entry.to_string()).find(|entry| entry.contains("\"exit\""));
        assert!(exit.as_deref().is_some_and(|exit| exit.contains("\"code\":7")), "{exit:?}");
    }
    let verified = stage.operator(&["sessions", "verify"])?;
    assert_eq!(verified.code, 0, "{}", verified.all());
    Ok(())
}

/// The session of the last command that this kubectl ran.
fn newest_session(stage: &Stage, kubectl: &Kubectl) -> Result<Value> {
    let listed = stage.operator(&["sessions", "list", "-o", "json"])?;
    let sessions: Vec<Value> = serde_json::from_str(&listed.stdout)?;
    let program = kubectl.path.display().to_string();
    sessions
        .into_iter()
        .filter(|session| session["start"]["attestation"]["process"]["argv"][0] == program.as_str())
        .max_by_key(|session| session["start"]["startedAt"].to_string())
        .context("no session of this kubectl")
}

#[test]
fn a_command_is_one_session_with_its_requests_and_audit_ids() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let kubectl = newest()?;
    let ran = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(ran.code, 0);
    let session = newest_session(&stage, &kubectl)?;
    let id = session["id"].as_str().context("id")?;
    let exported = stage.operator(&["sessions", "export", id, "--format", "jsonl"])?;
    let upstream = stage.cluster().requests()?;
    let audit_ids: Vec<&str> = upstream
        .iter()
        .filter_map(|request| request["headers"].as_array())
        .flatten()
        .filter(|pair| pair[0] == "audit-id")
        .filter_map(|pair| pair[1].as_str())
        .collect();
    ensure!(!audit_ids.is_empty(), "no audit id reached the cluster");
    assert!(audit_ids.iter().all(|id| exported.stdout.contains(id)), "the cluster's audit log joins ours");
    Ok(())
}

#[test]
fn nothing_is_forwarded_when_it_cannot_be_recorded() -> Result<()> {
    let disk = SmallDisk::mount("faults")?;
    let options =
        StageOptions { record_dir: Some(disk.0.join("rec")), ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    let kubectl = newest()?;
    let get = || output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT);
    assert_eq!(get()?.code, 0);

    for (fault, mend) in [
        (SmallDisk::fill as fn(&SmallDisk) -> Result<()>, SmallDisk::free as fn(&SmallDisk) -> Result<()>),
        (SmallDisk::read_only, SmallDisk::writable),
    ] {
        fault(&disk)?;
        let before = stage.cluster().requests()?.len();
        let refused = get()?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("cannot be recorded"), "{}", refused.stderr);
        assert_eq!(stage.cluster().requests()?.len(), before, "something was forwarded unrecorded");
        mend(&disk)?;
        wait_for("the recorder to notice", LIMIT, || get().ok().filter(|output| output.code == 0).map(drop))?;
    }
    Ok(())
}

#[test]
fn a_stream_breaks_off_where_its_recording_does() -> Result<()> {
    let disk = SmallDisk::mount("stream")?;
    let options =
        StageOptions { record_dir: Some(disk.0.join("rec")), ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    let kubectl = newest()?;
    // More than the disk holds, and without an end.
    let ended =
        output(&mut stage.kubectl(ALICE, &kubectl, &["exec", "shell", "-c", "sh", "--", "yes"]), LIMIT)?;
    assert_ne!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.len() > 100_000, "{} bytes were shown", ended.stdout.len());
    disk.run("mount", &["-o", "remount,size=2m"])?;
    let session = newest_session(&stage, &kubectl)?;
    let recorded = session["bytes"].as_u64().context("bytes")?;
    assert!(
        recorded >= ended.stdout.len() as u64,
        "{} bytes were shown, {recorded} recorded",
        ended.stdout.len()
    );
    Ok(())
}

/// A tmpfs of one megabyte.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("portcullis-disk-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        let disk = Self(path);
        disk.run("mount", &["-t", "tmpfs", "-o", "size=1m", "none"])?;
        Ok(disk)
    }

    fn fill(&self) -> Result<()> {
        let file = self.0.join("filler");
        // It ends with ENOSPC, which is the point.
        output(
            Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", file.display())),
            LIMIT,
        )?;
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }

    fn read_only(&self) -> Result<()> {
        // The kernel refuses while a segment is open for writing, which it is until the last session has lingered out.
        wait_for("the segments to be closed", LIMIT, || self.run("mount", &["-o", "remount,ro"]).ok())
    }

    fn writable(&self) -> Result<()> {
        self.run("mount", &["-o", "remount,rw"])
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        let ran = output(Command::new(program).args(args).arg(&self.0).stdin(Stdio::null()), LIMIT)?;
        ensure!(ran.code == 0, "{program}: {}", ran.all());
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]).ok();
        std::fs::remove_dir(&self.0).ok();
    }
}
