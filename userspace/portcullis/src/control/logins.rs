//! Logging in and out: the one part of the commands that speaks with the network, so it waits without holding a thread.

use anyhow::Result;
use portcullis_identity::{Identities, LoggedIn, Polled, Process, Uid};
use serde_json::Value;

use super::{Ask, DevicePoll, Whoami};

/// Answers `ask` for a process of `uid`; gives it back where it is about something else.
pub(super) async fn handle(
    identities: &Identities,
    uid: Uid,
    process: &Process,
    ask: Ask,
) -> Result<Result<Value, Ask>> {
    Ok(Ok(match ask {
        Ask::WhoAmI => {
            let identified = identities.identify_command(uid, process).await?;
            let who = Whoami { subject: identified.subject.as_ref().clone(), until: identified.until };
            serde_json::to_value(who)?
        }
        Ask::LoginDevice { issuer } => {
            let logins = identities.logins()?;
            serde_json::to_value(logins.begin_device(uid, process, issuer.as_deref()).await?)?
        }
        Ask::LoginWait { login } => {
            let polled = match identities.logins()?.poll(uid, process, &login).await? {
                Polled::Pending { after } => DevicePoll::Pending(u64::try_from(after.as_millis())?),
                Polled::Done(login) => DevicePoll::Done(logged_in(uid, login)),
            };
            serde_json::to_value(polled)?
        }
        Ask::LoginBrowser { issuer, port } => {
            let logins = identities.logins()?;
            serde_json::to_value(logins.begin_browser(uid, process, issuer.as_deref(), port).await?)?
        }
        Ask::LoginFinish { login, code, state } => {
            let logins = identities.logins()?;
            let login = logins.finish_browser(uid, process, &login, &code.0, &state).await?;
            serde_json::to_value(logged_in(uid, login))?
        }
        Ask::Logout => {
            let ended = identities.logins()?.logout(uid, process).await?;
            for login in &ended {
                tracing::info!(%uid, subject = %login.subject, issuer = login.issuer, "logged out");
            }
            serde_json::to_value(ended)?
        }
        other => return Ok(Err(other)),
    }))
}

fn logged_in(uid: Uid, login: LoggedIn) -> Whoami {
    let LoggedIn { issuer, subject, until, renewed } = login;
    tracing::info!(%uid, %subject, issuer, %until, renewed, "logged in");
    Whoami { subject, until: Some(until) }
}
