//! `cargo xtask demo`: the product's main job as a story, with real eBPF, real kubectl and a simulated cluster (or a real
//! one). Everything runs in a cgroup of its own and is gone afterwards, also on Ctrl-C.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use e2e::{
    ALICE, BOB, CAROL, Kubectl, Output, Person, Running, Stage, StageOptions, Upstream, installed, output,
    wait_for,
};
use idp::Idp;
use serde_json::{Value, json};

use crate::{build, machine};

/// Play the main job as a story
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use the current context of this kubeconfig as upstream; only reads are sent to it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Leave everything running to play with, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

const LIMIT: Duration = Duration::from_secs(60);
/// Lines of a diff that are shown.
const DIFF: usize = 14;

const ROLES: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata:
  name: debug
spec:
  description: Look at workloads and run commands in them
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 4h
  rules:
  - apiGroups: ["", apps]
    resources: [pods, pods/log, configmaps, secrets, services, events, deployments, namespaces]
    verbs: [get, list, watch]
  - apiGroups: [""]
    resources: [pods/exec, pods/attach, pods/portforward]
    verbs: [create]
    namespaces: [demo]
  - action: review
    apiGroups: [""]
    resources: [pods]
    verbs: [delete]
    review: {wait: 1m}
  - action: deny
    apiGroups: ["*"]
    resources: ["*"]
    verbs: [delete, deletecollection]
    namespaces: [prod]
    reason: nothing is deleted by hand in prod; open a change request
"#;

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    machine::check()?;
    let programs = build::ensure_built(false)?.dir;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for Ctrl-C")?;
    }
    let kubectl = installed()?.pop().context("no kubectl")?;
    let copies = Copies::make()?;
    let upstream =
        args.kubeconfig.as_deref().map(|file| real_cluster(&kubectl, file, &copies.0)).transpose()?;
    scene("Setting the stage: a cluster, an identity provider, the gate in the kernel, the daemon behind it");
    let real = upstream.is_some();
    let idp = identity_provider()?;
    let options = StageOptions {
        upstream,
        target: json!({ "identity": { "allOf": ["unix", "oidc"] } }),
        config: json!({ "identity": identity(idp.issuer()) }),
        ..StageOptions::with_roles(ROLES)
    };
    let stage = Stage::set(&programs, &options)?;
    let mut story = Story { stage, idp, kubectl, programs, interrupted };
    say(&format!(
        "  {} is behind the gate; alice's kubeconfig names it, and holds no credential.",
        story.stage.endpoint()
    ));
    let started = Instant::now();
    story.log_in()?;
    if real {
        story.on_a_real_cluster()?;
    } else {
        story.tell()?;
    }
    say(&format!("\nThat was the story, in {} s.", started.elapsed().as_secs()));
    if args.keep {
        story.keep()?;
    }
    scene("Taking the stage down");
    Ok(())
}

/// The people of the stage, at a provider that lets anybody be any of them.
fn identity_provider() -> Result<Idp> {
    let people = [ALICE, BOB, CAROL].map(|person| idp::Person::example(person.name, person.groups));
    let options = idp::Options { poll_interval: Duration::from_secs(1), ..idp::Options::new(people.into()) };
    Ok(Idp::start(options)?)
}

/// `identity` of the configuration, beside what the stage has there.
fn identity(issuer: &str) -> Value {
    json!({
        "commands": { "anyOf": ["oidc", "unix"] },
        "oidc": [{
            "name": "corp",
            "issuer": issuer,
            "clientId": "portcullis",
            "scopes": ["profile", "email", "groups", "offline_access"],
            "algorithms": ["ES256"],
            // People are made by setpriv here, so that none has a login session of their own.
            "bindTo": "uid",
        }],
    })
}

struct Story {
    stage: Stage,
    idp: Idp,
    kubectl: Kubectl,
    programs: PathBuf,
    interrupted: Arc<AtomicBool>,
}

