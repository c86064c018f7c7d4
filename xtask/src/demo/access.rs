//! Who gets access, from whom and for how long: logging in, asking, approving, holding, revoking.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, BOB, Output, Running, output, wait_for};

use super::LIMIT;
use super::narration::{expect, id_in, printed, say, scene, typed};
use super::story::Story;

/// Lines that are shown of what Bob sees.
const SEEN: usize = 14;

impl Story {
    /// Alice proves who she is: what the command shows she confirms at the identity provider.
    pub(super) fn log_in(&self) -> Result<()> {
        scene("The kernel says which account it is; who that person is, the identity provider says");
        self.check_interrupt()?;
        typed(ALICE.name, "kubectl", &["get", "pods"]);
        let refused = output(&mut self.stage.kubectl(ALICE, &self.kubectl, &["get", "pods"]), LIMIT)?;
        // The last line: kubectl, which knows nothing of the cluster yet, reads the same five times before.
        printed(refused.stderr.lines().last().unwrap_or_default());
        expect(&refused, 1, "portcullis login")?;
        typed(ALICE.name, "portcullis", &["login"]);
        let mut login = self.stage.portcullis_running(ALICE, &["login"])?;
        login.wait_for_stdout("before", LIMIT)?;
        let shown = login.stdout();
        printed(&shown);
        let code = shown.split_whitespace().skip_while(|word| *word != "enter").nth(1);
        let code = code.context("portcullis login shows no code")?;
        say(&format!("  (alice opens that page in a browser, enters {code}, and says that it is her)"));
        self.idp.confirm(code, ALICE.name)?;
        let done = login.wait(LIMIT)?;
        printed(&done.all().replacen(&shown, "", 1));
        expect(&done, 0, "Logged in as")
    }

    /// Alice reads what to do for the access that `kubectl` with these arguments needs, and does it; the grant.
    pub(super) fn get_access(&self, args: &[&str]) -> Result<String> {
        scene("Alice has no access yet, and reads how to ask for it");
        let denied = self.kubectl(ALICE, args)?;
        scene("Alice asks for just that, and Bob sees it and approves: nobody approves their own request");
        let request = self.ask_for(&denied, "checkout is slow, INC-4711")?;
        expect(&self.portcullis(ALICE, &["approve", &request])?, 1, "cannot approve it")?;
        expect(&self.portcullis(BOB, &["requests"])?, 0, &request)?;
        self.approve(&request)
    }

    /// Asks as the refusal says; the request.
    pub(super) fn ask_for(&self, denied: &Output, reason: &str) -> Result<String> {
        expect(denied, 1, "portcullis request --from ")?;
        let offered = id_in(&denied.stderr, "d-").context("the refusal offers no id")?;
        let asked = self.portcullis(ALICE, &["request", "--from", offered, "--reason", reason])?;
        expect(&asked, 0, "r-")?;
        id_in(&asked.stdout, "r-").map(str::to_owned).context("no request")
    }

    /// Bob approves a request; the grant.
    pub(super) fn approve(&self, request: &str) -> Result<String> {
        let approved = self.portcullis(BOB, &["approve", request])?;
        expect(&approved, 0, "g-")?;
        id_in(&approved.stdout, "g-").map(str::to_owned).context("no grant")
    }

    /// A request that the role holds: Bob sees what it would change, and agrees.
    pub(super) fn delete_with_consent(&self) -> Result<()> {
        scene("A delete waits until Bob has agreed to that very request: kubectl just takes longer");
        let delete = ["delete", "pod", "web", "--wait=false"];
        typed(ALICE.name, "kubectl", &delete);
        let mut waiting =
            self.hold(&mut self.stage.kubectl(ALICE, &self.kubectl, &delete), "-  name: web")?;
        expect(&self.portcullis(ALICE, &["approve", &waiting.id])?, 1, "cannot approve it")?;
        expect(&waiting.agree(self, "it hangs, I see it too")?, 0, "deleted")
    }

    /// Starts what a rule holds, and shows it to Bob, who sees `seen`.
    pub(super) fn hold(&self, command: &mut Command, seen: &str) -> Result<Waiting> {
        self.check_interrupt()?;
        let mut process = Running::start(command.stdin(Stdio::null()))?;
        let id = wait_for("a held request", LIMIT, || match self.stage.portcullis(BOB, &["requests"]) {
            Ok(listed) => match id_in(&listed.stdout, "h-") {
                Some(id) => Some(Ok(Some(id.to_owned()))),
                None => process.ended().then_some(Ok(None)),
            },
            Err(error) => Some(Err(error)),
        })??;
        let id = id.with_context(|| format!("nothing is held:\n{}{}", process.stdout(), process.stderr()))?;
        say("      (it waits)");
        typed(BOB.name, "portcullis", &["requests"]);
        let listed = self.stage.portcullis(BOB, &["requests"])?;
        expect(&listed, 0, seen)?;
        let lines: Vec<&str> = listed.stdout.lines().collect();
        printed(&lines[..lines.len().min(SEEN)].join("\n"));
        if lines.len() > SEEN {
            say(&format!("      … and {} lines more", lines.len() - SEEN));
        }
        ensure!(!process.ended(), "it did not wait:\n{}{}", process.stdout(), process.stderr());
        Ok(Waiting { process, id })
    }

    /// Bob ends a grant while something runs under it.
    pub(super) fn cut(&self, grant: &str, stream: &[&str]) -> Result<()> {
        scene("Bob revokes while Alice's kubectl is reading: the stream is cut, and says why");
        self.check_interrupt()?;
        typed(ALICE.name, "kubectl", stream);
        let mut command = self.stage.kubectl(ALICE, &self.kubectl, stream);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.wait_for_stdout("\n", LIMIT)?;
        let revoked = Instant::now();
        expect(&self.portcullis(BOB, &["revoke", grant, "--reason", "INC-4711 is closed"])?, 0, "")?;
        let ended = running.wait(LIMIT)?;
        let after = revoked.elapsed();
        say(&format!("  (alice's kubectl ends, {} ms after the revocation began)", after.as_millis()));
        let all = ended.all();
        let tail: Vec<&str> = all.lines().rev().take(4).collect();
        printed(&tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        ensure!(all.contains("INC-4711 is closed"), "the stream did not say why it ended:\n{all}");
        Ok(())
    }
}

/// A process whose request is held.
pub(super) struct Waiting {
    process: Running,
    /// `h-…`
    pub(super) id: String,
}

impl Waiting {
    /// Bob agrees; what comes of it.
    pub(super) fn agree(&mut self, story: &Story, comment: &str) -> Result<Output> {
        expect(&story.portcullis(BOB, &["approve", &self.id, "--comment", comment])?, 0, &self.id)?;
        let done = self.process.wait(LIMIT)?;
        say("  (alice's command goes on)");
        printed(&done.all());
        Ok(done)
    }
}
