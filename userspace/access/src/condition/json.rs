//! JSON within conditions: the arguments of an MCP request. Nobody knows their types before they are there, so a value is
//! looked into as the condition goes along, and taken for a boolean, a number, a text or a list where the condition needs
//! one. What is something else then, or is not there, is an error. Values borrow from the request; what one evaluation
//! reads of them has a bound.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString, CelUInt, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use serde_json::{Number, Value};

use super::overload::Kind;
use super::world::MAX_ITEMS;

/// How much of the arguments one evaluation may take for texts and lists, in bytes.
const MAX_READ: usize = 1024 * 1024;
/// What an item of a list counts for, beside its text.
const ITEM: usize = 32;
/// Up to here every whole number is a double of its own.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// What a JSON value is taken for where a condition needs a value of a known type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Bool,
    /// Whole or not: `1.0` is 1, and 0.5 can be compared with whole numbers.
    Number,
    Text,
    Bools,
    Numbers,
    Texts,
    /// A list of whatever it holds.
    Items,
    /// How many characters, items or fields it has.
    Size,
}

impl Want {
    /// In the order in which they are declared.
    const ALL: &[Want] = &[
        Want::Bool,
        Want::Number,
        Want::Text,
        Want::Bools,
        Want::Numbers,
        Want::Texts,
        Want::Items,
        Want::Size,
    ];
    /// What an operand can be, going by the other operands.
    pub(super) const OPERANDS: &[Want] =
        &[Want::Bool, Want::Number, Want::Text, Want::Bools, Want::Numbers, Want::Texts];

    /// The type that comes of it.
    pub(super) fn kind(self) -> Kind {
        let list = |kind| Kind::List(Box::new(kind));
        match self {
            Want::Bool => Kind::Bool,
            Want::Number | Want::Size => Kind::Int,
            Want::Text => Kind::Text,
            Want::Bools => list(Kind::Bool),
            Want::Numbers => list(Kind::Int),
            Want::Texts => list(Kind::Text),
            Want::Items => list(Kind::Json),
        }
    }

    /// Its name within a checked expression: a number behind a prefix.
    pub(super) fn number(self) -> usize {
        self as usize
    }

    pub(super) fn numbered(number: usize) -> Option<&'static Want> {
        Want::ALL.get(number)
    }

    /// What a list of this holds.
    fn item(self) -> Option<Want> {
        match self {
            Want::Bools => Some(Want::Bool),
            Want::Numbers => Some(Want::Number),
            Want::Texts => Some(Want::Text),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Want::Bool => "a boolean",
            Want::Number => "a number",
            Want::Text => "a text",
            Want::Bools | Want::Numbers | Want::Texts | Want::Items => "a list",
            Want::Size => "something that has a size",
        }
    }
}

/// How much may still be read.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(MAX_READ))
    }

    fn spend(&self, bytes: usize) -> Result<(), ExecutionError> {
        // Atomic for the library's sake: an evaluation has one thread.
        let left = self.0.load(Ordering::Relaxed).checked_sub(bytes);
        let left = left.ok_or_else(|| error(format!("more than {MAX_READ} bytes of them would be read")))?;
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }
}

/// A value of the arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'a> {
    node: Node<'a>,
    budget: &'a Budget,
}

