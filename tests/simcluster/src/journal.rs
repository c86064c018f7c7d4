//! The log of what reached the server, one JSON line a request, for tests to assert on. A test tool: it holds every
//! header and body as they came, credentials included.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::auth::User;

/// The log.
pub(crate) struct Journal {
    file: Option<Mutex<File>>,
    next: AtomicU64,
}

/// One request, as the log shows it.
pub(crate) struct Entry<'a> {
    /// Method.
    pub method: &'a str,
    /// Target as the client sent it.
    pub target: &'a str,
    /// HTTP version.
    pub version: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The request's id in the audit log.
    pub audit_id: &'a str,
    /// Who made it, once authenticated.
    pub user: Option<&'a User>,
    /// Whom they act as.
    pub impersonated: Option<&'a User>,
    /// The whole body.
    pub body: &'a [u8],
}

impl Journal {
    /// A log that is appended to that file, or goes nowhere.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Journal> {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        Ok(Journal { file: path.map(open).transpose()?.map(Mutex::new), next: AtomicU64::new(1) })
    }

    /// Writes down a request before it is answered; returns its number.
    pub(crate) fn request(&self, entry: &Entry<'_>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if self.file.is_none() {
            return id;
        }
        let headers: Vec<[String; 2]> = entry
            .headers
            .iter()
            .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
            .collect();
        let mut line = json!({
            "id": id, "method": entry.method, "target": entry.target, "version": entry.version, "headers": headers,
            "auditId": entry.audit_id, "user": entry.user, "impersonated": entry.impersonated,
        });
        if !entry.body.is_empty() {
            line["body"] = json!(BASE64.encode(entry.body));
        }
        self.write(&line);
        id
    }

    /// Writes down what arrived on stdin of the stream that request `id` opened.
    pub(crate) fn stdin(&self, id: u64, bytes: &[u8]) {
        self.write(&json!({"id": id, "stdin": BASE64.encode(bytes)}));
    }

    fn write(&self, line: &Value) {
        let Some(file) = &self.file else { return };
        let mut file = file.lock().expect("no holder of the journal's lock panics");
        // One write a line, so that a reader never sees half of one.
        let written = file.write_all(format!("{line}\n").as_bytes());
        if let Err(error) = written {
            tracing::error!("journal: {error}");
        }
    }
}
