//! Request lines, `METHOD target`: what is not refused for its spelling can be read, and has only one reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_kube::{ClassifyError, ambiguity, classify};

fuzz_target!(|line: &str| {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let info = classify(method, target);
    if ambiguity(method, target).is_some() {
        return;
    }
    let info = match info {
        Ok(info) => info,
        Err(ClassifyError::NoResource(_)) => return,
        Err(error) => panic!("{error}"),
    };
    assert!(!info.verb.is_empty());
    let segments: Vec<&str> = info.path[1..].split('/').collect();
    assert!(!segments.iter().any(|segment| matches!(*segment, "." | "..")));
    if !info.is_proxy() {
        // One decoded segment per spelled one, none empty but for a trailing slash.
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        assert_eq!(segments.len(), path[1..].split('/').count());
        assert!(segments[..segments.len() - 1].iter().all(|segment| !segment.is_empty()));
        assert!(!info.path.contains(['\\', ';', '?', '#', '%', '\0']));
    }
});
