//! Debian's nginx between two TLS connections, set up as one would who wants it fast: no log, connections kept on both
//! sides, buffers that hold a list, no temporary files. Clients may speak h2 to it; upstream it knows HTTP/1.1 alone.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Running, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::step;

const START: Duration = Duration::from_secs(20);

/// Installs nginx where it is missing.
pub(crate) fn ensure_installed() -> Result<()> {
    if version().is_ok() {
        return Ok(());
    }
    step::quietly("Look up packages", Command::new("apt-get").arg("update"))?;
    // Without a service of its own: only the bench's nginx is to run.
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", "nginx-light"]);
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    step::quietly("Install nginx", &mut install)
}

/// `nginx/1.22.1`
pub(crate) fn version() -> Result<String> {
    let shown = Command::new("nginx").arg("-v").output().context("nginx is not installed")?;
    let shown = String::from_utf8_lossy(&shown.stderr);
    Ok(shown.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// A running nginx.
pub(crate) struct Nginx {
    process: Running,
    address: String,
}

impl Nginx {
    /// In front of `upstream`, with the CA and the certificate in `dir`; what is its own is in `dir/NAME`.
    pub(crate) fn start(dir: &Path, name: &str, upstream: &str) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let own = dir.join(name);
        std::fs::create_dir(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let file = own.join("nginx.conf");
        std::fs::write(&file, configuration(dir, &own, &address, upstream))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&own).arg("-c").arg(&file).stdin(Stdio::null());
        let process = Running::start(&mut command)?;
        wait_for("nginx to listen", START, || std::net::TcpStream::connect(&address).ok())
            .with_context(|| process.stderr())?;
        Ok(Self { process, address })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The processes that do the work.
    pub(crate) fn workers(&self) -> Result<Vec<u32>> {
        let master = self.process.pid();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        children.split_whitespace().map(|pid| pid.parse().context("a child of nginx")).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A master that is killed leaves its workers behind; told to end, it ends them first.
        if let Ok(master) = i32::try_from(self.process.pid())
            && kill(Pid::from_raw(master), Signal::SIGTERM).is_ok()
        {
            self.process.wait(START).ok();
        }
    }
}

fn configuration(dir: &Path, own: &Path, address: &str, upstream: &str) -> String {
    let (dir, own) = (dir.display(), own.display());
    format!(
        r#"daemon off;
worker_processes auto;
worker_rlimit_nofile 8192;
pid {own}/nginx.pid;
error_log {own}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    tcp_nodelay on;
    client_body_temp_path {own}/nginx-body;
    proxy_temp_path {own}/nginx-proxy;
    fastcgi_temp_path {own}/nginx-fastcgi;
    uwsgi_temp_path {own}/nginx-uwsgi;
    scgi_temp_path {own}/nginx-scgi;
    keepalive_requests 1000000000;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream api {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} ssl http2;
        ssl_certificate {dir}/server.crt;
        ssl_certificate_key {dir}/server.key;
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass https://api;
            proxy_http_version 1.1;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host {upstream};
            proxy_set_header Authorization "Bearer token-of-the-bench";
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {dir}/ca.crt;
            proxy_ssl_name bench.test;
            proxy_buffer_size 16k;
            proxy_buffers 64 16k;
            proxy_busy_buffers_size 256k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"#
    )
}