impl Story {
    fn tell(&mut self) -> Result<()> {
        scene("Alice has no access yet, and reads how to ask for it");
        let grant = self.request_and_approve(&self.kubectl(ALICE, &["get", "pods"])?)?;

        scene("Now plain kubectl works");
        expect(&self.kubectl(ALICE, &["get", "pods"])?, 0, "shell")?;
        scene("Secrets come masked: names and keys are there, values are not");
        expect(&self.kubectl(ALICE, &["get", "secret", "db-credentials", "-o", "yaml"])?, 0, "data:")?;
        scene("An exec, recorded byte for byte");
        let command = "echo \"I am in $(basename \"$PWD\")\"; ls /nosuch; exit 3";
        expect(
            &self.kubectl(ALICE, &["exec", "shell", "-c", "sh", "--", "sh", "-c", command])?,
            3,
            "I am in",
        )?;
        scene("A delete waits until Bob has agreed to that very request: kubectl just takes longer");
        self.hold()?;
        scene("A delete in a protected namespace is refused, whatever was granted");
        expect(&self.kubectl(ALICE, &["delete", "pod", "web", "-n", "prod"])?, 1, "change request")?;

        scene("Bob revokes while Alice follows a log: the stream is cut, and says why");
        self.cut(&grant, &["logs", "-f", "shell"])?;

        scene("What was recorded");
        self.replay()?;

        scene("The daemon dies (kill -9): the gate stays closed");
        self.stage.kill_daemon();
        expect(&self.kubectl(ALICE, &["get", "pods"])?, 1, "refused")?;
        Ok(())
    }

    /// On a cluster that is not ours only reads are sent.
    fn on_a_real_cluster(&mut self) -> Result<()> {
        scene("Alice has no access yet, and reads how to ask for it");
        let grant = self.request_and_approve(&self.kubectl(ALICE, &["get", "pods", "-A"])?)?;
        scene("Now plain kubectl works");
        expect(&self.kubectl(ALICE, &["get", "pods", "-A"])?, 0, "")?;
        scene("Secrets come masked");
        expect(&self.kubectl(ALICE, &["get", "secrets", "-A", "-o", "jsonpath={.items[0].data}"])?, 0, "")?;
        scene("Bob revokes while Alice watches: the stream is cut, and says why");
        self.cut(&grant, &["get", "pods", "-A", "-w"])?;
        scene("What was recorded");
        let listed = self.stage.operator(&["sessions", "list"])?;
        say(&indent(&listed.stdout));
        scene("The daemon dies (kill -9): the gate stays closed");
        self.stage.kill_daemon();
        expect(&self.kubectl(ALICE, &["get", "pods"])?, 1, "refused")
    }

    /// Alice proves who she is: what the command shows she confirms at the identity provider.
    fn log_in(&self) -> Result<()> {
        scene("The kernel says which account it is; who that person is, the identity provider says");
        self.check_interrupt()?;
        say("  alice$ kubectl get pods");
        let refused = output(&mut self.stage.kubectl(ALICE, &self.kubectl, &["get", "pods"]), LIMIT)?;
        // The last line: kubectl, which knows nothing of the cluster yet, reads the same five times before.
        say(&indent(refused.stderr.lines().last().unwrap_or_default()));
        expect(&refused, 1, "portcullis login")?;
        say("  alice$ portcullis login");
        let mut command = self.stage.command(ALICE, &self.programs.join("portcullis"));
        let mut login = Running::start(command.arg("login").stdin(Stdio::null()))?;
        login.wait_for_stdout("before", LIMIT)?;
        let shown = login.stdout();
        say(&indent(&shown));
        let code = shown.split_whitespace().skip_while(|word| *word != "enter").nth(1);
        let code = code.context("portcullis login shows no code")?;
        say(&format!("  (alice opens that page in a browser, enters {code}, and says that it is her)"));
        self.idp.confirm(code, ALICE.name)?;
        let done = login.wait(LIMIT)?;
        say(&indent(&done.all().replacen(&shown, "", 1)));
        expect(&done, 0, "Logged in as")
    }

    /// A request that the role holds: Bob sees what it would change, and agrees.
    fn hold(&self) -> Result<()> {
        self.check_interrupt()?;
        let delete = ["delete", "pod", "web", "--wait=false"];
        say(&format!("  alice$ kubectl {}", delete.join(" ")));
        let mut command = self.stage.kubectl(ALICE, &self.kubectl, &delete);
        let mut waiting = Running::start(command.stdin(Stdio::null()))?;
        let id = wait_for("a held request", LIMIT, || self.held().transpose())??;
        say("      (it waits)\n  bob$ portcullis requests");
        let seen = self.stage.portcullis(BOB, &["requests"])?;
        let lines: Vec<&str> = seen.stdout.lines().collect();
        say(&indent(&lines[..lines.len().min(DIFF)].join("\n")));
        if lines.len() > DIFF {
            say(&format!("      … and {} lines more", lines.len() - DIFF));
        }
        expect(&seen, 0, &id)?;
        expect(&seen, 0, "-  name: web")?;
        ensure!(!waiting.ended(), "kubectl did not wait:\n{}{}", waiting.stdout(), waiting.stderr());
        expect(&self.portcullis(ALICE, &["approve", &id])?, 1, "")?;
        expect(&self.portcullis(BOB, &["approve", &id, "--comment", "it hangs, I see it too"])?, 0, &id)?;
        let done = waiting.wait(LIMIT)?;
        say("  alice$ (kubectl goes on)");
        say(&indent(&done.all()));
        expect(&done, 0, "deleted")
    }

