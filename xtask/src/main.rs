//! The project's chores, one module a verb: `cargo xtask <verb>`. Each does all its own set-up.

mod apt;
mod bench;
mod build;
mod demo;
mod fuzz;
mod lint;
mod machine;
mod step;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Portcullis.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::Args),
    /// Fuzz the parsers on nightly
    Fuzz(fuzz::Args),
    Build(build::Args),
    Demo(demo::DemoArgs),
    /// Run every test: units, properties, the real gate, every kubectl
    Test(test::Args),
    /// Check format, clippy and dependency policy
    Lint,
}

fn main() -> ExitCode {
    let result = match Args::parse().verb {
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Lint => lint::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            step::failure(&error);
            ExitCode::FAILURE
        }
    }
}
