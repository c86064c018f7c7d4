//! Conditions (`when:`): a boolean expression in [CEL](https://cel.dev) over what is known of a request.
//!
//! A condition is compiled once, when its role is loaded, and checked then: every name, field, function and type in
//! it is known, and its cost has a bound. What is left to go wrong when it runs is little: a process that nobody
//! attested, a division by zero, a list that is too long. Those are errors, and what an error means is the rule's
//! business: an allow rule does not match then, a deny or review rule does.
//!
//! This is the only module that knows the CEL library. Nothing that a condition can say has an effect.

mod check;
mod json;
mod overload;
mod world;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::check::Checked;
use self::json::Budget;
pub(crate) use self::world::ARGUMENTS;
use self::world::{Matcher, Scope, World};
use crate::Ask;
use crate::operation::{Asked, Query};
use portcullis_identity::Subject;

/// The longest condition, in bytes.
const MAX_SOURCE: usize = 4096;
/// The longest error that a condition reports, in characters.
const MAX_ERROR: usize = 200;

/// The stack on which conditions are parsed, in bytes; only what is used of it is ever taken.
const PARSER_STACK: usize = 64 * 1024 * 1024;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled condition.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    source: String,
    about: About,
    expression: IdedExpr,
    matchers: Vec<Matcher>,
    reads: BTreeSet<String>,
}

/// What a condition is about: that decides which names it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A request to a target: `subject`, `request`, `process`, `time`.
    Request,
    /// Someone who asks for a role: `subject`, `request` (role, target, duration), `time`.
    Asking,
}

impl Condition {
    /// Compiles and checks `source`.
    ///
    /// # Errors
    /// What is wrong, behind line and column within the condition.
    pub(crate) fn compile(source: &str, about: About) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("the condition has {} bytes; at most {MAX_SOURCE} are read", source.len()));
        }
        // The parser goes deep into the stack for a few brackets, until its own limit of nesting stops it: more than
        // the caller's thread may have.
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(PARSER_STACK);
            let parsing = thread.spawn_scoped(scope, || Self::parse(source, about));
            let parsing = parsing.map_err(|error| format!("no thread to read the condition in: {error}"))?;
            parsing.join().unwrap_or_else(|_| Err("the parser gave up on this condition".to_owned()))
        });
        Ok(Self(Arc::new(compiled?)))
    }

    fn parse(source: &str, about: About) -> Result<Compiled, String> {
        let parsed = ENV.parser().parse_with_source_info(source).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(
                || "this is no CEL expression".to_owned(),
                |error| {
                    let deep = error.msg.contains("Recursion limit");
                    let message = if deep { check::TOO_DEEP } else { &error.msg };
                    one_line(&format!("{}:{}: {message}", error.pos.0, error.pos.1))
                },
            )
        });
        let (mut expression, places) = parsed?;
        let Checked { matchers, reads } = check::check(&mut expression, about, &places)?;
        Ok(Compiled { source: source.trim().to_owned(), about, expression, matchers, reads })
    }

    /// The condition as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether it looks at `field`, such as `process.argv`.
    pub(crate) fn reads(&self, field: &str) -> bool {
        self.0.reads.contains(field)
    }

    /// Whether it holds for someone who asks for a role.
    pub(crate) fn holds_for(&self, subject: &Subject, ask: &Ask<'_>, now: Timestamp) -> Result<bool, String> {
        self.test(&World::of_ask(subject, ask, now))
    }

    fn test(&self, world: &World<'_>) -> Result<bool, String> {
        let scope = Scope { world, matchers: &self.0.matchers, budget: Budget::new() };
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&scope);
        let value = Value::resolve_val(&self.0.expression, &context).map_err(|error| said(&error))?;
        match value.downcast_ref::<CelBool>() {
            Some(answer) => Ok(*answer.inner()),
            None => Err(format!("it gives a {}, not a boolean", value.get_type().name())),
        }
    }
}

/// One request, as rules and their conditions see it. What conditions look at is only made when one is asked.
pub(crate) struct Case<'a> {
    pub(crate) query: Query<'a>,
    pub(crate) asked: Asked<'a>,
    now: Timestamp,
    /// Fields that are not known yet, when it is asked whether something could be allowed.
    unknown: &'static [&'static str],
    world: OnceCell<World<'a>>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(query: &Query<'a>, now: Timestamp) -> Self {
        Self::without(query, now, &[])
    }

    /// A request of which the fields `unknown`, such as [`ARGUMENTS`], may come to be anything.
    pub(crate) fn without(query: &Query<'a>, now: Timestamp, unknown: &'static [&'static str]) -> Self {
        Self { query: *query, asked: Asked::of(query.operation), now, unknown, world: OnceCell::new() }
    }

    /// Whether `condition`, if it cannot be told, may come to hold and may not: it looks at what is unknown.
    pub(crate) fn leaves_open(&self, condition: &Condition) -> bool {
        self.unknown.iter().any(|field| condition.reads(field))
    }

    /// Whether `condition` holds.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(crate) fn test(&self, condition: &Condition) -> Result<bool, String> {
        condition.test(self.world.get_or_init(|| World::of_request(&self.query, self.now, self.unknown)))
    }
}

/// For a rule's optional `when`.
pub(crate) fn of_rule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Condition>, D::Error> {
    read(deserializer, About::Request).map(Some)
}

/// For the `when` of an `autoApprove`.
pub(crate) fn of_asking<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
    read(deserializer, About::Asking)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D, about: About) -> Result<Condition, D::Error> {
    let source = String::deserialize(deserializer)?;
    Condition::compile(&source, about).map_err(serde::de::Error::custom)
}

/// An error in words that fit on a line.
fn said(error: &ExecutionError) -> String {
    let words = match error {
        ExecutionError::FunctionError { function, message } if function == ARGUMENTS => {
            format!("of {function}: {message}")
        }
        ExecutionError::UndeclaredReference(name) => {
            format!("{name} is not known of this request, or has more than {} items", world::MAX_ITEMS)
        }
        other => other.to_string(),
    };
    one_line(&words)
}

fn one_line(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ERROR).collect()
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source && self.0.about == other.0.about
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.0.source).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.source)
    }
}

#[cfg(test)]
mod arguments;
#[cfg(test)]
mod tests;
