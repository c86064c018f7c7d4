//! What is masked in the messages of an MCP server: JSON-RPC, and in it whatever its tools found.
//!
//! Nobody knows the shape of the latter, so every string and every key is scanned, strings that hold JSON are masked inside,
//! and what is called a secret is masked wherever it stands. What the protocol itself uses stays as it is: whoever sends an id or
//! a cursor back must send what came. Fields as in the schema of MCP, revisions 2024-11-05 to 2026-07-28.

use std::sync::Arc;

use crate::names::Names;
use crate::path::Step;
use crate::placeholder::How;
use crate::policy::Defaults;
use crate::rules::{Mark, What};

use super::defaults::{any_of, field, names, path};

/// What the two sides tell each other's messages apart by, and what is sent back as it came.
const KEPT: [&[&str]; 14] = [
    &["jsonrpc"],
    &["id"],
    &["method"],
    &["result", "nextCursor"],
    &["result", "requestState"],
    &["result", "taskId"],
    &["result", "task", "taskId"],
    &["result", "tasks", "taskId"],
    &["result", "tools", "name"],
    &["result", "prompts", "name"],
    &["params", "progressToken"],
    &["params", "requestId"],
    &["params", "taskId"],
    &["params", "maxTokens"],
];

/// What the protocol itself says in `_meta`, of a result and of the params of a request or notification.
const KEPT_META: [&str; 3] =
    ["progressToken", "io.modelcontextprotocol/subscriptionId", "io.modelcontextprotocol/related-task"];

/// Where the requests stand that a server has of the client: in a message, and in a result that asks for input.
const REQUESTS: [&[&str]; 2] = [&[], &["result", "inputRequests", "*"]];

/// Where names of fields are only spoken of: the schemas of tools' arguments and results, and of forms.
const SCHEMAS: [&[&str]; 5] = [
    &["result", "tools", "inputSchema"],
    &["result", "tools", "outputSchema"],
    &["params", "tools", "inputSchema"],
    &["params", "tools", "outputSchema"],
    &["params", "requestedSchema"],
];

/// What a schema tells of a value that is called a secret.
const EXAMPLES: [&str; 2] = ["default", "examples"];

/// Names with a token in them that count them, or are about them; and those of cursors in the pages of APIs (AWS, Google,
/// Kubernetes, Azure), which a client sends back.
const NO_SECRETS: [&str; 24] = [
    "max*tokens",
    "min*tokens",
    "total*tokens",
    "prompt*tokens",
    "completion*tokens",
    "input*tokens",
    "output*tokens",
    "cached*tokens",
    "*token_count",
    "*tokencount",
    "*token-count",
    "*tokens_used",
    "*tokensused",
    "*tokenizer*",
    "nexttoken",
    "next_token",
    "next-token",
    "nextpagetoken",
    "next_page_token",
    "next-page-token",
    "continuetoken",
    "continue_token",
    "continuationtoken",
    "continuation_token",
];

/// The marks for any message of a server.
pub(super) fn message(defaults: &Defaults) -> Vec<Mark> {
    let names = names(defaults, &[], &NO_SECRETS);
    let secret = What::MaskInside(how(defaults));
    let mark = |steps: Vec<Step>, what| Mark { path: path(steps), what };
    let kept = KEPT.iter().map(|names| fields(names)).chain(
        ["result", "params"]
            .iter()
            .flat_map(|place| KEPT_META.iter().map(|name| fields(&[place, "_meta", name]))),
    );
    let mut marks: Vec<Mark> = kept.map(|steps| mark(steps, What::Keep)).collect();
    for request in REQUESTS {
        let params = || fields(request).into_iter().chain([field("params")]);
        if !request.is_empty() {
            marks.push(mark([fields(request), fields(&["method"])].concat(), What::Keep));
            marks.push(mark(params().chain([field("maxTokens")]).collect(), What::Keep));
        }
        for schema in SCHEMAS.iter().filter(|schema| request.is_empty() || schema[0] == "params") {
            let schema = || [fields(request), fields(schema)].concat();
            let examples = EXAMPLES.map(|example| {
                schema().into_iter().chain([Step::Deep, any_of(&names), field(example)]).collect()
            });
            marks.extend(examples.map(|steps| mark(steps, secret)));
            marks.push(mark(schema(), What::Text));
        }
        if !request.is_empty() {
            // The server calls a request as it likes.
            marks.push(mark(params().chain([Step::Deep, any_of(&names)]).collect(), secret));
            marks.push(mark(fields(request), What::Text));
        }
    }
    // Of extensions, which may be about secrets.
    marks.push(mark(fields(&["result", "capabilities"]), What::Text));
    marks.extend(marks_of_data(&names, secret));
    marks
}

/// The marks for JSON of any shape.
pub(super) fn data(defaults: &Defaults) -> Vec<Mark> {
    marks_of_data(&names(defaults, &[], &NO_SECRETS), What::MaskInside(how(defaults))).into()
}

fn marks_of_data(names: &Arc<Names>, secret: What) -> [Mark; 3] {
    let named = Step::Where("name".into(), Arc::clone(names));
    [
        Mark { path: path([Step::Deep, any_of(names)]), what: secret },
        Mark { path: path([Step::Deep, field("env"), named, field("value")]), what: secret },
        Mark { path: path([Step::Deep, field("*")]), what: What::Text },
    ]
}

/// A field that is gone may be one that a schema asks for.
fn how(defaults: &Defaults) -> How {
    match defaults.how {
        How::Drop => How::Fixed,
        how => how,
    }
}

fn fields(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| field(name)).collect()
}
