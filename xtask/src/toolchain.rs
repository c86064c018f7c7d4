//! Finds, or installs, what compiles eBPF: a rustc with its library's source, and a bpf-linker that speaks the
//! same LLVM.
//!
//! The host's default toolchain stays as it is. A rustup nightly with rust-src is taken where there is one; on
//! Debian and Ubuntu the packages rustc-web and rust-web-src serve, with `RUSTC_BOOTSTRAP=1`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::{apt, step, workspace};

/// The linker's version; it goes with the LLVM version, and both with aya's.
const LINKER: &str = "0.13.0";
/// The LLVM that rustc and the linker must share.
const LLVM: &str = "22";
/// What Debian and Ubuntu have.
const PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"];

/// Compiles eBPF.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// `rustc`, with its library's source.
    pub(crate) rustc: PathBuf,
    /// The cargo that goes with it.
    pub(crate) cargo: PathBuf,
    /// `bpf-linker`.
    pub(crate) linker: PathBuf,
}

/// Finds the toolchain, and installs what is missing where that can be done.
pub(crate) fn find_or_install() -> Result<Toolchain> {
    if rustc().is_none() || (linker().is_none() && !llvm_config().exists()) {
        install_packages()?;
    }
    let (rustc, cargo) = rustc().with_context(instructions)?;
    if linker().is_none() {
        install_linker()?;
    }
    let linker = linker().with_context(instructions)?;
    Ok(Toolchain { rustc, cargo, linker })
}

/// The first rustc that can build core for eBPF, and its cargo.
fn rustc() -> Option<(PathBuf, PathBuf)> {
    let nightly = output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]));
    let system = PathBuf::from("/usr/bin/rustc");
    nightly.map(PathBuf::from).into_iter().chain([system]).find_map(|rustc| {
        let about = output(Command::new(&rustc).arg("-vV"))?;
        let llvm = about.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        let sysroot = PathBuf::from(output(Command::new(&rustc).args(["--print", "sysroot"]))?);
        let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock");
        let fits = llvm.split('.').next() == Some(LLVM) && source.exists();
        let own = sysroot.join("bin/cargo");
        let cargo = if own.exists() { own } else { workspace::cargo().into() };
        fits.then_some((rustc, cargo))
    })
}

/// A bpf-linker of the right version, on the path or where cargo installs.
fn linker() -> Option<PathBuf> {
    let installed = workspace::cargo_bin().map(|dir| dir.join("bpf-linker"));
    [Some(PathBuf::from("bpf-linker")), installed].into_iter().flatten().find(|linker| {
        let version = output(Command::new(linker).arg("--version"));
        version.is_some_and(|text| text.trim() == format!("bpf-linker {LINKER}"))
    })
}

fn install_packages() -> Result<()> {
    apt::install(&PACKAGES).context("there is no toolchain for eBPF").map_err(|error| by_hand(&error))
}

fn install_linker() -> Result<()> {
    let mut install = Command::new(workspace::cargo());
    install
        .args(["install", "bpf-linker", "--version", LINKER, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM}")])
        .current_dir("/") // no configuration of this workspace
        .env_remove("CARGO_TARGET_DIR")
        .env("LLVM_PREFIX", llvm_prefix());
    step::quietly(&format!("Install bpf-linker {LINKER} (some minutes)"), &mut install)
        .map_err(|error| by_hand(&error))
}

fn llvm_prefix() -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{LLVM}"))
}

fn llvm_config() -> PathBuf {
    llvm_prefix().join("bin/llvm-config")
}

/// Adds to a failed installation what to do instead.
fn by_hand(error: &anyhow::Error) -> anyhow::Error {
    anyhow!("{error:#}\n{}", instructions())
}

fn instructions() -> String {
    format!(
        "to build the kernel programs, run one of:\n\
         \n\
         Debian and Ubuntu, as root (`cargo xtask build` does this by itself when it is run as root):\n    \
         apt-get install -y {packages}\n    \
         {linker}\n\
         \n\
         elsewhere, with LLVM {LLVM} and its headers installed:\n    \
         rustup toolchain install nightly --component rust-src   # one whose `rustc -vV` says LLVM {LLVM}\n    \
         {linker}",
        packages = PACKAGES.join(" "),
        linker = format_args!(
            "LLVM_PREFIX=/usr/lib/llvm-{LLVM} cargo install bpf-linker --version {LINKER} --locked \
             --no-default-features --features llvm-{LLVM}"
        ),
    )
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