    /// The id of the request that waits, once one does.
    fn held(&self) -> Result<Option<String>> {
        let listed = self.stage.portcullis(BOB, &["requests", "-o", "json"])?;
        let listed: Value = serde_json::from_str(&listed.stdout).context("requests -o json")?;
        let ids = listed.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
        Ok(ids.into_iter().find(|id| id.starts_with("h-")).map(str::to_owned))
    }

    /// Does what the refusal says, and returns the grant.
    fn request_and_approve(&self, denied: &Output) -> Result<String> {
        const COMMAND: &str = "portcullis request --from ";
        expect(denied, 1, COMMAND)?;
        let offered = denied.stderr.split_once(COMMAND).and_then(|(_, rest)| rest.split(' ').next());
        let id = offered.context("the refusal offers no id")?;
        scene("Alice asks for just that, and Bob sees it and approves: nobody approves their own request");
        let reason = "checkout is slow, INC-4711";
        let asked = self.portcullis(ALICE, &["request", "--from", id, "--reason", reason])?;
        expect(&asked, 0, "r-")?;
        let listed = self.stage.portcullis(BOB, &["requests", "-o", "json"])?;
        let listed: Value = serde_json::from_str(&listed.stdout).context("requests -o json")?;
        let request = listed[0]["id"].as_str().context("no pending request")?.to_owned();
        expect(&self.portcullis(ALICE, &["approve", &request])?, 1, "cannot approve it")?;
        expect(&self.portcullis(BOB, &["requests"])?, 0, &request)?;
        expect(&self.portcullis(BOB, &["approve", &request])?, 0, "g-")?;
        let grants = self.stage.portcullis(BOB, &["grants", "-o", "json"])?;
        let grants: Value = serde_json::from_str(&grants.stdout).context("grants -o json")?;
        grants[0]["id"].as_str().map(str::to_owned).context("no grant")
    }

