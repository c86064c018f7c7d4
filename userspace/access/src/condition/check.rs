//! Checks a parsed condition: names, fields, functions, types and cost. It knows a part of CEL that is enough for
//! policy and whose every evaluation is bounded; the rest is refused when the role is loaded, not when it decides.
//!
//! In passing, `record.field` becomes one name, `has(record.field)` another, the pattern of `matches` is compiled, and JSON
//! is taken for what stands beside it.

use cel::common::ast::operators as op;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, SourceInfo};
use cel::{Context, Value};
use regex::{Regex, RegexBuilder};

use super::json::Want;
use super::overload::{Kind, Overload, overload, said_of_json};
use super::world::{MATCHER, MAX_ITEMS, Matcher, PRESENT, WANT, kind_of, records};
use super::{About, ENV};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How deep an expression may be nested.
const MAX_DEPTH: usize = 48;
pub(super) const TOO_DEEP: &str = "this is nested too deep";
/// How many steps an evaluation may take when every list is as long as it may be.
const MAX_COST: u64 = 50_000;
/// How much memory a compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 256 * 1024;

/// What a check found out.
pub(super) struct Checked {
    pub(super) matchers: Vec<Matcher>,
    /// The fields that it looks at: `process.argv`.
    pub(super) reads: BTreeSet<String>,
}

/// Checks `root`, and rewrites it to what is evaluated.
pub(super) fn check(root: &mut IdedExpr, about: About, places: &SourceInfo) -> Result<Checked, String> {
    let checked = Checked { matchers: Vec::new(), reads: BTreeSet::new() };
    let mut checker = Checker { about, places, checked, variables: Vec::new(), depth: 0 };
    let id = root.id;
    let mut found = checker.walk(root)?;
    if found.kind == Kind::Json {
        take(root, Want::Bool);
        found.kind = Kind::Bool;
    }
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

    /// `record.field` and `has(record.field)`, and the same of JSON.
    fn field(&mut self, node: &mut IdedExpr) -> Result<Found, String> {
        let Expr::Select(select) = &mut node.expr else { unreachable!("called for a selection") };
        match &select.operand.expr {
            Expr::Ident(record) if records(self.about).contains(&record.as_str()) => {
                let name = format!("{record}.{}", select.field);
                let Some(kind) = kind_of(self.about, record, &select.field) else {
                    return Err(self.at(node.id, format!("{record} has no field {:?}", select.field)));
                };
                self.checked.reads.insert(name.clone());
                let (kind, name) =
                    if select.test { (Kind::Bool, format!("{PRESENT}{name}")) } else { (kind, name) };
                node.expr = Expr::Ident(name);
                Ok(Found::of(kind, 1))
            }
            _ => {
                let Found { kind, cost, .. } = self.walk(&mut select.operand)?;
                if kind != Kind::Json {
                    return Err(self.at(node.id, format!("there is no field {:?} here", select.field)));
                }
                if select.test {
                    return Ok(Found::of(Kind::Bool, cost.saturating_add(1)));
                }
                let name = LiteralValue::String(std::mem::take(&mut select.field).into());
                let name = IdedExpr { id: node.id, expr: Expr::Literal(name) };
                node.expr = index(std::mem::take(select.operand.as_mut()), name);
                Ok(Found::of(Kind::Json, cost.saturating_add(1)))
            }
        }
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
        let member = call.target.is_some();
        let (mut kinds, mut cost) = (Vec::with_capacity(call.args.len() + 1), 1u64);
        for operand in operands(call) {
            let found = self.walk(operand)?;
            cost = cost.saturating_add(found.cost);
            kinds.push(found.kind);
        }
        if let Some(want) = said_of_json(&call.func_name, member, &kinds) {
            let operand = operands(call).next().map(std::mem::take);
            *node = operand.unwrap_or_else(|| unreachable!("it has one operand"));
            take(node, want);
            return Ok(Found::of(want.kind(), cost));
        }
        if call.func_name == op::CONDITIONAL && kinds[0] == Kind::Json {
            take(&mut call.args[0], Want::Bool);
            kinds[0] = Kind::Bool;
        }
        let Some(Overload { kind, weight, want }) = overload(&call.func_name, member, &kinds) else {
            let of = kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            return Err(self.at(id, format!("{} is not known for {of}", spelled(&call.func_name))));
        };
        if let Some(want) = want {
            operands(call)
                .zip(&kinds)
                .filter(|(_, kind)| **kind == Kind::Json)
                .for_each(|(operand, _)| take(operand, want));
        }
        if member && matches!(call.func_name.as_str(), "matches" | "startsWith" | "endsWith" | "contains") {
            self.search(node)?;
            return Ok(Found::of(kind, cost.saturating_add(weight)));
        }
        let must_be_constant = match (&kind, call.func_name.as_str()) {
            (Kind::Time, "timestamp") | (Kind::Span, "duration") => true,
            _ => member && kinds.len() == 2 && kinds[0] == Kind::Time,
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
        let mut range = self.walk(&mut of.iter_range)?;
        if range.kind == Kind::Json {
            take(&mut of.iter_range, Want::Items);
            range.kind = Want::Items.kind();
        }
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

fn example(record: &str) -> &'static str {
    match record {
        "subject" => "groups",
        "request" => "target",
        "process" => "uid",
        _ => "now",
    }
}

/// An operator as it is written: `_==_` is `==`.
fn spelled(name: &str) -> String {
    let name = name.trim_start_matches('@').trim_matches('_');
    format!("`{name}`")
}

/// What a call is about, what it is called on first.
fn operands(call: &mut CallExpr) -> impl Iterator<Item = &mut IdedExpr> {
    call.target.as_deref_mut().into_iter().chain(&mut call.args)
}

/// JSON becomes `JSON[want]`.
fn take(node: &mut IdedExpr, want: Want) {
    let (id, value) = (node.id, std::mem::take(node));
    let want = IdedExpr { id, expr: Expr::Ident(format!("{WANT}{}", want.number())) };
    *node = IdedExpr { id, expr: index(value, want) };
}

fn index(value: IdedExpr, index: IdedExpr) -> Expr {
    Expr::Call(CallExpr { func_name: op::INDEX.to_owned(), target: None, args: vec![value, index] })
}
