//! The lists of a server, of which a subject sees what they may call, read or get. The call is decided upon again.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::fault::quoted;
use crate::{About, AnswerFault, Definition, MessageMasker, Pinned, Pins};

/// Whether the subject may call, read or get a thing.
pub type Visible = Arc<dyn Fn(About<'_>) -> bool + Send + Sync>;

/// A list whose entries are filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Tools,
    Resources,
    Templates,
    Prompts,
}

impl List {
    /// All there are.
    pub(crate) const ALL: [List; 4] = [List::Tools, List::Resources, List::Templates, List::Prompts];

    /// The list that a method asks for.
    pub(crate) fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => List::Tools,
            "resources/list" => List::Resources,
            "resources/templates/list" => List::Templates,
            "prompts/list" => List::Prompts,
            _ => return None,
        })
    }

    /// The member of the result that it is.
    fn key(self) -> &'static str {
        match self {
            List::Tools => "tools",
            List::Resources => "resources",
            List::Templates => "resourceTemplates",
            List::Prompts => "prompts",
        }
    }

    /// The member of an entry that names it.
    fn field(self) -> &'static str {
        match self {
            List::Tools | List::Prompts => "name",
            List::Resources => "uri",
            List::Templates => "uriTemplate",
        }
    }

    fn about(self, name: &str) -> About<'_> {
        match self {
            List::Tools => About::Tool(name),
            List::Prompts => About::Prompt(name),
            List::Resources => About::Resource(name),
            // RFC 6570: variables are in braces.
            List::Templates => About::ResourcesUnder(name.find('{').map_or(name, |brace| &name[..brace])),
        }
    }
}

/// What is left of a list.
pub(crate) struct Left {
    /// The list as it goes on, if it is another.
    pub(crate) text: Option<String>,
    /// How many entries were left out.
    pub(crate) left_out: u64,
}

/// Leaves out of a list what is not visible, and shows tools as they are pinned. `raw` is the member of the result; what
/// is kept of it goes through `keeper`.
///
/// # Errors
/// Where it is no list, or an entry of it has no name; where tools cannot be compared with those before.
pub(crate) fn filter(
    list: List,
    raw: Option<&RawValue>,
    visible: &Visible,
    pins: &Pins,
    keeper: &MessageMasker,
) -> Result<Left, AnswerFault> {
    let shape = |what: String| AnswerFault::Shape(format!("{} {what}", list.key()));
    let raw = raw.ok_or_else(|| shape("is missing from the list that was asked for".to_owned()))?;
    let entries: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|error| shape(format!("is no list: {error}")))?;
    let pins = match list {
        List::Tools => pinned(&entries, pins, keeper)?,
        _ => Vec::new(),
    };
    let mut shown: Vec<&str> = Vec::with_capacity(entries.len());
    let mut changed = false;
    for (n, entry) in entries.iter().enumerate() {
        let members: Value = serde_json::from_str(entry.get()).map_err(AnswerFault::Json)?;
        let name = members.get(list.field()).and_then(Value::as_str);
        let name = name.ok_or_else(|| shape(format!("has an entry without {}", list.field())))?;
        if !visible(list.about(name)) {
            continue;
        }
        let pinned = pins.get(n).filter(|pinned| pinned.changed.is_some());
        changed |= pinned.is_some();
        shown.push(pinned.map_or(entry.get(), |pinned| pinned.definition.text()));
    }
    let left_out = entries.len() - shown.len();
    let text = (changed || left_out > 0).then(|| format!("[{}]", shown.join(",")));
    Ok(Left { text, left_out: left_out as u64 })
}

/// The pins of the tools in a list, whoever may see them: they are the server's, not the subject's.
fn pinned(entries: &[&RawValue], pins: &Pins, keeper: &MessageMasker) -> Result<Vec<Pinned>, AnswerFault> {
    let definitions =
        entries.iter().map(|entry| Definition::read(entry.get())).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = definitions.iter().map(Definition::name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(AnswerFault::Shape(format!("the tool {} is listed twice", quoted(twice[0]))));
    }
    pins.see(&definitions, keeper)
}