#[derive(Debug, Clone, Copy)]
enum Node<'a> {
    Value(&'a Value),
    /// The name of a field, as the item of an object.
    Name(&'a str),
}

impl<'a> Json<'a> {
    pub(super) fn new(value: &'a Value, budget: &'a Budget) -> Self {
        Self { node: Node::Value(value), budget }
    }

    fn beside(&self, node: Node<'a>) -> Self {
        Self { node, budget: self.budget }
    }

    /// The value as what is wanted, which is then of a type of CEL's own.
    fn taken_as(&self, want: Want) -> Result<Box<dyn Val + 'a>, ExecutionError> {
        Ok(match (want, self.node) {
            (Want::Bool, Node::Value(Value::Bool(truth))) => Box::new(CelBool::from(*truth)),
            (Want::Number, Node::Value(Value::Number(number))) => in_cel(number)?,
            (Want::Text, node) => Box::new(CelString::from(self.text(node)?)),
            (Want::Size, node) => Box::new(CelInt::from(self.size(node)?)),
            (Want::Items, node) => Box::new(CelList::from(self.items(node, |item| Ok(Box::new(item)))?)),
            (list, node) => match list.item() {
                Some(item) => Box::new(CelList::from(self.items(node, |json| json.taken_as(item))?)),
                None => return Err(mismatch(node, want)),
            },
        })
    }

    fn text(&self, node: Node<'a>) -> Result<&'a str, ExecutionError> {
        let text = match node {
            Node::Value(Value::String(text)) => text,
            Node::Name(name) => name,
            Node::Value(_) => return Err(mismatch(node, Want::Text)),
        };
        self.budget.spend(text.len())?;
        Ok(text)
    }

    /// The items of a list, or as CEL has it the names of an object's fields, each made into a value by `made`.
    fn items(
        &self,
        node: Node<'a>,
        made: impl Fn(Self) -> Result<Box<dyn Val + 'a>, ExecutionError>,
    ) -> Result<Vec<Box<dyn Val + 'a>>, ExecutionError> {
        let bounded = |items: usize| match items {
            ..=MAX_ITEMS => self.budget.spend(items * ITEM),
            _ => Err(error(format!("a list has {items} items; at most {MAX_ITEMS} are looked at"))),
        };
        match node {
            Node::Value(Value::Array(items)) => {
                bounded(items.len())?;
                items.iter().map(|item| made(self.beside(Node::Value(item)))).collect()
            }
            Node::Value(Value::Object(fields)) => {
                bounded(fields.len())?;
                fields.keys().map(|name| made(self.beside(Node::Name(name)))).collect()
            }
            _ => Err(mismatch(node, Want::Items)),
        }
    }

    fn size(&self, node: Node<'a>) -> Result<i64, ExecutionError> {
        let size = match node {
            Node::Value(Value::Array(items)) => items.len(),
            Node::Value(Value::Object(fields)) => fields.len(),
            Node::Value(Value::String(_)) | Node::Name(_) => self.text(node)?.chars().count(),
            Node::Value(_) => return Err(mismatch(node, Want::Size)),
        };
        i64::try_from(size).map_err(error)
    }

    fn field(&self, name: &str) -> Result<Self, ExecutionError> {
        match self.node {
            Node::Value(Value::Object(fields)) => match fields.get(name) {
                Some(value) => Ok(self.beside(Node::Value(value))),
                None => Err(ExecutionError::no_such_key(name)),
            },
            node => Err(error(format!("{} has no field {name:?}", described(node)))),
        }
    }

    fn item(&self, index: i64) -> Result<Self, ExecutionError> {
        match self.node {
            Node::Value(Value::Array(items)) => {
                let item = usize::try_from(index).ok().and_then(|index| items.get(index));
                let item = item.ok_or_else(|| error(format!("a list has no item {index}")))?;
                Ok(self.beside(Node::Value(item)))
            }
            node => Err(error(format!("{} has no item {index}", described(node)))),
        }
    }
}

static JSON_TYPE: Type = Type::new_unspecified_type("JSON");

impl Val for Json<'_> {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &JSON_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

/// A field by its name, an item by its number, or the value itself as what is wanted: the checked condition asks
/// `value[want]`, which is the shortest way through the library.
impl Indexer for Json<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(want) = index.downcast_ref::<Want>() {
            return self.taken_as(*want).map(CowVal::Owned);
        }
        let found = match (index.downcast_ref::<CelString>(), index.downcast_ref::<CelInt>()) {
            (Some(name), _) => self.field(name.inner())?,
            (_, Some(index)) => self.item(*index.inner())?,
            _ => return Err(error(format!("{} is no index", index.get_type().name()))),
        };
        Ok(CowVal::owned(found))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

static WANT_TYPE: Type = Type::new_unspecified_type("want");

impl Val for Want {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &WANT_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Want {}

/// A number as CEL compares it: exactly where it is whole, however it is written.
fn in_cel(number: &Number) -> Result<Box<dyn Val>, ExecutionError> {
    if let Some(whole) = number.as_i64() {
        return Ok(Box::new(CelInt::from(whole)));
    }
    if let Some(large) = number.as_u64() {
        return Ok(Box::new(CelUInt::from(large)));
    }
    let float = number.as_f64().ok_or_else(|| error("a number is out of bounds"))?;
    if float.fract() == 0.0 && float.abs() <= WHOLE {
        return Ok(Box::new(CelInt::from(float as i64)));
    }
    Ok(Box::new(CelDouble::from(float)))
}

fn mismatch(found: Node<'_>, want: Want) -> ExecutionError {
    error(format!("{} is not {}", described(found), want.name()))
}

fn described(node: Node<'_>) -> &'static str {
    match node {
        Node::Value(Value::Null) => "a null",
        Node::Value(Value::Bool(_)) => "a boolean",
        Node::Value(Value::Number(_)) => "a number",
        Node::Value(Value::String(_)) | Node::Name(_) => "a text",
        Node::Value(Value::Array(_)) => "a list",
        Node::Value(Value::Object(_)) => "an object",
    }
}

/// None of these errors says what a value is: an argument can be a secret.
fn error(message: impl ToString) -> ExecutionError {
    ExecutionError::function_error(super::world::ARGUMENTS, message)
}
