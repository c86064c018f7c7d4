//! Logs through the gate: what detectors find in them shows neither to the client nor in the recording, and followed ones do
//! not lag behind.

mod common;

use std::process::Stdio;

use anyhow::{Result, ensure};
use common::{LIMIT, LOOK, newest, patch, programs, recorded};
use e2e::{ALICE, Running, Stage, StageOptions, output};

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// Has the containers of a pod say the token in every line.
fn leak(stage: &Stage) -> Result<()> {
    let says = format!(r#"{{"metadata":{{"annotations":{{"simcluster/says":"token {TOKEN} ghp_"}}}}}}"#);
    patch(stage, "/api/v1/namespaces/demo/pods/shell", &says)
}

#[test]
fn secrets_in_logs_are_masked() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(LOOK))?;
    stage.grant(ALICE, "look", "1h")?;
    leak(&stage)?;
    let kubectl = newest()?;
    for args in [
        &["logs", "shell"][..],
        &["logs", "shell", "--timestamps", "--tail=3"],
        &["get", "pod", "shell", "-o", "yaml"],
        &["describe", "pod", "shell"],
    ] {
        let shown = output(&mut stage.kubectl(ALICE, &kubectl, args), LIMIT)?;
        ensure!(
            shown.code == 0 && shown.stdout.contains("token portcullis-masked:"),
            "{args:?}: {}",
            shown.all()
        );
        ensure!(!shown.stdout.contains(TOKEN), "{args:?}: {}", shown.all());
    }

    // Each line ends in what may be the start of a token: it is there before the next one is written.
    let mut follow =
        Running::start(stage.kubectl(ALICE, &kubectl, &["logs", "-f", "shell"]).stdin(Stdio::null()))?;
    follow.wait_for_stdout("line 25 token portcullis-masked:", LIMIT)?;
    follow.kill();
    ensure!(!follow.stdout().contains(TOKEN), "{}", follow.stdout());
    ensure!(!recorded(&stage)?.contains(TOKEN), "the token is in the recording");
    Ok(())
}

#[test]
fn a_role_may_lift_the_mask_of_logs() -> Result<()> {
    let role = LOOK.replace("  rules:", "  obligations: {mask: none}\n  rules:");
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&role))?;
    stage.grant(ALICE, "look", "1h")?;
    leak(&stage)?;
    let shown = output(&mut stage.kubectl(ALICE, &newest()?, &["logs", "shell"]), LIMIT)?;
    ensure!(shown.stdout.contains(&format!("line 20 token {TOKEN} ghp_\n")), "{}", shown.all());
    Ok(())
}
