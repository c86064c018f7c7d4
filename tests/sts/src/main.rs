//! `sts`: the strict test STS as a process. It prints one JSON line, `{"url":…,"ca":…}`, and serves until it is ended.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::json;
use sts::{Options, Role, Sts, User};

/// A strict AWS Security Token Service for tests. It guards nothing.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on. Port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Directory for ca.crt.
    #[arg(long)]
    dir: PathBuf,
    /// Further name that it is called by; may be repeated.
    #[arg(long)]
    host: Vec<String>,
    /// Somebody with a key, as ACCESS_KEY:SECRET=ARN; may be repeated.
    #[arg(long, value_parser = user)]
    user: Vec<User>,
    /// ARN of a role that anybody may assume; may be repeated.
    #[arg(long)]
    role: Vec<String>,
    /// External id that the roles demand.
    #[arg(long)]
    external_id: Option<String>,
    /// Session tag that the roles demand; may be repeated.
    #[arg(long)]
    require_tag: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut options = Options { listen: arguments.listen, dir: Some(arguments.dir), ..Options::default() };
    options.hosts.extend(arguments.host);
    options.users = arguments.user;
    let role = |arn| Role {
        external_id: arguments.external_id.clone(),
        tags: arguments.require_tag.clone(),
        ..Role::new(arn)
    };
    options.roles = arguments.role.into_iter().map(role).collect();
    let sts = Sts::start(options).await?;
    announce(&sts);
    tokio::signal::ctrl_c().await.context("SIGINT")
}

/// The one line that whoever started this waits for.
#[allow(clippy::print_stdout)]
fn announce(sts: &Sts) {
    println!("{}", json!({"url": sts.url(), "ca": sts.ca_file()}));
}

fn user(text: &str) -> Result<User, String> {
    let wrong = || "want ACCESS_KEY:SECRET=ARN".to_owned();
    let (key, arn) = text.split_once("=arn:").ok_or_else(wrong)?;
    let (id, secret) = key.split_once(':').ok_or_else(wrong)?;
    Ok(User::new(id, secret, format!("arn:{arn}")))
}
