//! `cargo xtask build`: the kernel programs, then the binaries that embed them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::toolchain::{self, Toolchain};
use crate::{step, workspace};

/// The target that the kernel programs are compiled for.
const TRIPLE: &str = "bpfel-unknown-none";

/// Compile the kernel programs and everything that embeds them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Optimise the binaries.
    #[arg(long)]
    release: bool,
    /// Compile the kernel programs only.
    #[arg(long)]
    gate: bool,
}

/// What a build leaves.
#[derive(Debug)]
pub(crate) struct Built {
    /// The product.
    pub(crate) portcullis: PathBuf,
    /// The simulated API server.
    pub(crate) simcluster: PathBuf,
    /// The folder that both are in.
    pub(crate) dir: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.gate {
        return gate();
    }
    let Built { portcullis, simcluster, .. } = ensure_built(args.release)?;
    step::note(&portcullis.display().to_string());
    step::note(&simcluster.display().to_string());
    Ok(())
}

/// Builds what is not up to date, for this and for other verbs.
pub(crate) fn ensure_built(release: bool) -> Result<Built> {
    gate()?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args([
        "build",
        "--package",
        "portcullis",
        "--package",
        "simcluster",
        // What the tests and the demo start beside it.
        "--package",
        "sts",
        "--package",
        "idp",
    ]);
    if release {
        cargo.arg("--release");
    }
    step::openly("Compile the binaries", &mut cargo)?;
    let dir = workspace::target_dir().join(if release { "release" } else { "debug" });
    Ok(Built { portcullis: dir.join("portcullis"), simcluster: dir.join("simcluster"), dir })
}

/// Compiles the kernel programs to where the build script of portcullis-intercept looks for them: a target
/// directory of their own, so that two compilers do not throw away each other's work.
pub(crate) fn gate() -> Result<()> {
    let Toolchain { rustc, cargo, linker } = toolchain::find_or_install()?;
    let target_dir = workspace::target_dir().join("gate");
    let linker = format!("-Clinker={}", linker.display());
    let flags = [linker.as_str(), "-Clink-arg=--btf"].join("\x1f");
    let mut build = Command::new(cargo);
    build
        .current_dir(workspace::root().join("ebpf/gate"))
        .args(["build", "--release", "--locked", "--target", TRIPLE, "-Z", "build-std=core"])
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", &target_dir)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    step::quietly("Compile the kernel programs", &mut build)?;
    let object = target_dir.join(TRIPLE).join("release/gate");
    ensure!(object.is_file(), "the kernel programs were compiled, but not to {}", object.display());
    Ok(())
}
