//! What plain kubectl does behind the gate: asking what is allowed, secrets read and edited, logs, commands in pods.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, Output, output};

use super::LIMIT;
use super::narration::{expect, printed, say, scene};
use super::story::Story;

/// What the application wrote, and should not have.
const LOG: &str = "starting checkout 1.4.2
connecting to postgres://shop_rw:FAKE-s3cr3t-passw0rd-1@db.example.test:5432/shop
ready on :8080
";
/// An editor that changes one key of a Secret; in base64 it says `rotated`.
const EDITOR: &str = "sed -i 's/^  password: .*/  password: cm90YXRlZA==/'";

impl Story {
    pub(super) fn ask_what_is_allowed(&self) -> Result<()> {
        scene("kubectl's own question is answered by the gate, with what it would decide");
        expect(&self.kubectl(ALICE, &["auth", "can-i", "create", "pods", "--subresource=exec"])?, 0, "yes")?;
        expect(&self.kubectl(ALICE, &["auth", "can-i", "delete", "pods", "-n", "prod"])?, 1, "no")
    }

    pub(super) fn read_a_secret(&self) -> Result<()> {
        scene("Secrets come masked: names and keys are there, values are not");
        expect(&self.kubectl(ALICE, &["get", "secret", "db-credentials", "-o", "yaml"])?, 0, "data:")
    }

    /// A masked object is edited: the masks that come back are not what is written.
    pub(super) fn edit_a_secret(&self) -> Result<()> {
        scene("A masked Secret can be edited: one key is new, the others, masked in the editor, stay");
        self.check_interrupt()?;
        say(&format!("  alice$ KUBE_EDITOR=\"{EDITOR}\" kubectl edit secret db-credentials"));
        let mut edit = self.stage.kubectl(ALICE, &self.kubectl, &["edit", "secret", "db-credentials"]);
        let edited = output(edit.env("KUBE_EDITOR", EDITOR), LIMIT)?;
        printed(&edited.all());
        expect(&edited, 0, "edited")?;
        say("  (what the cluster has now, read by its own administrator and not through the gate)");
        let values =
            r#"go-template={{range $key, $value := .data}}{{$key}}: {{base64decode $value}}{{"\n"}}{{end}}"#;
        let real = self.administrator(&["get", "secret", "db-credentials", "-o", values])?;
        printed(&real.stdout);
        expect(&real, 0, "password: rotated\nusername: shop_rw\n")?;
        expect(&real, 0, "dsn: postgres://")
    }

    /// A log with a password in it.
    pub(super) fn read_a_log(&self) -> Result<()> {
        scene("What looks like a secret is masked in logs too");
        let uid = self.administrator(&["get", "pod", "web", "-o", "jsonpath={.metadata.uid}"])?;
        expect(&uid, 0, "-")?;
        let files = self.stage.cluster().file("pods").join(uid.stdout.trim());
        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("web.log"), LOG).context("cannot write the log")?;
        let shown = self.kubectl(ALICE, &["logs", "web", "-c", "web"])?;
        expect(&shown, 0, "portcullis-masked:")?;
        ensure!(!shown.all().contains("FAKE-"), "the password is not masked");
        Ok(())
    }

    pub(super) fn run_a_command(&self) -> Result<()> {
        scene("An exec, recorded byte for byte");
        let command = "echo \"I am in $(basename \"$PWD\")\"; ls /nosuch; exit 3";
        expect(&self.kubectl(ALICE, &["exec", "shell", "-c", "sh", "--", "sh", "-c", command])?, 3, "I am in")
    }

    /// kubectl as the simulated cluster's administrator, beside the gate.
    fn administrator(&self, args: &[&str]) -> Result<Output> {
        let mut kubectl = Command::new(&self.kubectl.path);
        kubectl
            .env("KUBECONFIG", self.stage.cluster().file("admin.kubeconfig"))
            .env("HOME", self.stage.dir());
        output(kubectl.args(["-n", "demo"]).args(args), LIMIT)
    }
}
