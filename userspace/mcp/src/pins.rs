//! Tool definitions as they were first seen, or accepted since. What was agreed to was a tool that describes itself in
//! certain words; a server that changes them afterwards has another tool under the same name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{AnswerFault, Definition, MessageMasker, PinError};

/// Most tools of one server that are kept.
const MOST: usize = 4096;
/// Longest definition, in bytes.
const LONGEST: usize = 256 * 1024;

/// A pinned tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// As it was first seen, or accepted since.
    pub definition: Definition,
    /// As the server described it last, where that differs.
    pub changed: Option<Definition>,
}

/// The definitions of one target's tools. What is in memory is what is in the file.
#[derive(Debug)]
pub struct Pins {
    path: Option<PathBuf>,
    tools: Mutex<BTreeMap<String, Pinned>>,
}

impl Pins {
    /// Opens the file, which need not be there yet; without one, the definitions are kept in memory.
    ///
    /// # Errors
    /// Where the file cannot be read, or is not as it was written.
    pub fn open(path: Option<PathBuf>) -> Result<Self, PinError> {
        let tools = path.as_deref().map(load).transpose()?.unwrap_or_else(BTreeMap::new);
        Ok(Self { path, tools: Mutex::new(tools) })
    }

    /// A tool's pin; none for a tool that no `tools/list` has shown yet.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<Pinned> {
        self.tools().get(name).cloned()
    }

    /// Makes the changed definition with this digest the pinned one, unless it is by now: several calls may have waited.
    ///
    /// # Errors
    /// Where the server shows no such definition by now, or the file cannot be written.
    pub fn accept(&self, name: &str, digest: &[u8; 32]) -> Result<(), PinError> {
        let mut tools = self.tools();
        if tools
            .get(name)
            .is_some_and(|known| known.changed.is_none() && known.definition.digest() == *digest)
        {
            return Ok(());
        }
        let changed = tools.get(name).and_then(|pinned| pinned.changed.clone());
        let definition = changed
            .filter(|changed| changed.digest() == *digest)
            .ok_or_else(|| PinError::Unknown(name.to_owned()))?;
        let mut next = tools.clone();
        next.insert(name.to_owned(), Pinned { definition, changed: None });
        self.keep(&mut tools, next)
    }

    /// Compares what the server shows with what is pinned; pins what is new, as `masker` leaves it. Returns the pins, in
    /// the same order.
    ///
    /// # Errors
    /// Where that is more than is kept, cannot be masked, or the file cannot be written.
    pub(crate) fn see(
        &self,
        shown: &[Definition],
        masker: &MessageMasker,
    ) -> Result<Vec<Pinned>, AnswerFault> {
        if let Some(long) = shown.iter().find(|definition| definition.text().len() > LONGEST) {
            let what = format!("the tool {} in more than {LONGEST} bytes", crate::fault::quoted(long.name()));
            return Err(PinError::Full(what).into());
        }
        let mut tools = self.tools();
        let mut next = tools.clone();
        let mut seen = Vec::with_capacity(shown.len());
        for definition in shown {
            let pinned = match next.entry(definition.name().to_owned()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert(Pinned { definition: definition.masked(masker)?, changed: None })
                }
            };
            if pinned.definition == *definition {
                pinned.changed = None;
            } else if pinned.changed.as_ref() != Some(definition) {
                pinned.changed = Some(definition.masked(masker)?);
            }
            seen.push(pinned.clone());
        }
        if next.len() > MOST {
            return Err(PinError::Full(format!("more than {MOST} tools")).into());
        }
        if next != *tools {
            self.keep(&mut tools, next)?;
        }
        Ok(seen)
    }

    fn keep(
        &self,
        tools: &mut BTreeMap<String, Pinned>,
        next: BTreeMap<String, Pinned>,
    ) -> Result<(), PinError> {
        if let Some(path) = &self.path {
            let failed = |source| PinError::Io { action: "write", path: path.clone(), source };
            save(path, &next).map_err(failed)?;
        }
        *tools = next;
        Ok(())
    }

    /// A thread that panicked has changed nothing: the map is replaced whole.
    fn tools(&self) -> MutexGuard<'_, BTreeMap<String, Pinned>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    tools: Vec<KeptTool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTool {
    definition: KeptText,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<KeptText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptText {
    /// JSON in a string, so that it stays as the server wrote it; masked.
    text: String,
    /// Of what the server sent.
    #[serde(with = "hexadecimal")]
    digest: [u8; 32],
}

mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let byte =
            |at: usize| text.get(2 * at..2 * at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let digest = bytes.filter(|_| text.len() == 64).and_then(|bytes| bytes.try_into().ok());
        digest.ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

fn load(path: &Path) -> Result<BTreeMap<String, Pinned>, PinError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(PinError::Io { action: "read", path: path.to_owned(), source }),
    };
    let content = |source| PinError::Content { path: path.to_owned(), source };
    let read = |KeptText { text, digest }: KeptText| {
        Definition::kept(&text, digest).map_err(|error| content(serde::de::Error::custom(error.to_string())))
    };
    let Kept { tools } = serde_json::from_slice(&text).map_err(content)?;
    let pinned = |tool: KeptTool| {
        let definition = read(tool.definition)?;
        let changed = tool.changed.map(read).transpose()?;
        Ok((definition.name().to_owned(), Pinned { definition, changed }))
    };
    tools.into_iter().map(pinned).collect()
}

/// Written aside and renamed, so that a crash leaves the old file or the new one.
fn save(path: &Path, tools: &BTreeMap<String, Pinned>) -> io::Result<()> {
    let text = |of: &Definition| KeptText { text: of.text().to_owned(), digest: of.digest() };
    let kept = |pinned: &Pinned| KeptTool {
        definition: text(&pinned.definition),
        changed: pinned.changed.as_ref().map(text),
    };
    let text = serde_json::to_vec_pretty(&Kept { tools: tools.values().map(kept).collect() })?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(aside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::slice::from_ref;

    use super::*;

    fn tool(name: &str, description: &str) -> Definition {
        Definition::read(&format!(r#"{{"name":"{name}","description":"{description}"}}"#)).unwrap()
    }

    #[test]
    fn nothing_secret_is_kept() {
        let key = portcullis_mask::MaskKey::from_bytes([7; 32]);
        let masker =
            MessageMasker::new(&portcullis_mask::Profile::default(), &key, &crate::BlobPolicy::default());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tools.json");
        let pins = Pins::open(Some(path.clone())).unwrap();
        let secret = |value: &str| tool("add", &format!("Log in with db_password={value}."));
        let (first, second) = (secret("Tr0ub4dor&3xyz"), secret("c0rrect-h0rse&9battery"));
        pins.see(from_ref(&first), &masker).unwrap();
        pins.see(from_ref(&second), &masker).unwrap();
        let pinned = Pins::open(Some(path.clone())).unwrap().tool("add").unwrap();
        assert_eq!(pinned, Pinned { definition: first, changed: Some(second) }, "known by their digests");
        let shown = pinned.definition.diff(&pinned.changed.unwrap());
        assert!(shown.contains("db_password="), "{shown}");
        for kept in [fs::read_to_string(&path).unwrap(), shown] {
            assert!(!kept.contains("Tr0ub4dor") && !kept.contains("c0rrect"), "{kept}");
        }
    }

    #[test]
    fn the_first_definition_stays_until_the_very_other_one_is_accepted() {
        let pins = Pins::open(None).unwrap();
        assert_eq!(pins.tool("add"), None);
        let (first, second, third) = (tool("add", "Adds."), tool("add", "Adds!"), tool("add", "Sends."));
        pins.see(from_ref(&first), &MessageMasker::unmasked()).unwrap();
        let seen = pins.see(&[second.clone(), tool("other", "")], &MessageMasker::unmasked()).unwrap();
        assert_eq!(seen[0], Pinned { definition: first.clone(), changed: Some(second.clone()) });
        assert_eq!(pins.tool("add"), Some(seen[0].clone()));

        pins.see(from_ref(&third), &MessageMasker::unmasked()).unwrap();
        for digest in [second.digest(), first.digest(), [0; 32]] {
            assert!(matches!(pins.accept("add", &digest), Err(PinError::Unknown(_))));
        }
        assert!(matches!(pins.accept("unknown", &third.digest()), Err(PinError::Unknown(_))));
        pins.accept("add", &third.digest()).unwrap();
        assert_eq!(pins.tool("add"), Some(Pinned { definition: third.clone(), changed: None }));
        pins.accept("add", &third.digest()).unwrap();

        pins.see(from_ref(&first), &MessageMasker::unmasked()).unwrap();
        assert_eq!(pins.tool("add").unwrap().changed, Some(first));
        pins.see(&[third], &MessageMasker::unmasked()).unwrap();
        assert_eq!(pins.tool("add").unwrap().changed, None, "it is again what was accepted");
    }

    #[test]
    fn a_tool_that_was_away_is_still_the_one_that_was_pinned() {
        let pins = Pins::open(None).unwrap();
        pins.see(&[tool("add", "Adds.")], &MessageMasker::unmasked()).unwrap();
        pins.see(&[], &MessageMasker::unmasked()).unwrap();
        assert!(pins.see(&[tool("add", "Sends.")], &MessageMasker::unmasked()).unwrap()[0].changed.is_some());
    }

    #[test]
    fn definitions_outlive_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pins.json");
        let open = || Pins::open(Some(path.clone())).unwrap();
        let spaced = Definition::read("{ \"z\": 1, \"name\": \"add\" }").unwrap();
        open().see(&[spaced.clone(), tool("é\\u0000", "")], &MessageMasker::unmasked()).unwrap();
        open().see(&[tool("add", "Sends.")], &MessageMasker::unmasked()).unwrap();
        let pinned = open().tool("add").unwrap();
        assert_eq!(pinned, Pinned { definition: spaced, changed: Some(tool("add", "Sends.")) });
        open().accept("add", &pinned.changed.unwrap().digest()).unwrap();
        assert_eq!(open().tool("add"), Some(Pinned { definition: tool("add", "Sends."), changed: None }));
        assert!(open().tool("é\0").is_some());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pins.json");
        for text in ["", "{}", r#"{"tools":[{"definition":"{}"}]}"#, r#"{"tools":[],"more":1}"#] {
            fs::write(&path, text).unwrap();
            let error = Pins::open(Some(path.clone())).unwrap_err().to_string();
            assert!(error.contains("pins.json"), "{text}: {error}");
        }
        let nowhere = directory.path().join("gone/pins.json");
        let pins = Pins::open(Some(nowhere)).unwrap();
        let error = pins.see(&[tool("add", "")], &MessageMasker::unmasked()).unwrap_err();
        assert!(error.to_string().contains("cannot write the pinned tool definitions"), "{error}");
        assert_eq!(pins.tool("add"), None, "what is not kept is not known");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pins = Pins::open(None).unwrap();
        let many: Vec<_> = (0..=MOST).map(|n| tool(&n.to_string(), "")).collect();
        assert!(matches!(
            pins.see(&many, &MessageMasker::unmasked()),
            Err(AnswerFault::Pins(PinError::Full(_)))
        ));
        assert_eq!(pins.tool("0"), None);
        assert!(matches!(
            pins.see(&[tool("long", &"x".repeat(LONGEST))], &MessageMasker::unmasked()),
            Err(AnswerFault::Pins(PinError::Full(_)))
        ));
        pins.see(&many[1..], &MessageMasker::unmasked()).unwrap();
    }
}
