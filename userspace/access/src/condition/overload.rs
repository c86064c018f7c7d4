//! The types of conditions, and the operators, functions and methods that there are for them.

use std::fmt;

use cel::common::ast::operators as op;

use super::json::Want;

/// Steps for putting two texts together, and for searching one.
const JOIN_COST: u64 = 100;
const SEARCH_COST: u64 = 10;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Text,
    Time,
    Span,
    /// Of which type it is shows when it is there.
    Json,
    List(Box<Kind>),
}

impl Kind {
    fn is_known(&self) -> bool {
        match self {
            Kind::Json => false,
            Kind::List(items) => items.is_known(),
            _ => true,
        }
    }
}

/// What comes of a call.
pub(super) struct Overload {
    pub(super) kind: Kind,
    /// Steps that it takes.
    pub(super) weight: u64,
    /// What its operands of type [`Kind::Json`] are taken for.
    pub(super) want: Option<Want>,
}

/// What `name` does with operands of these types, the first of a `member` call being what it is called on. JSON is taken
/// for the one type that the others leave.
pub(super) fn overload(name: &str, member: bool, of: &[Kind]) -> Option<Overload> {
    let find = |of: &[Kind]| if member { method(name, of) } else { function(name, of) };
    if let Some((kind, weight)) = find(of) {
        return Some(Overload { kind, weight, want: None });
    }
    let mut candidates = Want::OPERANDS.iter().filter_map(|want| {
        let known = |kind: &Kind| if *kind == Kind::Json { want.kind() } else { kind.clone() };
        let (kind, weight) = find(&of.iter().map(known).collect::<Vec<_>>())?;
        Some(Overload { kind, weight, want: Some(*want) })
    });
    candidates.next().filter(|_| candidates.next().is_none())
}

/// What a function says that JSON is, for where nothing else does: `string(a) == string(b)`.
pub(super) fn said_of_json(name: &str, member: bool, of: &[Kind]) -> Option<Want> {
    match (name, of) {
        ("size", [Kind::Json]) => Some(Want::Size),
        ("int", [Kind::Json]) if !member => Some(Want::Number),
        ("string", [Kind::Json]) if !member => Some(Want::Text),
        _ => None,
    }
}

/// The type and weight of operators and of functions that stand alone.
fn function(name: &str, of: &[Kind]) -> Option<(Kind, u64)> {
    use Kind::{Bool, Int, Json, List, Span, Text, Time};
    let kind = match (name, of) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [Bool, Bool]) => Bool,
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [Bool]) => Bool,
        (op::CONDITIONAL, [Bool, a, b]) if a == b => a.clone(),
        (op::EQUALS | op::NOT_EQUALS, [a, b]) if a == b && a.is_known() => Bool,
        (
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS,
            [a @ (Int | Text | Time | Span), b],
        ) if a == b => Bool,
        (op::IN, [item, List(items)]) if *item == **items && item.is_known() => Bool,
        (op::INDEX, [List(items), Int]) => (**items).clone(),
        (op::INDEX, [Json, Int | Text]) => Json,
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [Int, Int]) => Int,
        (op::NEGATE, [Int]) => Int,
        (op::ADD, [Text, Text]) => return Some((Text, JOIN_COST)),
        (op::ADD | op::SUBSTRACT, [Time, Span]) | (op::ADD, [Span, Time]) => Time,
        (op::ADD | op::SUBSTRACT, [Span, Span]) | (op::SUBSTRACT, [Time, Time]) => Span,
        ("size", [Text | List(_)]) => Int,
        ("int", [Text]) => Int,
        ("string", [Int]) => Text,
        ("timestamp", [Text]) => Time,
        ("duration", [Text]) => Span,
        _ => return None,
    };
    Some((kind, 1))
}

/// The type and weight of `x.name(…)`, `of` beginning with that of `x`.
fn method(name: &str, of: &[Kind]) -> Option<(Kind, u64)> {
    use Kind::{Bool, Int, List, Text, Time};
    match (name, of) {
        ("startsWith" | "endsWith" | "contains" | "matches", [Text, Text]) => Some((Bool, SEARCH_COST)),
        ("size", [Text | List(_)]) => Some((Int, 1)),
        (
            "getFullYear" | "getMonth" | "getDayOfYear" | "getDayOfMonth" | "getDate" | "getDayOfWeek"
            | "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds",
            [Time] | [Time, Text],
        ) => Some((Int, SEARCH_COST)),
        _ => None,
    }
}

/// With its article, for sentences.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bool => "a boolean",
            Kind::Int => "a number",
            Kind::Text => "a text",
            Kind::Time => "a time",
            Kind::Span => "a duration",
            Kind::Json => "an argument",
            Kind::List(_) => "a list",
        })
    }
}
