//! Requests to MCP servers in the terms of roles: a method, and the tool, resource or prompt that it is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::operation::Operation;
use crate::pattern::Pattern;
use crate::rule::{filled, matches, present};

/// It is about a prompt or a resource, which its method does not say.
const COMPLETE: &str = "completion/complete";

/// What kind of thing a request is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum McpItem {
    /// No single thing: `tools/list`, `ping`.
    #[default]
    None,
    /// A tool, by name.
    Tool,
    /// A resource, by URI.
    Resource,
    /// A prompt, by name.
    Prompt,
}

impl McpItem {
    /// What the requests of `method` are about, as far as the method alone says it.
    #[must_use]
    pub fn of_method(method: &str) -> Self {
        match method {
            "tools/call" => McpItem::Tool,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => McpItem::Resource,
            "prompts/get" => McpItem::Prompt,
            _ => McpItem::None,
        }
    }

    /// The word for it; empty for none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            McpItem::None => "",
            McpItem::Tool => "tool",
            McpItem::Resource => "resource",
            McpItem::Prompt => "prompt",
        }
    }

    /// The methods that are about such things.
    fn methods(self) -> &'static [&'static str] {
        match self {
            McpItem::None => &[],
            McpItem::Tool => &["tools/call"],
            McpItem::Resource => {
                &["resources/read", "resources/subscribe", "resources/unsubscribe", COMPLETE]
            }
            McpItem::Prompt => &["prompts/get", COMPLETE],
        }
    }
}

impl Operation {
    /// An MCP request in words: the item's name, or nothing for methods that are about no single thing. For completion it is
    /// `prompt:NAME` or `resource:URI`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn mcp(method: &str, name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        if method.is_empty() || !method.chars().all(plain) {
            return Err(format!(
                "{method:?} is no method of MCP; write tools/call, resources/read, tools/list…"
            ));
        }
        let (item, name) = match (method, name.split_once(':')) {
            (COMPLETE, Some(("prompt", name))) => (McpItem::Prompt, name),
            (COMPLETE, Some(("resource", uri))) => (McpItem::Resource, uri),
            (COMPLETE, _) => return Err(format!("{method} is about one of prompt:NAME and resource:URI")),
            _ => (McpItem::of_method(method), name),
        };
        match (item, name) {
            (McpItem::None, "") => {}
            (McpItem::None, _) => return Err(format!("{method} is about nothing that has a name")),
            (item, "") => return Err(format!("{method} is about one {}: give its name", item.as_str())),
            _ => {}
        }
        Ok(Operation::Mcp { method: method.to_owned(), item, name: name.to_owned() })
    }
}

/// `call tool "search"`, `read resource "file:///etc/motd"`, `request tools/list`.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, method: &str, item: McpItem, name: &str) -> fmt::Result {
    let verb = match method {
        "tools/call" => "call",
        "resources/read" => "read",
        "resources/subscribe" => "subscribe to",
        "resources/unsubscribe" => "unsubscribe from",
        "prompts/get" => "get",
        COMPLETE => "complete arguments of",
        _ => "",
    };
    match (verb, item.as_str()) {
        (_, "") => write!(f, "request {}", method.escape_debug()),
        ("", item) => write!(f, "request {} of {item} {name:?}", method.escape_debug()),
        (verb, item) => write!(f, "{verb} {item} {name:?}"),
    }
}

/// Which MCP requests a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawMcp")]
pub(crate) struct McpScope {
    methods: Vec<Pattern>,
    tools: Vec<Pattern>,
    resources: Vec<Pattern>,
    prompts: Vec<Pattern>,
}

impl McpScope {
    /// Whether it is about such a request. A scope that names items is about requests for those items alone.
    pub(crate) fn includes(&self, method: &str, item: McpItem, name: &str) -> bool {
        let items = match item {
            McpItem::None => &[],
            McpItem::Tool => &self.tools[..],
            McpItem::Resource => &self.resources,
            McpItem::Prompt => &self.prompts,
        };
        matches(&self.methods, method) && (!self.about_items() || matches(items, name))
    }

    /// Whether it is about reading some resource whose URI begins with `prefix`.
    pub(crate) fn reads_some(&self, prefix: &str) -> bool {
        let could = |pattern: &Pattern| pattern.matches(prefix) || pattern.as_str().starts_with(prefix);
        self.reads(could)
    }

    /// Whether it is about reading every resource whose URI begins with `prefix`.
    pub(crate) fn reads_all(&self, prefix: &str) -> bool {
        self.reads(|pattern| matches!(pattern, Pattern::Prefix(_)) && pattern.matches(prefix))
    }

    fn reads(&self, include: impl Fn(&Pattern) -> bool) -> bool {
        matches(&self.methods, "resources/read")
            && (!self.about_items() || self.resources.iter().any(include))
    }

    fn about_items(&self) -> bool {
        !(self.tools.is_empty() && self.resources.is_empty() && self.prompts.is_empty())
    }

