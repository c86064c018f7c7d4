//! Logging in and out. The daemon does the talking with the identity provider and keeps the tokens, in memory; the
//! command shows where to go, and waits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portcullis_identity::{BrowserLogin, DeviceLogin, LoggedOut};
use portcullis_kube::query_values;
use zeroize::Zeroizing;

use crate::cli::LoginArgs;
use crate::control::{Ask, Code, DevicePoll, Whoami, ask};
use crate::print::{self, Format};

/// The path that the browser comes back to. Providers know `http://127.0.0.1/callback` with any port (RFC 8252 §7.3).
const CALLBACK: &str = "/callback";
/// How long the browser may take to send its request once it has connected.
const REQUEST: Duration = Duration::from_secs(5);
/// A request line with a code in it is shorter.
const LONGEST_LINE: u64 = 16 * 1024;

pub(crate) fn login(args: LoginArgs, socket: &Path, format: Format) -> Result<()> {
    let who = if args.browser {
        by_browser(args.issuer, socket, format)?
    } else {
        by_device(args.issuer, socket, format)?
    };
    print::step(format, &who, |who| format!("Logged in as {}", told(who)))
}

pub(crate) fn logout(socket: &Path, format: Format) -> Result<()> {
    let ended: Vec<LoggedOut> = ask(socket, &Ask::Logout)?;
    print::data(format, &ended, |ended| {
        if ended.is_empty() {
            return "You were not logged in.".to_owned();
        }
        let not_revoked = ended.iter().filter_map(|login| {
            let why = login.not_revoked.as_ref()?;
            Some(format!(" Its tokens could not be revoked at {}: {why}.", login.issuer))
        });
        format!("Logged out.{}", not_revoked.collect::<String>())
    })
}

pub(crate) fn whoami(socket: &Path, format: Format) -> Result<()> {
    let who: Whoami = ask(socket, &Ask::WhoAmI)?;
    print::data(format, &who, told)
}

/// `alice (unix 1001), groups: dev`
fn told(who: &Whoami) -> String {
    let Whoami { subject, until } = who;
    let groups: Vec<&str> = subject.groups.iter().map(String::as_str).collect();
    let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(", ") };
    let account = subject.account.as_ref();
    let account = account.map_or(String::new(), |account| format!(", by {} {}", account.issuer, account.id));
    let until = until.map_or(String::new(), |until| format!(", until {until:.0}"));
    format!("{} ({} {}{account}), groups: {groups}{until}", subject.name, subject.issuer, subject.id)
}

fn by_device(issuer: Option<String>, socket: &Path, format: Format) -> Result<Whoami> {
    let begun: DeviceLogin = ask(socket, &Ask::LoginDevice { issuer })?;
    print::step(format, &begun, |begun| {
        let DeviceLogin { verification_uri, verification_uri_complete, user_code, expires_at, .. } = begun;
        let complete =
            verification_uri_complete.as_ref().map_or(String::new(), |uri| format!("\nor open    {uri}"));
        format!("Open       {verification_uri}\nand enter  {user_code}{complete}\nbefore     {expires_at:.0}")
    })?;
    loop {
        match ask(socket, &Ask::LoginWait { login: begun.id.clone() })? {
            DevicePoll::Pending(millis) => std::thread::sleep(Duration::from_millis(millis)),
            DevicePoll::Done(who) => return Ok(who),
        }
    }
}

fn by_browser(issuer: Option<String>, socket: &Path, format: Format) -> Result<Whoami> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for the browser")?;
    let port = listener.local_addr()?.port();
    let begun: BrowserLogin = ask(socket, &Ask::LoginBrowser { issuer, port })?;
    print::step(format, &begun, |begun| {
        format!(
            "Open in a browser on this host (or forward port {port} to it, as by ssh -L {port}:127.0.0.1:{port}):\n{}",
            begun.authorization_uri
        )
    })?;
    loop {
        wait(&listener, begun.expires_at)?;
        let (stream, _) = listener.accept().context("cannot listen for the browser")?;
        // Whatever else connects here is none of ours.
        if let Some((code, state)) = came_back(&stream)? {
            let login = begun.id;
            let who = ask(socket, &Ask::LoginFinish { login, code: Code(code), state });
            let words = if who.is_ok() {
                "You are logged in. Close this page."
            } else {
                "The login failed: see the terminal."
            };
            answer(stream, "200 OK", words)?;
            return who;
        }
        answer(stream, "404 Not Found", "There is nothing here.").ok();
    }
}

/// Waits until somebody connects.
fn wait(listener: &TcpListener, until: Timestamp) -> Result<()> {
    let left = until.duration_since(Timestamp::now()).as_millis();
    let left = PollTimeout::try_from(left.clamp(0, i32::MAX.into()))?;
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, left).context("cannot wait for the browser")?;
    ensure!(ready > 0, "the browser did not come back in time: log in again");
    Ok(())
}

/// The code and the state in the browser's request; nothing where it is another request.
fn came_back(stream: &TcpStream) -> Result<Option<(Zeroizing<String>, String)>> {
    stream.set_read_timeout(Some(REQUEST))?;
    let mut line = Zeroizing::new(String::new());
    if BufReader::new(stream.take(LONGEST_LINE)).read_line(&mut line).is_err() {
        return Ok(None);
    }
    let target = line.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let Some(target) = target.filter(|target| target.split('?').next() == Some(CALLBACK)) else {
        return Ok(None);
    };
    let value = |key| query_values(target, key).into_iter().next();
    if let Some(error) = value("error") {
        let description = value("error_description").unwrap_or_default();
        answer(stream.try_clone()?, "200 OK", "The login failed: see the terminal.").ok();
        bail!("the identity provider refused: {} {}", error.escape_debug(), description.escape_debug());
    }
    Ok(value("code").map(Zeroizing::new).zip(value("state")))
}

fn answer(mut stream: TcpStream, status: &str, words: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{words}",
        words.len()
    )
}
