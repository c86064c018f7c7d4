//! Checks a parsed condition: names, fields, functions, types and cost. It knows a part of CEL that is enough for
//! policy and whose every evaluation is bounded; the rest is refused when the role is loaded, not when it decides.
//!
//! In passing, `record.field` becomes one name, `has(record.field)` another, and the pattern of `matches` is compiled.

use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, SourceInfo};
use cel::{Context, Value};
use regex::{Regex, RegexBuilder};

use super::world::{MATCHER, MAX_ITEMS, Matcher, PRESENT, kind_of, records};
use super::{About, ENV};
use std::fmt;
use std::sync::Arc;

/// How deep an expression may be nested.
const MAX_DEPTH: usize = 48;
pub(super) const TOO_DEEP: &str = "this is nested too deep";
/// How many steps an evaluation may take when every list is as long as it may be.
const MAX_COST: u64 = 50_000;
/// How much memory a compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 256 * 1024;
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
    List(Box<Kind>),
}

/// What a check found out.
pub(super) struct Checked {
    pub(super) matchers: Vec<Matcher>,
    pub(super) reads_argv: bool,
}

/// Checks `root`, and rewrites it to what is evaluated.
pub(super) fn check(root: &mut IdedExpr, about: About, places: &SourceInfo) -> Result<Checked, String> {
    let checked = Checked { matchers: Vec::new(), reads_argv: false };
    let mut checker = Checker { about, places, checked, variables: Vec::new(), depth: 0 };
    let id = root.id;
    let found = checker.walk(root)?;
    if found.kind != Kind::Bool {
        return Err(checker.at(id, format!("a condition gives a boolean, and this gives {}", found.kind)));
    }
    if found.cost > MAX_COST {
        let message = "this may take too long: go through fewer lists within lists, or join fewer texts";
        return Err(checker.at(id, message));
    }
    Ok(checker.checked)
}

struct Checker<'a> {
    about: About,
    places: &'a SourceInfo,
    checked: Checked,
    /// Of the comprehensions around, the innermost last.
    variables: Vec<(String, Kind)>,
    depth: usize,
}

/// What is known of an expression.
struct Found {
    kind: Kind,
    /// The most items that it has, for a list.
    items: u64,
    cost: u64,
}

impl Found {
    fn of(kind: Kind, cost: u64) -> Self {
        Self { kind, items: MAX_ITEMS as u64, cost }
    }
}

