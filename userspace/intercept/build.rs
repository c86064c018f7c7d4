//! Finds the kernel programs that `cargo xtask build` compiled, to embed them.

use std::env;
use std::path::PathBuf;

/// Where `cargo xtask build` leaves the object, below the target directory.
const OBJECT: &str = "gate/bpfel-unknown-none/release/gate";

fn main() {
    println!("cargo::rerun-if-env-changed=PORTCULLIS_GATE_OBJECT");
    let object = env::var_os("PORTCULLIS_GATE_OBJECT").map(PathBuf::from).or_else(default_object);
    match object {
        Some(path) if path.is_file() => {
            println!("cargo::rerun-if-changed={}", path.display());
            println!("cargo::rustc-env=PORTCULLIS_GATE_OBJECT={}", path.display());
        }
        Some(path) => fail(&format!("the kernel programs are not at {}", path.display())),
        None => fail("the target directory cannot be found from OUT_DIR"),
    }
}

/// cargo marks the top of its target directory with CACHEDIR.TAG.
fn default_object() -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    let target = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file())?;
    Some(target.join(OBJECT))
}

fn fail(why: &str) {
    println!(
        "cargo::error={why}; run `cargo xtask build` (see CONTRIBUTING.md), or set PORTCULLIS_GATE_OBJECT"
    );
}
