//! `--keep`: the stage is left to play with, and ways into it are shown.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use e2e::{ALICE, BOB, Person};

use super::narration::say;
use super::story::Story;

impl Story {
    /// Waits for Ctrl-C.
    pub(super) fn keep(mut self) -> Result<()> {
        if self.stage.gate("status")?.code == 0 {
            self.stage.start_daemon()?;
        }
        let (alice, bob, operator) = self.write_shells()?;
        say(&format!(
            "\nEverything is left running. In another terminal, as root:\n\n  {alice} portcullis login\n  {alice} kubectl get \
             pods\n  {alice} portcullis request --role debug --for 30m --reason 'to play'\n  {alice} python3 {agent}\n  \
             {bob} portcullis requests\n  {operator} sessions list\n\nLogins ended with the daemon; their codes are \
             confirmed at {login}, where anybody can say that they are alice.\nWithout a command the first two are \
             shells. Ctrl-C takes it all down.",
            login = format_args!("{}/device", self.idp.issuer()),
            agent = self.operations.agent_args(&["read_config"]).join(" "),
            alice = alice.display(),
            bob = bob.display(),
            operator = operator.display(),
        ));
        while !self.interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Scripts that run a command as Alice, as Bob, and portcullis as the operator.
    fn write_shells(&self) -> Result<(PathBuf, PathBuf, PathBuf)> {
        let (dir, socket) = (self.stage.dir(), self.stage.socket());
        let (portcullis, bin) = (self.programs.join("portcullis"), dir.join("bin"));
        std::fs::create_dir_all(&bin)?;
        for (name, program) in [("kubectl", &self.kubectl.path), ("portcullis", &portcullis)] {
            std::os::unix::fs::symlink(program, bin.join(name))?;
        }
        // No link: Python looks for its packages where it is started.
        let python = format!("#!/bin/sh\nexec {} \"$@\"\n", self.operations.python.display());
        write_script(&bin.join("python3"), &python)?;
        let shell_of = |person: Person| {
            let home = self.stage.home(person);
            let script = format!(
                "#!/bin/sh\necho $$ > {}/cgroup.procs\ncd {home}\nexport HOME={home} KUBECONFIG={home}/.kube/config \
                 PORTCULLIS_SOCKET={} PATH={}:$PATH\n[ $# -gt 0 ] || set -- sh\nexec setpriv --reuid={uid} \
                 --regid={uid} --clear-groups -- \"$@\"\n",
                self.stage.engineers().path().display(),
                socket.display(),
                bin.display(),
                home = home.display(),
                uid = person.uid,
            );
            write_script(&dir.join(format!("as-{}", person.name)), &script)
        };
        let operator = format!(
            "#!/bin/sh\nexec {} --config {} --socket {} \"$@\"\n",
            portcullis.display(),
            self.stage.config().display(),
            socket.display(),
        );
        Ok((shell_of(ALICE)?, shell_of(BOB)?, write_script(&dir.join("as-operator"), &operator)?))
    }
}

fn write_script(path: &Path, script: &str) -> Result<PathBuf> {
    std::fs::write(path, script)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.to_owned())
}