impl Checker<'_> {
    fn walk(&mut self, node: &mut IdedExpr) -> Result<Found, String> {
        if self.depth == MAX_DEPTH {
            return Err(self.at(node.id, TOO_DEEP));
        }
        self.depth += 1;
        let found = match &mut node.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Found::of(Kind::Bool, 1),
            Expr::Literal(LiteralValue::Int(_)) => Found::of(Kind::Int, 1),
            Expr::Literal(LiteralValue::String(_)) => Found::of(Kind::Text, 1),
            Expr::Literal(_) => {
                return Err(self.at(node.id, "only texts, whole numbers, true and false can be written here"));
            }
            Expr::Ident(name) => self.variable(node.id, name)?,
            Expr::Select(_) => self.field(node)?,
            Expr::List(list) => self.list(node.id, list)?,
            Expr::Call(_) => self.call(node)?,
            Expr::Comprehension(comprehension) => self.comprehension(node.id, comprehension)?,
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                return Err(self.at(node.id, "maps and messages are not known here"));
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    fn variable(&self, id: u64, name: &str) -> Result<Found, String> {
        if let Some((_, kind)) = self.variables.iter().rev().find(|(known, _)| known == name) {
            return Ok(Found::of(kind.clone(), 1));
        }
        let known = records(self.about);
        Err(if known.contains(&name) {
            self.at(id, format!("name one field of {name}, such as {name}.{}", example(name)))
        } else {
            self.at(id, format!("there is no {name:?}; known are {}", known.join(", ")))
        })
    }

    /// `record.field` and `has(record.field)`.
    fn field(&mut self, node: &mut IdedExpr) -> Result<Found, String> {
        let Expr::Select(select) = &node.expr else { unreachable!("called for a selection") };
        let Expr::Ident(record) = &select.operand.expr else {
            return Err(self.at(node.id, format!("there is no field {:?} here", select.field)));
        };
        if !records(self.about).contains(&record.as_str()) {
            return Err(match self.variable(select.operand.id, record) {
                Ok(_) => self.at(node.id, format!("{record} has no fields")),
                Err(unknown) => unknown,
            });
        }
        let Some(kind) = kind_of(self.about, record, &select.field) else {
            return Err(self.at(node.id, format!("{record} has no field {:?}", select.field)));
        };
        let name = format!("{record}.{}", select.field);
        self.checked.reads_argv |= name == "process.argv";
        if select.test {
            node.expr = Expr::Ident(format!("{PRESENT}{name}"));
            return Ok(Found::of(Kind::Bool, 1));
        }
        node.expr = Expr::Ident(name);
        Ok(Found::of(kind, 1))
    }

    fn list(&mut self, id: u64, list: &mut ListExpr) -> Result<Found, String> {
        let (mut kind, mut cost) = (None, 1);
        for element in &mut list.elements {
            let id = element.id;
            let found = self.walk(element)?;
            cost += found.cost;
            let first = kind.get_or_insert_with(|| found.kind.clone());
            if *first != found.kind {
                return Err(self.at(id, format!("a list of {first} cannot hold {}", found.kind)));
            }
        }
        match kind {
            Some(kind) => {
                let items = list.elements.len() as u64;
                Ok(Found { kind: Kind::List(Box::new(kind)), items, cost })
            }
            None => Err(self.at(id, "an empty list holds nothing; ask for size() == 0")),
        }
    }

    fn call(&mut self, node: &mut IdedExpr) -> Result<Found, String> {
        let id = node.id;
        let Expr::Call(call) = &mut node.expr else { unreachable!("called for a call") };
        let constant = call.args.iter().all(|arg| matches!(arg.expr, Expr::Literal(_)));
        let mut found = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            found.push(self.walk(arg)?);
        }
        let cost = found.iter().fold(1, |cost: u64, part| cost.saturating_add(part.cost));
        let kinds: Vec<&Kind> = found.iter().map(|part| &part.kind).collect();
        let member = call.target.is_some();
        let search = matches!(call.func_name.as_str(), "matches" | "startsWith" | "endsWith" | "contains");
        if member && search && matches!(kinds[..], [Kind::Text, Kind::Text]) {
            self.search(node)?;
            return Ok(Found::of(Kind::Bool, cost.saturating_add(SEARCH_COST)));
        }
        let result = if member { method(&call.func_name, &kinds) } else { function(&call.func_name, &kinds) };
        let Some((kind, weight)) = result else {
            let of = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            return Err(self.at(id, format!("{} is not known for {of}", spelled(&call.func_name))));
        };
        let must_be_constant = match (&kind, call.func_name.as_str()) {
            (Kind::Time, "timestamp") | (Kind::Span, "duration") => true,
            _ => member && kinds.len() == 2 && *kinds[0] == Kind::Time,
        };
        if must_be_constant {
            self.constant(id, call, constant)?;
        }
        Ok(Found::of(kind, cost.saturating_add(weight)))
    }

    /// `text.matches("pattern")` becomes `text in MATCHER`, and so do its like when what they look for is written out.
    fn search(&mut self, node: &mut IdedExpr) -> Result<(), String> {
        let Expr::Call(CallExpr { func_name, target: Some(target), args }) = &mut node.expr else {
            unreachable!("called for a member call")
        };
        let id = args[0].id;
        let matcher = match (&args[0].expr, func_name.as_str()) {
            (Expr::Literal(LiteralValue::String(text)), how) => {
                let text = text.inner();
                match how {
                    "startsWith" => Matcher::Prefix(text.to_owned()),
                    "endsWith" => Matcher::Suffix(text.to_owned()),
                    "contains" => Matcher::Part(text.to_owned()),
                    _ => Matcher::Pattern(self.pattern(id, text)?),
                }
            }
            (_, "matches") => {
                return Err(self.at(id, "matches takes a pattern written out here, to be compiled once"));
            }
            _ => return Ok(()),
        };
        let name = format!("{MATCHER}{}", self.checked.matchers.len());
        self.checked.matchers.push(matcher);
        let (text, matcher) = (std::mem::take(target.as_mut()), IdedExpr { id, expr: Expr::Ident(name) });
        let args = vec![text, matcher];
        node.expr = Expr::Call(CallExpr { func_name: op::IN.to_owned(), target: None, args });
        Ok(())
    }

    fn pattern(&self, id: u64, pattern: &str) -> Result<Regex, String> {
        RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build().map_err(|error| {
            let message = error.to_string();
            self.at(id, message.lines().last().unwrap_or("this is no regular expression"))
        })
    }

    /// What is written out, a time or a time zone, is tried now: a misspelt one would only fail when it decides.
    fn constant(&self, id: u64, call: &CallExpr, constant: bool) -> Result<(), String> {
        if !constant {
            return Err(self.at(id, format!("{} takes a text written out here", call.func_name)));
        }
        let mut trial = call.clone();
        if let Some(target) = &mut trial.target {
            let now = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(0.into())) };
            let epoch = CallExpr { func_name: "timestamp".to_owned(), target: None, args: vec![now] };
            target.expr = Expr::Call(epoch);
        }
        let trial = IdedExpr { id, expr: Expr::Call(trial) };
        match Value::resolve(&trial, &Context::with_env(Arc::clone(&ENV))) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.at(id, super::said(&error))),
        }
    }

    /// What the macros `all`, `exists` and `exists_one` stand for.
    fn comprehension(&mut self, id: u64, of: &mut ComprehensionExpr) -> Result<Found, String> {
        if matches!(&of.accu_init.expr, Expr::List(_)) || of.iter_var2.is_some() {
            return Err(self.at(id, "map and filter are not known here; all, exists and exists_one are"));
        }
        if records(self.about).contains(&of.iter_var.as_str()) {
            return Err(self.at(id, format!("{:?} is taken: call the item something else", of.iter_var)));
        }
        let range = self.walk(&mut of.iter_range)?;
        let Kind::List(item) = range.kind else {
            return Err(self.at(of.iter_range.id, format!("this is no list but {}", range.kind)));
        };
        let begin = self.walk(&mut of.accu_init)?;
        self.variables.push((of.accu_var.clone(), begin.kind.clone()));
        self.variables.push((of.iter_var.clone(), *item));
        let (go_on, step) = (self.walk(&mut of.loop_cond)?, self.walk(&mut of.loop_step)?);
        self.variables.pop();
        if step.kind != begin.kind {
            return Err(self.at(id, format!("each item must give a boolean, not {}", step.kind)));
        }
        let result = self.walk(&mut of.result)?;
        self.variables.pop();
        let round = go_on.cost.saturating_add(step.cost);
        let cost = range.cost.saturating_add(range.items.saturating_mul(round)).saturating_add(result.cost);
        Ok(Found::of(result.kind, cost))
    }

    /// The message, behind line and column.
    fn at(&self, id: u64, message: impl fmt::Display) -> String {
        let start = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (mut line, mut column) = (1, 1);
        for c in self.places.source.chars().take(start) {
            (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        format!("{line}:{column}: {message}")
    }
}

/// The type and weight of operators and of functions that stand alone.
fn function(name: &str, of: &[&Kind]) -> Option<(Kind, u64)> {
    use Kind::{Bool, Int, List, Span, Text, Time};
    let kind = match (name, of) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [Bool, Bool]) => Bool,
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [Bool]) => Bool,
        (op::CONDITIONAL, [Bool, a, b]) if a == b => (*a).clone(),
        (op::EQUALS | op::NOT_EQUALS, [a, b]) if a == b => Bool,
        (
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS,
            [a @ (Int | Text | Time | Span), b],
        ) if a == b => Bool,
        (op::IN, [item, List(items)]) if *item == items.as_ref() => Bool,
        (op::INDEX, [List(items), Int]) => items.as_ref().clone(),
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
fn method(name: &str, of: &[&Kind]) -> Option<(Kind, u64)> {
    use Kind::{Bool, Int, List, Text, Time};
    match (name, of) {
        ("startsWith" | "endsWith" | "contains", [Text, Text]) => Some((Bool, SEARCH_COST)),
        ("size", [Text | List(_)]) => Some((Int, 1)),
        (
            "getFullYear" | "getMonth" | "getDayOfYear" | "getDayOfMonth" | "getDate" | "getDayOfWeek"
            | "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds",
            [Time] | [Time, Text],
        ) => Some((Int, SEARCH_COST)),
        _ => None,
    }
}

/// An operator as it is written: `_==_` is `==`.
fn spelled(name: &str) -> String {
    let name = name.trim_start_matches('@').trim_matches('_');
    format!("`{name}`")
}

fn example(record: &str) -> &'static str {
    match record {
        "subject" => "groups",
        "request" => "target",
        "process" => "uid",
        _ => "now",
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
            Kind::List(_) => "a list",
        })
    }
}