    fn cut(&self, grant: &str, stream: &[&str]) -> Result<()> {
        self.check_interrupt()?;
        say(&format!("  alice$ kubectl {}", stream.join(" ")));
        let mut command = self.stage.kubectl(ALICE, &self.kubectl, stream);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.wait_for_stdout("\n", LIMIT)?;
        let revoked = Instant::now();
        expect(&self.portcullis(BOB, &["revoke", grant, "--reason", "INC-4711 is closed"])?, 0, "")?;
        let ended = running.wait(LIMIT)?;
        let after = revoked.elapsed();
        let all = ended.all();
        let tail: Vec<&str> = all.lines().rev().take(4).collect();
        say(&indent(&tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
        say(&format!("  (cut {} ms after the revocation began)", after.as_millis()));
        ensure!(all.contains("INC-4711 is closed"), "the stream did not say why it ended:\n{all}");
        Ok(())
    }

    fn replay(&self) -> Result<()> {
        let listed = self.stage.operator(&["sessions", "list", "-o", "json"])?;
        let sessions: Value = serde_json::from_str(&listed.stdout).context("sessions list -o json")?;
        let is_exec = |session: &&Value| {
            let argv = session["start"]["attestation"]["process"]["argv"].as_array();
            argv.is_some_and(|argv| argv.iter().any(|word| word == "exec"))
        };
        let session = sessions.as_array().into_iter().flatten().find(is_exec);
        let id = session
            .and_then(|session| session["id"].as_str())
            .context("the exec is not among the sessions")?;
        self.operator(&["sessions", "list"])?;
        self.operator(&["sessions", "show", id])?;
        expect(&self.operator(&["sessions", "play", id, "--speed", "4"])?, 0, "I am in")?;
        expect(&self.operator(&["sessions", "verify"])?, 0, "")
    }

    fn keep(&mut self) -> Result<()> {
        if self.stage.gate("status")?.code == 0 {
            self.stage.start_daemon()?;
        }
        let (alice, bob, operator) = self.write_shells()?;
        say(&format!(
            "\nEverything is left running. In another terminal, as root:\n\n  {alice} portcullis login\n  {alice} kubectl get \
             pods\n  {alice} portcullis request --role debug --for 30m --reason 'to play'\n  {bob} portcullis requests\n  \
             {operator} sessions list\n\nLogins ended with the daemon; their codes are confirmed at {login}, where \
             anybody can say that they are alice.\nWithout a command the first two are shells. Ctrl-C takes it all down.",
            login = format_args!("{}/device", self.idp.issuer()),
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

    fn kubectl(&self, person: Person, args: &[&str]) -> Result<Output> {
        self.show(person.name, "kubectl", args, &mut self.stage.kubectl(person, &self.kubectl, args))
    }

    fn portcullis(&self, person: Person, args: &[&str]) -> Result<Output> {
        let mut command = self.stage.command(person, &self.programs.join("portcullis"));
        self.show(person.name, "portcullis", args, command.args(args))
    }

    fn operator(&self, args: &[&str]) -> Result<Output> {
        self.check_interrupt()?;
        say(&format!("  root# portcullis {}", args.join(" ")));
        let shown = self.stage.operator(args)?;
        say(&indent(&shown.all()));
        Ok(shown)
    }

    fn show(&self, who: &str, program: &str, args: &[&str], command: &mut Command) -> Result<Output> {
        self.check_interrupt()?;
        let quoted: Vec<String> = args.iter().map(|arg| quote(arg)).collect();
        say(&format!("  {who}$ {program} {}", quoted.join(" ")));
        let shown = output(command, LIMIT)?;
        say(&indent(&shown.all()));
        Ok(shown)
    }

    fn check_interrupt(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// A line of the story; when standard output is gone nobody listens any more.
fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

/// The heading of a scene.
fn scene(what: &str) {
    say(&format!("\n==> {what}"));
}

fn expect(output: &Output, code: i32, contains: &str) -> Result<()> {
    let all = output.all();
    ensure!(
        output.code == code && all.contains(contains),
        "the story went wrong: expected exit code {code} and {contains:?}, got {} and:\n{all}",
        output.code
    );
    Ok(())
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}

fn quote(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

/// A private folder for the CA and the credential of a real cluster; gone when the demo is.
struct Copies(PathBuf);

impl Copies {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("portcullis-demo-upstream-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say(&format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}

/// Reads endpoint, CA and credential of a kubeconfig's current context, with kubectl's own reading of it.
fn real_cluster(kubectl: &Kubectl, file: &Path, dir: &Path) -> Result<Upstream> {
    let mut command = Command::new(&kubectl.path);
    command
        .args(["config", "view", "--raw", "--minify", "--flatten", "-o", "json", "--kubeconfig"])
        .arg(file);
    let shown = output(&mut command, LIMIT)?;
    ensure!(shown.code == 0, "kubectl cannot read {}: {}", file.display(), shown.stderr);
    let view: Value = serde_json::from_str(&shown.stdout).context("kubectl config view")?;
    let cluster = &view["clusters"][0]["cluster"];
    let user = &view["users"][0]["user"];
    let endpoint = cluster["server"].as_str().context("the cluster has no server")?.to_owned();
    let keep = |name: &str, encoded: &Value| -> Result<PathBuf> {
        use base64::Engine;
        let encoded = encoded.as_str().with_context(|| format!("the kubeconfig has no {name}"))?;
        let path = dir.join(name);
        write_private(&path, &base64::engine::general_purpose::STANDARD.decode(encoded)?)?;
        Ok(path)
    };
    let certificate_authority = keep("ca.crt", &cluster["certificate-authority-data"])?;
    let credential = if let Some(token) = user["token"].as_str() {
        let path = dir.join("token");
        write_private(&path, token.as_bytes())?;
        json!({ "bearerTokenFile": path })
    } else if user.get("client-certificate-data").is_some() {
        json!({ "clientCertificate": {
            "certFile": keep("client.crt", &user["client-certificate-data"])?,
            "keyFile": keep("client.key", &user["client-key-data"])?,
        } })
    } else {
        bail!("the user of {} has neither a token nor a client certificate", file.display());
    };
    Ok(Upstream { endpoint, certificate_authority, credential })
}

fn write_script(path: &Path, script: &str) -> Result<PathBuf> {
    std::fs::write(path, script)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.to_owned())
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(())
}