    /// The methods that it names, those with a pattern aside.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().filter(|method| matches!(method, Pattern::Exact(_))).map(Pattern::as_str)
    }

    /// How much it may include; only comparisons mean anything.
    pub(crate) fn breadth(&self) -> u64 {
        let sum = |patterns: &[Pattern]| patterns.iter().map(Pattern::breadth).sum::<u64>();
        let items = sum(&self.tools) + sum(&self.resources) + sum(&self.prompts);
        sum(&self.methods) * if items == 0 { 1000 } else { items }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMcp {
    methods: Vec<Pattern>,
    #[serde(default, deserialize_with = "present")]
    tools: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    resources: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    prompts: Option<Vec<Pattern>>,
}

impl TryFrom<RawMcp> for McpScope {
    type Error = String;

    fn try_from(raw: RawMcp) -> Result<Self, String> {
        let scope = Self {
            methods: filled("methods", Some(raw.methods))?,
            tools: filled("tools", raw.tools)?,
            resources: filled("resources", raw.resources)?,
            prompts: filled("prompts", raw.prompts)?,
        };
        let lists = [
            (McpItem::Tool, &scope.tools, "tools"),
            (McpItem::Resource, &scope.resources, "resources"),
            (McpItem::Prompt, &scope.prompts, "prompts"),
        ];
        for (item, patterns, field) in lists {
            let reached = || item.methods().iter().any(|method| matches(&scope.methods, method));
            if !patterns.is_empty() && !reached() {
                let methods = item.methods().join(", ");
                return Err(format!("{field}: none of the methods is about one; those are {methods}"));
            }
        }
        Ok(scope)
    }
}

#[cfg(test)]
mod tests {
    use crate::Operation;
    use crate::operation::Asked;
    use crate::rule::Fit;
    use crate::testing::{op, role};

    #[test]
    fn a_scope_that_names_items_is_about_those_alone() {
        let table = [
            ("methods: [tools/call]", "mcp tools/call search", true),
            ("methods: [tools/call]", "mcp tools/list", false),
            ("methods: [tools/call], tools: ['read_*', search]", "mcp tools/call read_file", true),
            ("methods: [tools/call], tools: ['read_*', search]", "mcp tools/call search", true),
            ("methods: [tools/call], tools: ['read_*', search]", "mcp tools/call search_all", false),
            ("methods: ['*'], tools: ['read_*']", "mcp tools/call read_file", true),
            ("methods: ['*'], tools: ['read_*']", "mcp prompts/get read_me", false),
            ("methods: ['*'], tools: ['read_*']", "mcp tools/list", false),
            ("methods: ['*']", "mcp ping", true),
            (
                "methods: ['resources/*'], resources: ['file:///srv/*']",
                "mcp resources/read file:///srv/a",
                true,
            ),
            (
                "methods: ['resources/*'], resources: ['file:///srv/*']",
                "mcp resources/read file:///etc/a",
                false,
            ),
            // Names are told apart by case, as servers do.
            ("methods: [tools/call], tools: [search]", "mcp tools/call Search", false),
            ("methods: [tools/call], tools: ['read_*']", "mcp tools/call READ_file", false),
            ("methods: [tools/list]", "mcp Tools/list", false),
            (
                "methods: [completion/complete], prompts: [greet]",
                "mcp completion/complete prompt:greet",
                true,
            ),
            (
                "methods: [completion/complete], prompts: [greet]",
                "mcp completion/complete resource:greet",
                false,
            ),
            ("methods: ['*'], resources: ['file:*']", "mcp completion/complete resource:file:///{a}", true),
            ("methods: [resources/subscribe], resources: ['x:*']", "mcp resources/subscribe x:y", true),
            ("methods: [resources/subscribe], resources: ['x:*']", "mcp resources/read x:y", false),
            ("methods: [subscriptions/listen]", "mcp subscriptions/listen", true),
            ("methods: ['*'], resources: ['x:*']", "mcp subscriptions/listen", false),
            ("methods: ['*']", "get pods web -n demo", false),
            ("methods: ['*']", "get /metrics", false),
        ];
        for (scope, operation, included) in table {
            let allow = &role("r", &[&format!("mcp: {{{scope}}}")]).rules[0];
            assert_eq!(allow.fit(&Asked::of(&op(operation))) == Fit::Yes, included, "{scope} / {operation}");
            let deny =
                &role("r", &["mcp: {methods: [ping]}", &format!("action: deny, mcp: {{{scope}}}")]).rules[1];
            assert_eq!(deny.touches(&Asked::of(&op(operation))), included, "{scope} / {operation}");
        }
        let everything = &role("r", &["apiGroups: ['*'], resources: ['*'], verbs: ['*']"]).rules[0];
        assert_eq!(everything.fit(&Asked::of(&op("mcp tools/call search"))), Fit::No);
    }

    #[test]
    fn mcp_requests_are_written_in_words() {
        for (text, read) in [
            ("mcp tools/call search", "call tool \"search\""),
            ("mcp resources/read file:///a", "read resource \"file:///a\""),
            ("mcp prompts/get greet", "get prompt \"greet\""),
            ("mcp resources/subscribe x:y", "subscribe to resource \"x:y\""),
            ("mcp completion/complete prompt:greet", "complete arguments of prompt \"greet\""),
            ("mcp completion/complete resource:x:{y}", "complete arguments of resource \"x:{y}\""),
            ("mcp tools/list", "request tools/list"),
            ("mcp session/stream", "request session/stream"),
        ] {
            assert_eq!(text.parse::<Operation>().unwrap().to_string(), read);
        }
        for (text, why) in [
            ("mcp tools/call", "about one tool: give its name"),
            ("mcp tools/list x", "is about nothing that has a name"),
            ("mcp tools/call x -n demo", "has no namespace"),
            ("mcp completion/complete", "is about one of prompt:NAME and resource:URI"),
            ("mcp completion/complete greet", "is about one of prompt:NAME and resource:URI"),
            ("mcp completion/complete prompt:", "is about one prompt: give its name"),
            ("mcp tools!", "is no method of MCP"),
        ] {
            let error = text.parse::<Operation>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
